"""Whatever the API answers, Airflow can store the trigger's event."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hooks.conftest import Serve
from servers import RUN_ID, STREAM_HEAD, Peer, Request, event, run
from storage import stored

from airflow_provider_wr.exceptions import WRAuthError, WRNotFoundError, WRValidationError
from airflow_provider_wr.triggers.wr import WaitEnd, WRRunTrigger
from airflow_provider_wr.waiting import rules

from .test_trigger import fire

KEY = "ws_4f0c1b2d"

BODIES = [
    pytest.param(r'{"error": "UNAUTHORIZED", "message": "Invalid API key", "hint": "x\u0000y"}', id="U+0000"),
    pytest.param(r'{"errors": [{"code": "\u0000", "message": "no \ud83d"}]}', id="half a pair"),
    pytest.param('{"message": [20000000000000000000, NaN, 1e999]}', id="numbers"),
    pytest.param('{"__classname__": "airflow.models.dag.DAG", "message": {"__classname__": "x"}}', id="class"),
    pytest.param(f'{{"message": {"[" * 900}{"]" * 900}}}', id="deep"),
    pytest.param(f'{{"message": {"[" * 90_000}{"]" * 90_000}}}', id="deeper"),
    pytest.param(json.dumps({"errors": [{"message": "x" * 10_000}] * 90}), id="large"),
    pytest.param(json.dumps({"message": f"Invalid API key: {KEY}", "code": KEY, "headers": {KEY: KEY}}), id="key"),
    pytest.param(f"<html>{KEY}\0</html>", id="HTML"),
]


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize(
    ("status", "kind"), [(401, WRAuthError), (403, WRAuthError), (404, WRNotFoundError), (422, WRValidationError)]
)
async def test_an_error(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, status: int, kind: type[Exception], body: str
) -> None:
    monkeypatch.setattr(rules, "NOT_YET_VISIBLE", 0)
    serve(lambda request, peer: peer.answer(status, body), api_key=KEY)
    payload = await fire(WRRunTrigger(run_id=RUN_ID))
    assert stored(payload) == payload
    assert len(json.dumps(payload)) < 100_000
    assert KEY not in repr(payload)
    assert "hint" not in repr(payload)
    error = WaitEnd.from_event(payload).error
    assert (type(error), error and error.details) == (kind, None)


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "cancelled"])
async def test_an_ended_run(serve: Serve, status: str) -> None:
    stage: dict[str, Any] = {"id": "s", "status": status, "output": {"a": "\0", "__classname__": 2**70}}

    def script(request: Request, peer: Peer) -> None:
        if request.is_stream:
            peer.send(STREAM_HEAD, event())
            peer.close()
        else:
            peer.answer(200, run(status, runStages=[stage], totalUsage="a lot", pendingStageCount=None))

    serve(script)
    assert await fire(WRRunTrigger(run_id=RUN_ID)) == {"run_id": RUN_ID, "deadline": None, "error": None}
