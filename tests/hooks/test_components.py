"""Components without a workflow, through both hooks, against misbehaving servers."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
from servers import PATIENCE, STREAM_HEAD, Peer, Request, Script

from airflow_provider_wr.api import redaction
from airflow_provider_wr.api.answers import CALL_ATTEMPTS
from airflow_provider_wr.exceptions import (
    WRConnectionError,
    WRError,
    WRNotFoundError,
    WRProtocolError,
    WRTimeoutError,
    WRTriggerUnknownError,
    WRValidationError,
)
from airflow_provider_wr.waiting import rules

from .both import AnyHook
from .conftest import Serve
from .test_trigger import DOUBTS, REFUSALS

ID = "e1ec0000-1111-4222-8333-944455556666"
OTHER_ID = "e1ec0000-1111-4222-8333-000000000000"
EXECUTIONS = "/v1/sdk/components/executions"


def record(status: str = "EXECUTING", **fields: Any) -> dict[str, Any]:
    return {"id": ID, "module": "RANDOM_UUID", "status": status, "totalUsage": 1, **fields}


def event(status: str, **fields: Any) -> bytes:
    return (
        b"data: "
        + json.dumps({"id": ID, "status": status, "output": None, "error": None, **fields}).encode()
        + b"\n\n"
    )


def answer(*args: Any) -> Script:
    return lambda request, peer: peer.answer(*args)


def api(*, reads: list[Any], stream: bytes = b"") -> Script:
    """Answer the POST, each read with the next of ``reads`` (the last for ever), and the stream."""
    left = list(reads)

    def script(request: Request, peer: Peer) -> None:
        if request.method == "POST":
            peer.answer(201, record("CREATED"))
        elif request.is_stream:
            peer.send(STREAM_HEAD, stream)
            peer.close()
        else:
            peer.answer(200, left.pop(0) if len(left) > 1 else left[0])

    return script


# --- on the wire ------------------------------------------------------------------------------------------


def test_requests_are_those_of_the_vendors_sdk(serve: Serve, hook: AnyHook) -> None:
    server = serve(api(reads=[record()], stream=event("COMPLETED")))
    hook.execute_component("RANDOM_UUID")
    hook.execute_component(
        "API_CALL",
        {"a": 1.0},
        {"apiUrl": "https://x.example"},
        attempts=2,
        wait_ms=500,
        callback_url="https://x.example/done",
        callback_secret="hush",
        callback_headers={"X-Team": "a"},
    )
    hook.get_execution(ID)
    hook.stream_execution(ID)
    hook.replay_callback(ID)
    assert [(each.method, each.target, each.body) for each in server.requests] == [
        ("POST", "/v1/sdk/components", b'{"module":"RANDOM_UUID","input":{},"config":{}}'),
        (
            "POST",
            "/v1/sdk/components",
            b'{"module":"API_CALL","input":{"a":1},"config":{"apiUrl":"https://x.example"},"attempts":2,'
            b'"waitForMs":500,"callbackUrl":"https://x.example/done","callbackSecret":"hush",'
            b'"callbackHeaders":{"X-Team":"a"}}',
        ),
        ("GET", f"{EXECUTIONS}/{ID}", b""),
        ("GET", f"{EXECUTIONS}/{ID}/stream", b""),
        ("POST", f"{EXECUTIONS}/{ID}/replay-callback", b"{}"),
    ]
    stream = server.requests[3].headers
    assert (stream["accept"], stream["cache-control"]) == ("text/event-stream", "no-cache")
    assert {each.headers["x-api-key"] for each in server.requests} == {"ws_k"}


def test_the_events_come_as_they_are_until_a_terminal_one(serve: Serve, hook: AnyHook) -> None:
    pieces = event("CREATED") + b": ping\n\n:ping\n\n" + event("COMPLETED", output=[1]) + event("COMPLETED")
    serve(api(reads=[record()], stream=pieces))
    events = hook.stream_execution(ID)
    assert [(each.status, each.output) for each in events] == [("CREATED", None), ("COMPLETED", [1])]


@pytest.mark.parametrize("status", [200, 201, 202])
def test_any_2xx_starts_an_execution(serve: Serve, hook: AnyHook, status: int) -> None:
    server = serve(answer(status, record("COMPLETED", output="uuid", completed=True)))
    execution = hook.execute_component("RANDOM_UUID", wait_ms=100)
    assert (execution.id, execution.status, execution.output) == (ID, "COMPLETED", "uuid")
    assert server.count() == 1


def test_an_execution_without_a_status_is_known(serve: Serve, hook: AnyHook) -> None:
    serve(answer(201, {"id": ID}))
    assert hook.execute_component("RANDOM_UUID").id == ID


@pytest.mark.parametrize(
    "call",
    [
        lambda hook: hook.execute_component(" "),
        lambda hook: hook.execute_component("X", [1]),
        lambda hook: hook.execute_component("X", attempts=4),
        lambda hook: hook.execute_component("X", wait_ms=True),
        lambda hook: hook.execute_component("X", callback_url="http://x.example"),
        lambda hook: hook.get_execution("x"),
        lambda hook: hook.stream_execution(f"{ID}/stream"),
        lambda hook: hook.wait_for_execution(""),
        lambda hook: hook.replay_callback("../x"),
        lambda hook: hook.validate_component(""),
    ],
)
def test_bad_input_is_refused_before_anything_is_sent(
    serve: Serve, hook: AnyHook, call: Callable[[AnyHook], Any]
) -> None:
    server = serve(api(reads=[record()]))
    with pytest.raises(WRValidationError) as caught:
        call(hook)
    assert caught.value.status_code is None
    assert server.connections == 0


def test_an_answer_for_another_execution_is_none(serve: Serve, hook: AnyHook) -> None:
    serve(answer(200, record() | {"id": OTHER_ID}))
    with pytest.raises(WRProtocolError, match=f"the API answered with another execution: {OTHER_ID}"):
        hook.get_execution(ID)


# --- was it sent? -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("script", "reason"), DOUBTS.values(), ids=DOUBTS)
def test_an_execution_in_doubt_is_sent_once(
    serve: Serve, hook: AnyHook, script: Script, reason: type[WRError]
) -> None:
    server = serve(script, read_timeout=0.4)
    with pytest.raises(WRTriggerUnknownError) as caught:
        hook.execute_component("SEND_EVM_TRANSACTION")
    assert server.count() == server.connections == 1
    assert type(caught.value.reason) is reason
    said = str(caught.value)
    assert "whether an execution started is not known (connection 'wr_default'): " in said
    assert "component SEND_EVM_TRANSACTION was triggered at 20" in said
    assert said.endswith("clear the task if it did not (POST /v1/sdk/components)")


@pytest.mark.parametrize(("script", "kind", "sent"), REFUSALS.values(), ids=REFUSALS)
def test_a_refused_execution_is_known_to_have_started_nothing(
    serve: Serve, hook: AnyHook, script: Script, kind: type[WRError], sent: int
) -> None:
    server = serve(script)
    with pytest.raises(WRError) as caught:
        hook.execute_component("RANDOM_UUID")
    assert type(caught.value) is kind
    assert server.count() == sent


def test_a_pooled_connection_that_died_puts_no_execution_in_doubt(serve: Serve, hook: AnyHook) -> None:
    served: set[Peer] = set()

    def script(request: Request, peer: Peer) -> None:
        if peer in served:
            peer.close()
            return
        served.add(peer)
        peer.answer(201 if request.method == "POST" else 200, record())

    server = serve(script)
    hook.get_execution(ID)
    assert hook.execute_component("RANDOM_UUID").id == ID
    assert server.count(lambda request: request.method == "POST") == 1


def test_the_wait_counts_in_the_read_timeout(serve: Serve, hook: AnyHook) -> None:
    def script(request: Request, peer: Peer) -> None:
        time.sleep(json.loads(request.body)["waitForMs"] / 1000)
        peer.answer(201, record("COMPLETED"))

    serve(script, read_timeout=0.4)
    assert hook.execute_component("RANDOM_UUID", wait_ms=800).status == "COMPLETED"


def test_after_the_wait_the_read_timeout_ends_it(serve: Serve, hook: AnyHook) -> None:
    serve(lambda request, peer: peer.hang(), read_timeout=0.3)
    started = time.monotonic()
    with pytest.raises(WRTriggerUnknownError):
        hook.execute_component("RANDOM_UUID", wait_ms=400)
    assert 0.7 <= time.monotonic() - started < PATIENCE


def test_a_read_is_repeated_where_a_post_is_not(serve: Serve, hook: AnyHook) -> None:
    server = serve(answer(503))
    for call in (lambda: hook.get_execution(ID), lambda: hook.replay_callback(ID)):
        before = server.count()
        with pytest.raises(WRError):
            call()
        assert server.count() - before == CALL_ATTEMPTS


def test_a_replay_without_a_callback_is_the_apis_own_error(serve: Serve, hook: AnyHook) -> None:
    serve(answer(409, {"error": "NO_CALLBACK", "message": "no callback url"}))
    with pytest.raises(WRValidationError, match="409 no callback url") as caught:
        hook.replay_callback(ID)
    assert caught.value.errors == [{"code": "NO_CALLBACK", "message": "no callback url"}]


# --- waiting ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED"])
def test_an_execution_is_waited_for_whatever_its_end(serve: Serve, hook: AnyHook, status: str) -> None:
    server = serve(api(reads=[record(), record(status, output=7)], stream=event("EXECUTING") + event(status)))
    seen: list[Any] = []
    execution = hook.wait_for_execution(ID, on_event=seen.append)
    assert (execution.status, execution.output) == (status, 7)
    assert [each.is_stream for each in server.requests] == [True, False, False]
    assert [each.status for each in seen] == ["EXECUTING", status]


def test_an_execution_that_ended_before_the_subscription_is_returned_at_once(serve: Serve, hook: AnyHook) -> None:
    server = serve(api(reads=[record("COMPLETED")]))
    assert hook.wait_for_execution(ID).status == "COMPLETED"
    assert server.count() == 2


def test_an_unknown_status_is_waited_out(serve: Serve, hook: AnyHook) -> None:
    reads = [record("CANCELED"), record("PAUSED"), record("COMPLETED")]
    server = serve(api(reads=reads, stream=event("CANCELED")))
    assert hook.wait_for_execution(ID).status == "COMPLETED"
    assert server.count(lambda request: not request.is_stream) == 3


def test_a_refused_stream_does_not_end_the_wait_for_an_execution(serve: Serve, hook: AnyHook) -> None:
    def script(request: Request, peer: Peer) -> None:
        peer.answer(*((409, {"message": "finished"}) if request.is_stream else (200, record("COMPLETED"))))

    serve(script)
    assert hook.wait_for_execution(ID).status == "COMPLETED"


def test_a_timeout_reports_the_last_known_status(serve: Serve, hook: AnyHook) -> None:
    serve(api(reads=[record()]), execution_url="https://app.example/e/{execution_id}")
    with pytest.raises(WRTimeoutError) as caught:
        hook.wait_for_execution(ID, timeout=0.3)
    assert str(caught.value) == (
        f"the wait timed out after 0.3 s; execution {ID}, last seen EXECUTING, keeps running: "
        f"White Rabbit has no call to cancel it; see https://app.example/e/{ID}"
    )


def test_an_execution_that_is_not_there_ends_the_wait(
    serve: Serve, hook: AnyHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "NOT_YET_VISIBLE", 0.2)
    serve(answer(404, {"error": "NOT_FOUND", "message": "no such execution"}))
    with pytest.raises(WRNotFoundError, match="no such execution"):
        hook.wait_for_execution(ID)


# --- the catalogue ----------------------------------------------------------------------------------------

CATALOGUE = [
    {
        "module": "GET_EVM_ACCOUNT_BALANCE",
        "executionModes": ["COMPONENT"],
        "inputs": {"parameters": [{"name": "address", "schema": {"type": "string"}}]},
    },
    {"module": "FOR_EACH", "executionModes": ["WORKFLOW"]},
]


def test_a_hook_reads_the_catalogue_once(serve: Serve, hook: AnyHook) -> None:
    server = serve(answer(200, CATALOGUE))
    assert [each.module for each in hook.list_components()] == ["GET_EVM_ACCOUNT_BALANCE", "FOR_EACH"]
    hook.validate_component("GET_EVM_ACCOUNT_BALANCE", {"address": "0x1"})
    hook.list_components()
    assert [each.target for each in server.requests] == ["/v1/system/components"]
    assert server.requests[0].headers["x-api-key"] == "ws_k"


@pytest.mark.parametrize(
    ("module", "says"),
    [
        ("GET_EVM_ACCOUNT_BALANCE", "input.address is missing (GET_EVM_ACCOUNT_BALANCE)"),
        ("GET_EVM_BALANCE", "the catalogue has no component 'GET_EVM_BALANCE'"),
        ("FOR_EACH", "FOR_EACH cannot be run alone: its execution modes are WORKFLOW"),
    ],
)
def test_what_does_not_fit_the_catalogue_is_refused(serve: Serve, hook: AnyHook, module: str, says: str) -> None:
    server = serve(answer(200, CATALOGUE))
    with pytest.raises(WRValidationError) as caught:
        hook.validate_component(module, {})
    assert str(caught.value).startswith(says)
    assert server.count() == 1


@pytest.mark.parametrize(
    "script",
    [
        answer(404, {"message": "no"}),
        answer(401),
        answer(503),
        answer(200, {}),
        answer(200, "<html>"),
        answer(200, [1]),
    ],
)
def test_without_a_catalogue_nothing_is_checked_and_a_warning_is_logged(
    serve: Serve, hook: AnyHook, script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    serve(script)
    hook.validate_component("ANYTHING", {"a": 1})
    (warning,) = (each for each in caplog.records if each.name == "airflow_provider_wr.hooks.components")
    assert warning.levelno == logging.WARNING
    assert "The catalogue could not be read" in warning.getMessage()


# --- secrets ----------------------------------------------------------------------------------------------


def test_what_the_api_echoes_of_a_callback_is_masked(
    serve: Serve, hook: AnyHook, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(redaction, "_secrets", ())
    caplog.set_level(logging.DEBUG)

    def script(request: Request, peer: Peer) -> None:
        body = json.loads(request.body)
        peer.answer(422, {"message": f"bad {body['callbackSecret']}", "sent": body})

    serve(script)
    with pytest.raises(WRError) as caught:
        hook.execute_component(
            "X",
            callback_url="https://x.example",
            callback_secret="hush-hush",
            callback_headers={"Authorization": "Bearer also-hush", "X-Flag": "true"},
        )
    assert caught.value.message == "bad ***"
    assert caught.value.details["sent"]["callbackHeaders"] == {"Authorization": "***", "X-Flag": "true"}
    assert "hush" not in f"{caught.value!r} {vars(caught.value)} {caplog.text}"


def test_an_execution_that_cannot_be_sent_names_no_secret(hook: AnyHook, connect: Any) -> None:
    connect("http://127.0.0.1:9")
    with pytest.raises(WRConnectionError) as caught:
        hook.execute_component("X", callback_url="https://x.example", callback_secret="hush-hush")
    assert "hush" not in f"{caught.value!r} {vars(caught.value)}"
