"""Under drift, the sandbox answers with the same content in another format."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_wr.sandbox import drift

from .api import Api

if TYPE_CHECKING:
    from collections.abc import Iterator

    import requests

MIDNIGHT = "2026-11-26T00:00:00.007Z"
MIDNIGHT_MS = 1795651200007

STAGE = {
    "id": "5a",
    "module": "HTTP_REQUEST",
    "status": "COMPLETED",
    "output": {"status": "COMPLETED", "totalUsage": 1},
    "error": None,
    "creditUsage": 1,
    "executionAttempt": 1,
    "executionEventId": "e",
    "executionDispatchedAt": MIDNIGHT,
    "updatedAt": MIDNIGHT,
}
RUN = {
    "id": "9e4c",
    "status": "EXECUTING",
    "totalUsage": 14,
    "pendingStageCount": 3,
    "failedStageCount": 0,
    "cancelRequestedAt": None,
    "cancelReason": None,
    "createdAt": MIDNIGHT,
    "updatedAt": MIDNIGHT,
    "runStages": [STAGE],
}
EVENT = {
    "id": "9e4c",
    "status": "EXECUTING",
    "output": {"totalUsage": 14, "pendingStageCount": 3, "failedStageCount": 1, "nonTerminalStages": [STAGE]},
    "timestamp": MIDNIGHT,
}


@pytest.mark.parametrize(
    ("plain", "drifted"),
    [
        ("CREATED", "Created"),
        ("EXECUTING", "executing"),
        ("RUNNING", "running"),
        ("COMPLETED", "Completed"),
        ("FAILED", "Failed"),
        ("CANCELED", "CANCELLED"),
    ],
)
def test_a_status_is_spelled_otherwise(plain: str, drifted: str) -> None:
    assert drift.run({**RUN, "status": plain})["status"] == drifted
    assert drift.stage({**STAGE, "status": plain})["status"] == drifted
    assert drift.event({**EVENT, "status": plain})["status"] == drifted


def test_a_run_has_its_numbers_as_texts_and_its_dates_as_numbers() -> None:
    assert drift.run({**RUN, "failedStageCount": 2, "cancelRequestedAt": MIDNIGHT}) == {
        "id": "9e4c",
        "status": "executing",
        "totalUsage": "14.00",
        "pendingStageCount": "3",
        "failedStageCount": "2",
        "cancelRequestedAt": MIDNIGHT_MS,
        "cancelReason": None,
        "createdAt": MIDNIGHT_MS,
        "updatedAt": MIDNIGHT_MS,
        "runStages": [drift.stage(STAGE)],
        "tags": None,
        "workspace": {"region": "eu"},
    }


def test_a_count_of_zero_is_null() -> None:
    assert drift.run(RUN)["failedStageCount"] is None


def test_a_stage_has_them_too_and_keeps_its_output() -> None:
    assert drift.stage(STAGE) == {
        **STAGE,
        "status": "Completed",
        "creditUsage": "1.00",
        "executionAttempt": "1",
        "executionDispatchedAt": MIDNIGHT_MS,
        "updatedAt": MIDNIGHT_MS,
        "input": None,
    }


@pytest.mark.parametrize("status", ["CREATED", "CANCELED"])
def test_a_stage_that_has_not_begun_has_no_module(status: str) -> None:
    assert drift.stage({**STAGE, "status": status, "executionDispatchedAt": None})["module"] is None


def test_stages_may_be_an_object() -> None:
    assert drift.run({**RUN, "runStages": {"5a": STAGE}})["runStages"] == {"5a": drift.stage(STAGE)}


def test_an_event_has_its_id_in_upper_case_and_more_fields() -> None:
    assert drift.event(EVENT) == {
        "id": "9E4C",
        "status": "executing",
        "output": {
            "totalUsage": "14.00",
            "pendingStageCount": "3",
            "failedStageCount": "1",
            "nonTerminalStages": [drift.stage(STAGE)],
        },
        "timestamp": MIDNIGHT_MS,
        "version": 2,
    }


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "CANCELED"])
def test_the_last_event_has_no_output(status: str) -> None:
    assert drift.event({**EVENT, "status": status})["output"] is None


@pytest.mark.parametrize(
    ("endpoint", "status", "plain", "expected"),
    [
        pytest.param(
            "trigger",
            201,
            {"runId": "9e4c", "jobId": "bull-12345"},
            (200, {"runId": "9e4c", "jobId": 12345, "status": "Created", "scheduledAt": None}),
            id="trigger",
        ),
        pytest.param("get_run", 200, RUN, (200, drift.run(RUN)), id="run"),
        pytest.param("update", 201, {}, (200, {"updated": True, "component": None}), id="update"),
        pytest.param(
            "get_run",
            404,
            {"error": "NOT_FOUND", "message": "Run 9e4c not found"},
            (404, {"statusCode": 404, "error": "NOT_FOUND", "message": "Run 9e4c not found", "requestId": None}),
            id="error",
        ),
        pytest.param(
            "update",
            422,
            {"errors": [{"code": "INVALID_INPUT", "message": "a"}, {"code": "INVALID_INPUT", "message": "b"}]},
            (422, {"statusCode": 422, "error": "INVALID_INPUT", "message": ["a", "b"], "requestId": None}),
            id="errors",
        ),
    ],
)
def test_answers(endpoint: str, status: int, plain: Any, expected: tuple[int, Any]) -> None:
    assert drift.answer(endpoint, status, plain) == expected


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"id": "ü", "n": [1]}, '{"id":"ü","id":"ü","n":[1]}'),
        ({"id": {"a": 1}}, '{"id":{"a":1},"id":{"a":1}}'),
        ("ping", '"ping"'),
        (None, "null"),
    ],
)
def test_json_has_a_key_twice(value: Any, text: str) -> None:
    assert drift.text(value) == text
    assert json.loads(text) == value


# --- on the wire ------------------------------------------------------------------------------------------


def frames(stream: requests.Response) -> Iterator[list[str]]:
    """Yield the lines of each event, without comments."""
    for frame in stream.text.split("\n\n"):
        if lines := [line for line in frame.split("\n") if line and not line.startswith(":")]:
            yield lines


def data(frame: list[str]) -> Any:
    """Return the JSON of an event; a heartbeat is the text itself."""
    text = frame[-1].removeprefix("data: ")
    return text if text == ":ping" else json.loads(text)


def pairs(text: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = json.loads(text, object_pairs_hook=list)
    return found


def test_a_drifting_sandbox_answers_all_of_it_so(drifting: Api) -> None:
    drifting.configure({})
    triggered = drifting.call("POST", drifting.workflow, json={})
    assert (triggered.status_code, type(triggered.json()["jobId"])) == (200, int)
    assert [key for key, _ in pairs(triggered.text)] == ["runId", "runId", "jobId", "status", "scheduledAt"]
    assert drifting.update("Quote", name="New").json() == {"updated": True, "component": None}
    refused = drifting.call("POST", drifting.workflow, headers={"X-Api-Key": "no"})
    assert refused.json() == {
        "statusCode": 401,
        "error": "UNAUTHORIZED",
        "message": "Invalid API key",
        "requestId": None,
    }
    run_id = triggered.json()["runId"]
    run = drifting.run(run_id)
    assert run["id"] == run_id
    assert isinstance(run["totalUsage"], str)
    assert drifting.sandbox.control.runs()[0]["status"].isupper(), "the controls do not drift"


def test_a_drifting_stream_sends_the_same_events_among_others(drifting: Api) -> None:
    drifting.configure({"Quote": {"seconds": 0.25}})
    run_id = drifting.trigger()
    with drifting.stream(run_id) as stream:
        seen = list(frames(stream))
    assert [line.split(":")[0] for line in seen[0]] == ["event", "id", "retry", "data"]
    assert [frame[1] for frame in seen] == [f"id: {number}" for number in range(1, len(seen) + 1)]
    told = [(frame[0], data(frame)) for frame in seen]
    assert ("event: update", ":ping") in told
    told = [each for each in told if each[1] != ":ping"]
    assert told[0] == ("event: update", {"type": "connected"})
    ours, others = told[2::2], told[1::2]
    assert {event["id"] for _, event in ours} == {run_id.upper()}
    assert [event["status"] for _, event in ours] == ["executing"] * (len(ours) - 1) + ["Completed"]
    assert others[:4] == [(f"event: {name}", value) for name, value in drift.OTHER_EVENTS]
    assert others[4] == others[0], "they come in turn"


@pytest.mark.parametrize(
    ("config", "status", "code"),
    [({}, 409, "CONFLICT"), ({"failWith": "no"}, 409, "CONFLICT"), ({"cancelRun": "no"}, 410, "GONE")],
    ids=["completed", "failed", "canceled"],
)
def test_a_drifting_sandbox_refuses_the_stream_of_a_run_that_has_ended(
    drifting: Api, config: dict[str, Any], status: int, code: str
) -> None:
    drifting.sandbox.control.fault("trigger", finish_first=True)
    drifting.configure({"Quote": config})
    answer = drifting.stream(drifting.trigger())
    assert answer.status_code == status
    assert (answer.json()["error"], answer.json()["message"]) == (code, "Execution already finished")


def test_other_faults_work_under_drift(drifting: Api) -> None:
    drifting.sandbox.control.fault("get_run", status=429, retry_after="3")
    limited = drifting.call("GET", "/v1/sdk/workflows/executions/x")
    assert (limited.status_code, limited.headers["Retry-After"]) == (429, "3")
    assert limited.json()["error"] == "RATE_LIMITED"
    drifting.sandbox.control.fault("get_run", html=True)
    assert "502 Bad Gateway" in drifting.call("GET", "/v1/sdk/workflows/executions/x").text


@pytest.mark.parametrize(
    ("endpoint", "shows"),
    [
        ("trigger", '"scheduledAt":null'),
        ("get_run", '"tags":null'),
        ("stream", "event: update"),
        ("update", '"updated":true'),
    ],
)
def test_the_drift_of_a_fault_is_for_one_endpoint(api: Api, endpoint: str, shows: str) -> None:
    def answers() -> dict[str, str]:
        trigger = api.call("POST", api.workflow, json={})
        run = f"/v1/sdk/workflows/executions/{trigger.json()['runId']}"
        with api.stream(run.rpartition("/")[2]) as stream:
            first = next(line for line in stream.iter_lines(chunk_size=1, decode_unicode=True))
        return {
            "trigger": trigger.text,
            "get_run": api.call("GET", run).text,
            "stream": first,
            "update": api.update("Quote", name="New").text,
        }

    api.sandbox.control.fault(endpoint, drift=True)
    drifted, plain = answers(), answers()
    assert [name for name, text in drifted.items() if re.search(shows, text)] == [endpoint]
    assert not any(re.search(shows, text) for text in plain.values())


@pytest.mark.parametrize("drifts", [False, True])
def test_a_fault_answers_stages_as_an_object(api: Api, drifts: bool) -> None:
    run_id = api.trigger()
    api.sandbox.control.fault("get_run", stages_by_id=True, drift=drifts)
    run = api.run(run_id)
    assert [stage["id"] for stage in run["runStages"].values()] == list(run["runStages"])
    assert ("tags" in run) == drifts
    assert isinstance(api.run(run_id)["runStages"], list)
