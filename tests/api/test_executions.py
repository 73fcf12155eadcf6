"""Executions of components, read as leniently as runs."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from airflow_provider_wr.api import events
from airflow_provider_wr.exceptions import WRProtocolError
from airflow_provider_wr.models import ComponentExecution, ExecutionCallback, ExecutionEvent, ExecutionStatus

ID = "e1ec0000-1111-4222-8333-944455556666"
OTHER_ID = "e1ec0000-1111-4222-8333-000000000000"

CALLBACK: dict[str, Any] = {
    "url": "https://example.com/done",
    "signed": True,
    "signatureAlgorithm": "hmac-sha256-v1",
    "headerNames": ["X-Team"],
    "deliveredAt": None,
    "lastAttemptAt": "2026-05-01T00:00:03.000Z",
    "attemptCount": 2,
    "lastError": {"message": "502"},
}
RECORD: dict[str, Any] = {
    "id": ID,
    "module": "API_CALL",
    "status": "FAILED",
    "completed": True,
    "output": {"rows": [1]},
    "error": {"code": "E7", "message": "no\nroute"},
    "totalUsage": 2.5,
    "callback": CALLBACK,
    "createdAt": "2026-05-01T00:00:00.000Z",
    "updatedAt": "2026-05-01T00:00:02.000Z",
    "workspace": {"new": "field"},
}


def record(**changes: Any) -> ComponentExecution:
    return ComponentExecution.from_json({**RECORD, **changes})


def test_every_field_of_a_record_is_read() -> None:
    execution = ComponentExecution.from_json(RECORD)
    assert execution == ComponentExecution(
        id=ID,
        module="API_CALL",
        status=ExecutionStatus.FAILED,
        completed=True,
        output={"rows": [1]},
        error={"code": "E7", "message": "no\nroute"},
        total_usage=2.5,
        callback=ExecutionCallback(
            url="https://example.com/done",
            signed=True,
            signature_algorithm="hmac-sha256-v1",
            header_names=("X-Team",),
            delivered_at=None,
            last_attempt_at="2026-05-01T00:00:03.000Z",
            attempt_count=2,
            last_error={"message": "502"},
        ),
        created_at="2026-05-01T00:00:00.000Z",
        updated_at="2026-05-01T00:00:02.000Z",
        raw={},
    )
    assert execution.raw is RECORD


def test_id_and_status_are_enough() -> None:
    execution = ComponentExecution.from_json({"id": ID, "status": "CREATED"})
    assert (execution.module, execution.completed, execution.output, execution.callback) == ("", False, None, None)
    assert not execution.is_terminal


@pytest.mark.parametrize(
    ("body", "says"),
    [
        pytest.param([RECORD], "an execution should be a JSON object, not a list", id="list"),
        pytest.param({"status": "CREATED"}, "the field 'id' is missing", id="no id"),
        pytest.param(
            {"id": " ", "status": "CREATED"}, "the field 'id' should be a string, not a string", id="blank"
        ),
        pytest.param({"id": ID}, "the field 'status' is missing", id="no status"),
        pytest.param(
            {"id": ID, "status": 3}, "the field 'status' should be a string", id="status of another type"
        ),
    ],
)
def test_without_one_of_them_it_is_no_record(body: object, says: str) -> None:
    with pytest.raises(WRProtocolError, match=says):
        ComponentExecution.from_json(body)


@pytest.mark.parametrize(
    ("status", "read", "is_terminal"),
    [
        ("CREATED", ExecutionStatus.CREATED, False),
        ("EXECUTING", ExecutionStatus.EXECUTING, False),
        ("COMPLETED", ExecutionStatus.COMPLETED, True),
        ("FAILED", ExecutionStatus.FAILED, True),
        (" completed\n", ExecutionStatus.COMPLETED, True),
        ("CANCELED", "CANCELED", False),  # executions have no such status
        ("CANCELLED", "CANCELLED", False),
        ("PAUSED", "PAUSED", False),
    ],
)
def test_a_status_that_is_not_documented_is_a_text_and_no_end(status: str, read: str, is_terminal: bool) -> None:
    execution = record(status=status)
    assert (execution.status, type(execution.status), execution.is_terminal) == (read, type(read), is_terminal)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param({"id": 7}, {"id": "7"}, id="id a number"),
        pytest.param({"module": None}, {"module": ""}, id="no module"),
        pytest.param({"completed": "yes"}, {"completed": True}, id="completed a text: by the status"),
        pytest.param({"completed": "yes", "status": "NEW"}, {"completed": False}, id="the same, not ended"),
        pytest.param({"completed": False}, {"completed": False, "is_terminal": True}, id="the status decides"),
        pytest.param({"totalUsage": "14.5"}, {"total_usage": 14.5}, id="number as a text"),
        pytest.param({"createdAt": 1767225600000}, {"created_at": "1767225600000"}, id="date as a number"),
        pytest.param({"callback": "none"}, {"callback": None}, id="callback a text"),
    ],
)
def test_unexpected_values_are_read_leniently(change: dict[str, Any], expected: dict[str, Any]) -> None:
    execution = record(**change)
    assert {name: getattr(execution, name) for name in expected} == expected


def test_an_unexpected_callback_is_read_leniently() -> None:
    callback = record(callback={"signed": "no", "headerNames": "X", "attemptCount": "2"}).callback
    assert callback == ExecutionCallback(None, None, None, (), None, None, 2, None)
    names = record(callback={**CALLBACK, "headerNames": ["X", 1, None]}).callback
    assert names is not None
    assert names.header_names == ("X",)


@pytest.mark.parametrize("status", [{}, {"status": None}, {"status": 3}])
def test_a_started_execution_is_known_whatever_else_is_in_the_answer(status: dict[str, Any]) -> None:
    execution = ComponentExecution.started({"id": ID, **status})
    assert (execution.id, execution.status, execution.is_terminal) == (ID, "", False)


def test_an_answer_that_names_no_execution_starts_none() -> None:
    with pytest.raises(WRProtocolError, match="the field 'id' is missing"):
        ComponentExecution.started({"status": "CREATED"})


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({}, f"execution {ID} ended FAILED, 2.5 credits used\n  API_CALL: no route"),
        ({"error": None, "status": "COMPLETED"}, f"execution {ID} ended COMPLETED, 2.5 credits used"),
        ({"totalUsage": 1}, f"execution {ID} ended FAILED, 1 credit used\n  API_CALL: no route"),
        ({"totalUsage": None, "error": "boom"}, f"execution {ID} ended FAILED\n  API_CALL: boom"),
        (
            {"totalUsage": None, "error": [1], "module": None},
            f"execution {ID} ended FAILED\n  a component without a module: [1]",
        ),
    ],
)
def test_the_ending_in_words(change: dict[str, Any], text: str) -> None:
    assert record(**change).ending == text


def test_the_xcom_is_the_apis_json_as_far_as_airflow_can_keep_it(caplog: pytest.LogCaptureFixture) -> None:
    assert record().as_xcom() == RECORD
    with caplog.at_level(logging.WARNING):
        xcom = record(output={"wei": 2**70, "symbol": "USDC\0"}).as_xcom()
    assert xcom["output"] == {"wei": str(2**70), "symbol": "USDC\ufffd"}
    assert (
        f"Execution {ID}, in its XCom: output.wei: an integer beyond 64 bits is kept as a string"
        in caplog.messages
    )


def test_it_has_no_stages_to_speak_of() -> None:
    for each in (record(), ExecutionEvent.from_json(RECORD)):
        assert (each.pending_stage_count, each.active_stages) == (None, ())


# --- events -----------------------------------------------------------------------------------------------


def test_every_field_of_an_event_is_read() -> None:
    data = {"id": ID.upper(), "status": "COMPLETED", "output": [1], "error": None, "timestamp": 7, "new": 1}
    event = events.read_execution_event(ID, json.dumps(data))
    assert event == ExecutionEvent(ID.upper(), ExecutionStatus.COMPLETED, [1], None, 7, data)
    assert event.is_terminal
    assert event.total_usage is None


@pytest.mark.parametrize(
    "data",
    [
        *("", ":ping", " :ping ", "ping", "null", "[]", "{", '{"type":"connected"}', '{"status":"COMPLETED"}'),
        json.dumps({"id": OTHER_ID, "status": "COMPLETED"}),
        json.dumps({"id": ID}),
    ],
)
def test_what_is_no_event_of_this_execution_is_a_sign_of_life(data: str) -> None:
    assert events.read_execution_event(ID, data) is None


def test_an_unknown_status_of_an_event_is_no_end() -> None:
    event = events.read_execution_event(ID, json.dumps({"id": ID, "status": "CANCELED"}))
    assert event is not None
    assert not event.is_terminal
