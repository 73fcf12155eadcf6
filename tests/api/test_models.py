"""The API's JSON becomes frozen values, or one kind of error."""

from __future__ import annotations

import dataclasses
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_wr.exceptions import WRProtocolError
from airflow_provider_wr.models import Run, RunEvent, RunStage, RunStatus, StageStatus, TriggeredRun

RUN_ID = "9e4c7b1a-1111-4222-8333-944455556666"

STAGE: dict[str, Any] = {
    "id": "11111111-1111-4111-8111-111111111111",
    "module": "HTTP_REQUEST",
    "status": "FAILED",
    "output": {"rows": [1, 2]},
    "error": {"message": "no route", "code": 7},
    "creditUsage": 1.5,
    "executionAttempt": 2,
    "updatedAt": "2026-05-01T00:00:01.000Z",
    "executionEventId": "e-1",
    "executionDispatchedAt": None,
}
RUN: dict[str, Any] = {
    "id": RUN_ID,
    "status": "FAILED",
    "pendingStageCount": 0,
    "failedStageCount": 1,
    "cancelRequestedAt": "2026-05-01T00:00:00.000Z",
    "cancelReason": "too slow",
    "totalUsage": 2.5,
    "createdAt": "2026-05-01T00:00:00.000Z",
    "updatedAt": "2026-05-01T00:00:02.000Z",
    "runStages": [STAGE],
    "workspace": {"new": "field"},
}
EVENT: dict[str, Any] = {
    "id": RUN_ID,
    "status": "EXECUTING",
    "output": {
        "totalUsage": 2,
        "pendingStageCount": 3,
        "failedStageCount": 0,
        "cancelRequestedAt": None,
        "nonTerminalStages": [
            {
                "id": "s1",
                "module": "FOR_EACH",
                "status": "RUNNING",
                "executionEventId": None,
                "executionAttempt": 1,
            }
        ],
    },
    "timestamp": "2026-05-01T00:00:01.000Z",
}

