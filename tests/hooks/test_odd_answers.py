"""Undocumented answers over real sockets: runs are read, streams stay open, the API key never leaks."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from servers import RUN_ID, STREAM_HEAD, Peer, Request, Script, event, run

from airflow_provider_wr.exceptions import WRAuthError, WRError, WRServerError
from airflow_provider_wr.models import RunStatus

from .both import AnyHook
from .conftest import Serve

KEY = "ws_4f0c1b2d/+="


def answering(body: Any, *, status: int = 200) -> Script:
    """Answer every read with a body; strings are sent unchanged."""

    def script(request: Request, peer: Peer) -> None:
        if request.is_stream and status == 200:
            peer.send(STREAM_HEAD, event())
            peer.close()
        else:
            peer.answer(status, body)

    return script


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(run("COMPLETED", totalUsage="14.5"), {"total_usage": 14.5}, id="number as a text"),
        pytest.param(run("Completed"), {}, id="status in another case"),
        pytest.param(run("CANCELLED"), {"status": RunStatus.CANCELED}, id="CANCELLED"),
        pytest.param(
            run("COMPLETED", updatedAt=1767225600000), {"updated_at": "1767225600000"}, id="date a number"
        ),
        pytest.param(run("COMPLETED", id=RUN_ID.upper()), {"id": RUN_ID.upper()}, id="id in capitals"),
        pytest.param({"id": RUN_ID, "status": "COMPLETED"}, {"stages": ()}, id="nothing else"),
        pytest.param(
            dict.fromkeys(run(), None) | {"id": RUN_ID, "status": "COMPLETED"}, {"stages": ()}, id="nulls"
        ),
        pytest.param(
            run("COMPLETED", runStages={"s": {"module": None}}), {"stages_known": False}, id="stages by id"
        ),
        pytest.param(
            f'{{"id": "{RUN_ID}", "status": "EXECUTING", "status": "COMPLETED"}}',
            {"total_usage": None},
            id="twice",
        ),
        pytest.param(
            f'{{"id": "{RUN_ID}", "deep": {"[" * 50_000}{"]" * 50_000}, "status": "COMPLETED"}}', {}, id="deep"
        ),
        pytest.param(
            f'{{"id": "{RUN_ID}", "n": [NaN, 1e999, "\\ud83d"], "status": "COMPLETED"}}', {}, id="no JSON"
        ),
    ],
)
def test_a_wait_ends_with_a_run_that_is_odd(
    serve: Serve, hook: AnyHook, body: Any, expected: dict[str, Any]
) -> None:
    serve(answering(body))
    ended = hook.wait_for_run(RUN_ID, timeout=10)
    assert ended.is_terminal
    assert {name: getattr(ended, name) for name in expected} == expected


@pytest.mark.parametrize(
    "data",
    [
        '{"type": "connected"}',
        '"ping"',
        "null",
        "5",
        "hello",
        json.dumps({"id": "11111111-1111-4222-8333-944455556666", "status": "COMPLETED"}),
        json.dumps({"id": RUN_ID}),
        json.dumps({"status": "COMPLETED"}),
        json.dumps({"id": RUN_ID, "status": {"name": "COMPLETED"}}),
        json.dumps([{"id": RUN_ID, "status": "COMPLETED"}]),
    ],
)
def test_what_is_no_event_of_the_run_is_a_sign_of_life(serve: Serve, hook: AnyHook, data: str) -> None:
    said: list[str] = []

    def script(request: Request, peer: Peer) -> None:
        if request.is_stream:
            peer.send(STREAM_HEAD, f"data: {data}\n\n" * 3, "event: error\ndata: x\n\n", event(), every=0.1)
            said.append("all")
            peer.send(event("COMPLETED"))
            peer.hang()
        else:
            peer.answer(200, run("COMPLETED" if said else "EXECUTING"))

    server = serve(script)
    seen = []
    assert hook.wait_for_run(RUN_ID, timeout=10, on_event=seen.append).status == "COMPLETED"
    assert server.count(lambda request: request.is_stream) == 1
    assert [each.status for each in seen] == ["EXECUTING", "COMPLETED"]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"error": "UNAUTHORIZED", "message": f"Invalid API key {KEY}", KEY: [KEY]}, id="JSON"),
        pytest.param(json.dumps({"message": KEY}).replace("/", r"\/").replace("w", r"\u0077"), id="escaped"),
        pytest.param(f"<html>no such key: {KEY}", id="HTML"),
    ],
)
@pytest.mark.parametrize(("status", "kind"), [(401, WRAuthError), (500, WRServerError)])
@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda hook: hook.get_run(RUN_ID), id="read"),
        pytest.param(lambda hook: hook.stream_run(RUN_ID), id="stream"),
    ],
)
def test_the_key_is_not_repeated(
    serve: Serve, hook: AnyHook, call: Callable[[AnyHook], Any], status: int, kind: type[WRError], body: Any
) -> None:
    serve(answering(body, status=status), api_key=KEY)
    with pytest.raises(kind) as raised:
        call(hook)
    assert "***" in str(raised.value)
    assert "4f0c1b2d" not in str(raised.value) + repr(vars(raised.value))


def test_the_key_is_not_in_a_run_or_an_event(serve: Serve, hook: AnyHook) -> None:
    def script(request: Request, peer: Peer) -> None:
        if request.is_stream:
            peer.send(STREAM_HEAD, event(cancelReason=KEY))
            peer.close()
        else:
            peer.answer(200, run("FAILED", cancelReason=KEY, runStages=[{"status": "FAILED", "error": [KEY]}]))

    serve(script, api_key=KEY)
    (told,) = hook.stream_run(RUN_ID)
    assert told.raw["output"] == {"cancelReason": "***"}
    failed = hook.get_run(RUN_ID)
    assert failed.raw["cancelReason"] == "***"
    assert failed.ending.startswith(f"run {RUN_ID} ended FAILED: ***, 1 credit used\n")
    assert failed.ending.endswith(': ["***"]')
