"""The event of a trigger: a contract between trigger and task."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_wr import exceptions
from airflow_provider_wr.exceptions import WRError, WRProtocolError, WRRunEndedError, WRTriggerUnknownError
from airflow_provider_wr.triggers.wr import WaitEnd

RUN = "9e4c7b1a-1111-4222-8333-944455556666"
DEADLINE = 1_800_000_000.5

FACTS: dict[str, Any] = {
    "method": "GET",
    "path": f"/v1/sdk/workflows/executions/{RUN}",
    "status_code": 429,
    "details": {"errors": [{"code": "L", "message": "Rate limit exceeded"}]},
    "errors": [{"code": "L", "message": "Rate limit exceeded"}],
    "retry_after": 1.5,
}

#: Values that our errors never have: the last safeguard for events.
TOO_ODD: dict[str, Any] = {"errors": [{"code": "a\0b", "message": "\ud800"}], "retry_after": 2**64}

#: Errors that a wait never raises: it starts nothing, and returns the run whatever its status.
NOT_OF_A_WAIT = (
    WRTriggerUnknownError,
    WRRunEndedError,
    exceptions.WRComponentFailedError,
    exceptions.WRConcurrentUpdateError,
)
OF_A_WAIT = [
    kind
    for kind in vars(exceptions).values()
    if isinstance(kind, type) and issubclass(kind, WRError) and not issubclass(kind, NOT_OF_A_WAIT)
]


def through_the_database(end: WaitEnd) -> WaitEnd:
    return WaitEnd.from_event(json.loads(json.dumps(end.to_event(), allow_nan=False)))


@pytest.mark.parametrize("deadline", [None, DEADLINE])
def test_a_run_that_ended(deadline: float | None) -> None:
    end = WaitEnd(RUN, deadline, None)
    assert end.to_event() == {"run_id": RUN, "deadline": deadline, "error": None}
    assert through_the_database(end) == end


@pytest.mark.parametrize("kind", [pytest.param(kind, id=kind.__name__) for kind in OF_A_WAIT])
@pytest.mark.parametrize("facts", [pytest.param(FACTS, id="all facts"), pytest.param({}, id="words alone")])
def test_an_error_arrives_as_it_was_raised(kind: type[WRError], facts: dict[str, Any]) -> None:
    error = kind("Rate limit exceeded", **facts)
    end = through_the_database(WaitEnd(RUN, DEADLINE, error))
    assert (end.id, end.deadline) == (RUN, DEADLINE)
    assert type(end.error) is kind
    assert str(end.error) == str(error)
    assert vars(end.error) == {**vars(error), "details": None}


def test_an_event_has_no_body_of_the_api() -> None:
    error = exceptions.WRAuthError("Invalid API key", details={"hint": "x\0y", "rows": ["z" * 10**6]}, **TOO_ODD)
    event = WaitEnd(RUN, DEADLINE, error).to_event()
    assert "hint" not in repr(event)
    assert event["error"]["errors"] == [{"code": "a\ufffdb", "message": "\ufffd"}]
    assert event["error"]["retry_after"] == str(2**64)


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(None, id="none, as when the trigger was cancelled"),
        pytest.param("success", id="text"),
        pytest.param([], id="list"),
        pytest.param({}, id="empty"),
        pytest.param({"status": "error", "message": "x"}, id="another trigger's"),
        pytest.param({"run_id": RUN, "error": None}, id="no deadline"),
        pytest.param({"run_id": 5, "deadline": None, "error": None}, id="run id not a text"),
        pytest.param({"run_id": RUN, "deadline": "soon", "error": None}, id="deadline not a number"),
        pytest.param({"run_id": RUN, "deadline": None, "error": "boom"}, id="error a text"),
        pytest.param({"run_id": RUN, "deadline": None, "error": 5}, id="error a number"),
        pytest.param({"run_id": RUN, "deadline": None, "error": {"message": "x"}}, id="error without a class"),
        pytest.param({"run_id": RUN, "deadline": None, "error": {"class": "WRError"}}, id="error without words"),
        pytest.param(
            {"run_id": RUN, "deadline": None, "error": {"class": "WRNewError", "message": "x"}}, id="unknown class"
        ),
        pytest.param(
            {"run_id": RUN, "deadline": None, "error": {"class": "WRError", "message": "x", "why": "y"}},
            id="unknown fact",
        ),
        pytest.param(
            {"run_id": RUN, "deadline": None, "error": {"class": 5, "message": "x"}}, id="class not a text"
        ),
        pytest.param(
            {"run_id": RUN, "deadline": None, "error": {"class": "AirflowException", "message": "x"}},
            id="class that is not ours",
        ),
        pytest.param(
            {"run_id": RUN, "deadline": None, "error": {"class": "run_ended_error", "message": "x"}},
            id="function for a class",
        ),
        pytest.param(
            {"run_id": RUN, "deadline": None, "error": {"class": "WRRunFailedError", "message": "x"}},
            id="class that no wait raises",
        ),
    ],
)
def test_an_event_of_another_kind_is_refused(event: Any) -> None:
    with pytest.raises(WRProtocolError, match="the wait ended with an unexpected event"):
        WaitEnd.from_event(event)