FULL_STAGE = RunStage(
    id="11111111-1111-4111-8111-111111111111",
    module="HTTP_REQUEST",
    status=StageStatus.FAILED,
    output={"rows": [1, 2]},
    error={"message": "no route", "code": 7},
    credit_usage=1.5,
    execution_attempt=2,
    updated_at="2026-05-01T00:00:01.000Z",
)


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        pytest.param(
            TriggeredRun, {"runId": RUN_ID, "jobId": "bull-1"}, TriggeredRun(RUN_ID, "bull-1"), id="trigger"
        ),
        pytest.param(TriggeredRun, {"runId": RUN_ID}, TriggeredRun(RUN_ID, None), id="trigger, minimal"),
        pytest.param(RunStage, STAGE, FULL_STAGE, id="stage"),
        pytest.param(
            RunStage,
            {"id": "s", "module": "M", "status": "CREATED"},
            RunStage("s", "M", StageStatus.CREATED),
            id="stage, minimal",
        ),
        pytest.param(
            Run,
            RUN,
            Run(
                id=RUN_ID,
                status=RunStatus.FAILED,
                pending_stage_count=0,
                failed_stage_count=1,
                cancel_requested_at="2026-05-01T00:00:00.000Z",
                cancel_reason="too slow",
                total_usage=2.5,
                created_at="2026-05-01T00:00:00.000Z",
                updated_at="2026-05-01T00:00:02.000Z",
                stages=(FULL_STAGE,),
                raw=RUN,
            ),
            id="run",
        ),
        pytest.param(
            Run,
            {"id": RUN_ID, "status": "CREATED"},
            Run(RUN_ID, RunStatus.CREATED, None, None, None, None, None, None, None, (), raw={}),
            id="run, minimal",
        ),
        pytest.param(
            Run,
            {**dict.fromkeys(RUN), "id": RUN_ID, "status": "CREATED"},
            Run(RUN_ID, RunStatus.CREATED, None, None, None, None, None, None, None, (), raw={}),
            id="run, null where it may be",
        ),
        pytest.param(
            RunEvent,
            EVENT,
            RunEvent(
                run_id=RUN_ID,
                status=RunStatus.EXECUTING,
                total_usage=2,
                pending_stage_count=3,
                failed_stage_count=0,
                timestamp="2026-05-01T00:00:01.000Z",
                raw=EVENT,
            ),
            id="event",
        ),
        pytest.param(
            RunEvent,
            {"id": RUN_ID, "status": "COMPLETED"},
            RunEvent(
                RUN_ID, RunStatus.COMPLETED, None, None, None, None, raw={"id": RUN_ID, "status": "COMPLETED"}
            ),
            id="event without output",
        ),
        pytest.param(
            RunEvent,
            {**EVENT, "output": None, "timestamp": None},
            RunEvent(
                RUN_ID,
                RunStatus.EXECUTING,
                None,
                None,
                None,
                None,
                raw={**EVENT, "output": None, "timestamp": None},
            ),
            id="event with output null",
        ),
    ],
)
def test_parsing(kind: Any, body: dict[str, Any], expected: object) -> None:
    assert kind.from_json(body) == expected


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        pytest.param(Run, {"id": None}, "the field 'id' is missing", id="id null"),
        pytest.param(Run, {"id": 5}, "the field 'id' should be a text, and is a whole number", id="id number"),
        pytest.param(Run, {"status": None}, "the field 'status' is missing", id="status null"),
        pytest.param(
            Run, {"status": ["FAILED"]}, "the field 'status' should be a text, and is a list", id="status list"
        ),
        pytest.param(
            Run,
            {"pendingStageCount": "3"},
            "the field 'pendingStageCount' should be a whole number, and is a text",
            id="count text",
        ),
        pytest.param(
            Run,
            {"pendingStageCount": True},
            "the field 'pendingStageCount' should be a whole number, and is true or false",
            id="count boolean",
        ),
        pytest.param(
            Run,
            {"failedStageCount": 0.5},
            "the field 'failedStageCount' should be a whole number, and is a number",
            id="count half",
        ),
        pytest.param(
            Run,
            {"totalUsage": False},
            "the field 'totalUsage' should be a number, and is true or false",
            id="usage boolean",
        ),
        pytest.param(
            Run, {"cancelReason": {}}, "the field 'cancelReason' should be a text, and is an object", id="reason"
        ),
        pytest.param(
            Run, {"runStages": {}}, "the field 'runStages' should be a list, and is an object", id="stages"
        ),
        pytest.param(Run, {"runStages": [None]}, "a stage should be a JSON object, and is null", id="stage null"),
        pytest.param(
            Run, {"runStages": [{"id": "s", "status": "X"}]}, "the field 'module' is missing", id="stage module"
        ),
        pytest.param(
            RunEvent, {"output": [1]}, "the field 'output' should be an object, and is a list", id="event output"
        ),
        pytest.param(TriggeredRun, {"runId": None}, "the field 'runId' is missing", id="no run id"),
    ],
)
def test_what_is_not_promised_is_refused_by_name(kind: Any, change: dict[str, Any], message: str) -> None:
    whole = {Run: RUN, RunEvent: EVENT, TriggeredRun: {"runId": RUN_ID, "jobId": "bull-1"}}[kind]
    kind.from_json(whole)
    with pytest.raises(WRProtocolError) as refused:
        kind.from_json({**whole, **change})
    assert refused.value.message == message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(None, "a run should be a JSON object, and is null", id="null"),
        pytest.param([], "a run should be a JSON object, and is a list", id="list"),
        pytest.param("COMPLETED", "a run should be a JSON object, and is a text", id="text"),
        pytest.param(1.5, "a run should be a JSON object, and is a number", id="number"),
    ],
)
def test_what_is_not_an_object_is_refused(body: object, message: str) -> None:
    with pytest.raises(WRProtocolError) as refused:
        Run.from_json(body)
    assert refused.value.message == message


@pytest.mark.parametrize(
    ("status", "parsed", "terminal"),
    [
        pytest.param("CREATED", RunStatus.CREATED, False, id="CREATED"),
        pytest.param("EXECUTING", RunStatus.EXECUTING, False, id="EXECUTING"),
        pytest.param("COMPLETED", RunStatus.COMPLETED, True, id="COMPLETED"),
        pytest.param("FAILED", RunStatus.FAILED, True, id="FAILED"),
        pytest.param("CANCELED", RunStatus.CANCELED, True, id="CANCELED"),
        pytest.param("PAUSED", "PAUSED", False, id="unknown"),
        pytest.param("completed", "completed", False, id="lower case is another word"),
        pytest.param("", "", False, id="empty"),
    ],
)
@pytest.mark.parametrize("kind", [Run, RunEvent])
def test_statuses(kind: Any, status: str, parsed: RunStatus | str, terminal: bool) -> None:
    run = kind.from_json({"id": RUN_ID, "status": status})
    assert (run.status, type(run.status), run.is_terminal) == (parsed, type(parsed), terminal)
    assert f"{run.status}" == status


def test_a_whole_number_may_come_as_a_float() -> None:
    run = Run.from_json({**RUN, "pendingStageCount": 3.0})
    assert (run.pending_stage_count, type(run.pending_stage_count)) == (3, int)


def test_the_stages_by_how_they_are() -> None:
    statuses = ["COMPLETED", "FAILED", "RUNNING", "CREATED", "CANCELED", "FAILED", "NEW"]
    stages = [{"id": str(place), "module": "M", "status": status} for place, status in enumerate(statuses)]
    run = Run.from_json({**RUN, "runStages": stages})
    assert [stage.id for stage in run.failed_stages] == ["1", "5"]
    assert [stage.id for stage in run.active_stages] == ["2", "3", "6"]


@pytest.mark.parametrize(
    ("value", "field"),
    [
        pytest.param(TriggeredRun.from_json({"runId": RUN_ID}), "run_id", id="TriggeredRun"),
        pytest.param(RunStage.from_json(STAGE), "output", id="RunStage"),
        pytest.param(Run.from_json(RUN), "status", id="Run"),
        pytest.param(RunEvent.from_json(EVENT), "status", id="RunEvent"),
    ],
)
def test_values_are_frozen(value: object, field: str) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, field, None)


def test_the_active_stages_of_an_event() -> None:
    assert RunEvent.from_json(EVENT).active_stages == (
        RunStage("s1", "FOR_EACH", StageStatus.RUNNING, execution_attempt=1),
    )


@pytest.mark.parametrize("output", [None, {}, {"nonTerminalStages": None}, {"nonTerminalStages": []}])
def test_an_event_without_active_stages(output: object) -> None:
    assert RunEvent.from_json({**EVENT, "output": output}).active_stages == ()


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        pytest.param("s", "the field 'nonTerminalStages' should be a list, and is a text", id="text"),
        pytest.param([{"id": "s", "module": "M"}], "the field 'status' is missing", id="no status"),
    ],
)
def test_active_stages_that_are_none_are_refused_when_asked_for(stages: object, message: str) -> None:
    event = RunEvent.from_json({**EVENT, "output": {"nonTerminalStages": stages}})
    with pytest.raises(WRProtocolError) as refused:
        _ = event.active_stages
    assert refused.value.message == message


def test_a_repr_holds_no_outputs_but_the_stages_own() -> None:
    assert "new" not in repr(Run.from_json(RUN))


# --- the run as an XCom -----------------------------------------------------------------------------------


def test_the_xcom_is_the_apis_json_key_for_key() -> None:
    body = json.loads(json.dumps(RUN))
    assert Run.from_json(body).as_xcom() == RUN


def test_the_xcom_without_stage_outputs_lacks_them_alone() -> None:
    run = Run.from_json(RUN)
    xcom = run.as_xcom(stage_outputs=False)
    assert xcom == {**RUN, "runStages": [{key: STAGE[key] for key in STAGE if key != "output"}]}
    assert run.raw["runStages"][0]["output"] == {"rows": [1, 2]}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"id": RUN_ID, "status": "CREATED"}, id="absent"),
        pytest.param({"id": RUN_ID, "status": "CREATED", "runStages": None}, id="null"),
        pytest.param({"id": RUN_ID, "status": "CREATED", "runStages": []}, id="none"),
    ],
)
def test_the_xcom_of_a_run_without_stages(body: dict[str, Any]) -> None:
    assert Run.from_json(body).as_xcom(stage_outputs=False) == body


# --- what is said of a run --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "ending"),
    [
        pytest.param({"status": "COMPLETED"}, "ended COMPLETED", id="bare"),
        pytest.param({"status": "COMPLETED", "totalUsage": 5}, "ended COMPLETED, 5 credits used", id="credits"),
        pytest.param(
            {"status": "COMPLETED", "totalUsage": 0}, "ended COMPLETED, 0 credits used", id="for nothing"
        ),
        pytest.param(
            {"status": "COMPLETED", "totalUsage": 0.1 + 0.2}, "ended COMPLETED, 0.3 credits used", id="rounded"
        ),
        pytest.param(
            {"status": "CANCELED", "cancelReason": "too slow", "totalUsage": 1.5},
            "ended CANCELED: too slow, 1.5 credits used",
            id="reason",
        ),
        pytest.param(
            {
                "status": "FAILED",
                "runStages": [
                    {"id": "1", "module": "A", "status": "FAILED", "error": {"message": "no\n route"}},
                    {"id": "2", "module": "B", "status": "COMPLETED", "error": "old"},
                    {"id": "3", "module": "C", "status": "FAILED", "error": "plain", "executionAttempt": 3},
                    {"id": "4", "module": "D", "status": "FAILED", "error": {"code": 7, "why": "ü"}},
                    {"id": "5", "module": "E", "status": "FAILED"},
                ],
            },
            "ended FAILED\n"
            "  A failed at attempt 1: no route\n"
            "  C failed at attempt 3: plain\n"
            '  D failed at attempt 1: {"code": 7, "why": "ü"}\n'
            "  E failed at attempt 1: null",
            id="failed stages",
        ),
        pytest.param(
            {
                "status": "FAILED",
                "runStages": [{"id": "1", "module": "A", "status": "FAILED", "error": "x" * 900}],
            },
            f"ended FAILED\n  A failed at attempt 1: {'x' * 500}…",
            id="long error",
        ),
    ],
)
def test_the_ending(body: dict[str, Any], ending: str) -> None:
    assert Run.from_json({"id": RUN_ID, **body}).ending == f"run {RUN_ID} {ending}"


@pytest.mark.parametrize("forged", ["\nINFO all is well", "\x1b[2K", "\x00", "\u2028", "\ud800"])
@pytest.mark.parametrize(
    "place",
    [
        pytest.param(lambda text: {"status": f"FAILED{text}"}, id="status"),
        pytest.param(lambda text: {"cancelReason": f"because{text}"}, id="reason"),
        pytest.param(lambda text: {"runStages": [{**STAGE, "module": f"A{text}"}]}, id="module"),
        pytest.param(lambda text: {"runStages": [{**STAGE, "error": f"no{text}"}]}, id="error text"),
        pytest.param(lambda text: {"runStages": [{**STAGE, "error": {"why": f"no{text}"}}]}, id="error object"),
    ],
)
def test_the_ending_cannot_forge_a_log(place: Any, forged: str) -> None:
    plain = Run.from_json({**RUN, **place("")}).ending
    lines = Run.from_json({**RUN, **place(forged)}).ending.split("\n")
    assert len(lines) == len(plain.split("\n"))
    assert all(line.isprintable() for line in lines)


# --- whatever a server sends ------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
NUMBER = st.none() | st.integers() | st.just(10**400) | st.floats(allow_nan=False) | JSON
TEXT = st.text() | JSON
STATUS = st.sampled_from([*RunStatus, *StageStatus, "NEW"]).map(str) | JSON


def one_of(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    """Objects that are nearly right: any field may be absent or of another type, any other may be there."""
    near = st.fixed_dictionaries({}, optional=fields)
    return near | st.builds(lambda extra, body: {**extra, **body}, st.dictionaries(st.text(), JSON), near) | JSON


STAGES = st.lists(
    one_of(
        {
            "id": TEXT,
            "module": TEXT,
            "status": STATUS,
            "output": JSON,
            "error": JSON,
            "creditUsage": NUMBER,
            "executionAttempt": NUMBER,
        }
    ),
    max_size=3,
)
RUNS = one_of(
    {
        "id": TEXT,
        "status": STATUS,
        "pendingStageCount": NUMBER,
        "failedStageCount": NUMBER,
        "cancelReason": TEXT,
        "totalUsage": NUMBER,
        "runStages": STAGES | JSON,
    }
)
EVENTS = one_of(
    {
        "id": TEXT,
        "status": STATUS,
        "output": one_of({"totalUsage": NUMBER, "pendingStageCount": NUMBER, "nonTerminalStages": STAGES | JSON}),
    }
)


@given(RUNS)
@example({"id": RUN_ID, "status": "FAILED", "totalUsage": 10**400})
def test_any_json_is_a_run_or_refused(body: Any) -> None:
    with suppress(WRProtocolError):
        run = Run.from_json(body)
        assert run.as_xcom() == body
        assert all("output" not in stage for stage in run.as_xcom(stage_outputs=False).get("runStages") or ())
        assert run.ending.startswith("run ")


@given(EVENTS)
def test_any_json_is_an_event_or_refused(body: Any) -> None:
    with suppress(WRProtocolError):
        event = RunEvent.from_json(body)
        assert event.raw == body
        assert all(isinstance(stage, RunStage) for stage in event.active_stages)


@pytest.mark.parametrize(
    ("answer", "triggered"),
    [
        pytest.param({"runId": RUN_ID, "jobId": 12345}, TriggeredRun(RUN_ID, "12345"), id="a number for a job"),
        pytest.param({"runId": RUN_ID, "jobId": {"id": 1}}, TriggeredRun(RUN_ID, None), id="an object for a job"),
        pytest.param({"runId": RUN_ID, "extra": [None]}, TriggeredRun(RUN_ID, None), id="an unknown field"),
        pytest.param({"runId": 42}, TriggeredRun("42", None), id="a number for a run"),
        pytest.param({"runId": "run_7"}, TriggeredRun("run_7", None), id="another form"),
    ],
)
def test_an_answer_that_names_a_run_names_a_run(answer: dict[str, Any], triggered: TriggeredRun) -> None:
    assert TriggeredRun.from_json(answer) == triggered


@given(one_of({"runId": TEXT, "jobId": TEXT}))
def test_any_json_is_a_trigger_or_refused(body: Any) -> None:
    with suppress(WRProtocolError):
        assert TriggeredRun.from_json(body).run_id == str(body["runId"])
