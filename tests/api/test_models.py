"""The API's JSON becomes dataclasses, or a WRProtocolError."""

from __future__ import annotations

import dataclasses
import json
import math
import pickle
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from storage import stored

from airflow_provider_wr.api import fields
from airflow_provider_wr.api.sanitize import RESERVED_KEYS
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
    "executionDispatchedAt": "2026-05-01T00:00:00.500Z",
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
    dispatched_at="2026-05-01T00:00:00.500Z",
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
        pytest.param(Run, {"id": ""}, "the field 'id' should be a string, not an empty string", id="id empty"),
        pytest.param(Run, {"id": {}}, "the field 'id' should be a string, not an object", id="id object"),
        pytest.param(Run, {"status": None}, "the field 'status' is missing", id="status null"),
        pytest.param(
            Run, {"status": ["FAILED"]}, "the field 'status' should be a string, not a list", id="status list"
        ),
        pytest.param(
            Run, {"status": 3}, "the field 'status' should be a string, not an integer", id="status number"
        ),
        pytest.param(RunEvent, {"id": None}, "the field 'id' is missing", id="event id"),
        pytest.param(RunEvent, {"status": None}, "the field 'status' is missing", id="event status"),
        pytest.param(TriggeredRun, {"runId": None}, "the field 'runId' is missing", id="no run id"),
    ],
)
def test_without_an_id_or_a_status_nothing_is_known(kind: Any, change: dict[str, Any], message: str) -> None:
    whole = {Run: RUN, RunEvent: EVENT, TriggeredRun: {"runId": RUN_ID, "jobId": "bull-1"}}[kind]
    kind.from_json(whole)
    with pytest.raises(WRProtocolError) as refused:
        kind.from_json({**whole, **change})
    assert refused.value.message == message


#: Undocumented values of a run's fields, and how they are read. All other fields are unaffected.
ODD = [
    pytest.param({"id": 5}, {"id": "5"}, id="id a number"),
    pytest.param({"pendingStageCount": "3"}, {"pending_stage_count": 3}, id="count a text"),
    pytest.param({"pendingStageCount": " 3.0 "}, {"pending_stage_count": 3}, id="count a text with a point"),
    pytest.param({"pendingStageCount": "3.5"}, {"pending_stage_count": None}, id="count a half in a text"),
    pytest.param({"pendingStageCount": True}, {"pending_stage_count": None}, id="count a boolean"),
    pytest.param({"pendingStageCount": 3.0}, {"pending_stage_count": 3}, id="count with a point"),
    pytest.param({"failedStageCount": 0.5}, {"failed_stage_count": None}, id="count a half"),
    pytest.param({"failedStageCount": 2**63}, {"failed_stage_count": None}, id="count beyond 64 bits"),
    pytest.param({"failedStageCount": "three"}, {"failed_stage_count": None}, id="count in words"),
    pytest.param({"totalUsage": "14.5"}, {"total_usage": 14.5}, id="usage a text"),
    pytest.param({"totalUsage": "14"}, {"total_usage": 14}, id="usage a whole text"),
    pytest.param({"totalUsage": "1e3"}, {"total_usage": 1000}, id="usage a text with an exponent"),
    pytest.param({"totalUsage": "1_000"}, {"total_usage": None}, id="usage in Python's spelling"),
    pytest.param({"totalUsage": "nan"}, {"total_usage": None}, id="usage not a number"),
    pytest.param({"totalUsage": "1e999"}, {"total_usage": None}, id="usage too large a text"),
    pytest.param({"totalUsage": math.inf}, {"total_usage": None}, id="usage infinite"),
    pytest.param({"totalUsage": 10**400}, {"total_usage": 10**400}, id="usage too large for a double"),
    pytest.param({"totalUsage": False}, {"total_usage": None}, id="usage a boolean"),
    pytest.param({"totalUsage": {"amount": 3}}, {"total_usage": None}, id="usage an object"),
    pytest.param({"createdAt": 1767225600000}, {"created_at": "1767225600000"}, id="date a number"),
    pytest.param({"updatedAt": 1767225600.5}, {"updated_at": "1767225600.5"}, id="date a number with a point"),
    pytest.param({"updatedAt": {"$date": 1}}, {"updated_at": None}, id="date an object"),
    pytest.param({"cancelReason": {}}, {"cancel_reason": None}, id="reason an object"),
    pytest.param({"runStages": None}, {"stages": (), "stages_known": False}, id="stages null"),
    pytest.param({"runStages": "none"}, {"stages": (), "stages_known": False}, id="stages a text"),
    pytest.param({"runStages": 0}, {"stages": (), "stages_known": False}, id="stages a number"),
    pytest.param({"runStages": []}, {"stages": (), "stages_known": True}, id="no stages"),
    pytest.param({"runStages": {}}, {"stages": (), "stages_known": True}, id="an object of no stages"),
    pytest.param(
        {"runStages": {"s": {"module": "M", "status": "FAILED"}}},
        {"stages": (RunStage("s", "M", StageStatus.FAILED),), "stages_known": True},
        id="stages by id",
    ),
    pytest.param(
        {"runStages": [None, "s", [], STAGE]},
        {"stages": (FULL_STAGE,), "failed_stages": (FULL_STAGE,), "stages_known": False},
        id="stages among others",
    ),
    pytest.param(
        {"runStages": [{"id": 7, "module": None, "status": None}]},
        {"stages": (RunStage("7", "", ""),), "active_stages": (RunStage("7", "", ""),), "stages_known": False},
        id="a stage of nulls",
    ),
    pytest.param(
        {"runStages": [{**STAGE, "status": "failed", "creditUsage": "1.5", "executionAttempt": "2"}]},
        {"stages": (FULL_STAGE,), "failed_stages": (FULL_STAGE,), "active_stages": (), "stages_known": True},
        id="numbers of a stage as texts",
    ),
    pytest.param(
        {"runStages": [{**STAGE, "status": "Cancelled"}]},
        {"failed_stages": (), "active_stages": (), "stages_known": True},
        id="a stage cancelled",
    ),
]


@pytest.mark.parametrize(("change", "expected"), ODD)
def test_unexpected_values_are_read_leniently(change: dict[str, Any], expected: dict[str, Any]) -> None:
    run = Run.from_json({**RUN, **change})
    assert {name: getattr(run, name) for name in expected} == expected
    assert (run.status, run.raw) == (RunStatus.FAILED, {**RUN, **change})
    assert run.ending.startswith(f"run {run.id} ended FAILED")
    assert pickle.loads(pickle.dumps(run)) == run  # noqa: S301  # our own


def test_unexpected_values_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    fields._log_once.cache_clear()
    caplog.set_level("INFO")
    for _ in range(3):
        run = Run.from_json({**RUN, "totalUsage": "14.5", "runStages": [STAGE, {**STAGE, "creditUsage": "1"}]})
        _ = run.stages
    assert caplog.messages == [
        "The API's answers are not as documented: 'totalUsage' should be a number, not a string (logged once)",
        "The API's answers are not as documented: 'creditUsage' should be a number, not a string (logged once)",
    ]


def test_stages_are_parsed_lazily(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    monkeypatch.setattr(RunStage, "_read", lambda stage, name="": read.append(stage["id"]))
    body = {**RUN, "runStages": [{"id": f"{place}", "status": "COMPLETED"} for place in range(5000)]}
    run = Run.from_json({**body, "runStages": [*body["runStages"], {"id": "x", "status": "RUNNING"}]})
    assert (run.is_terminal, run.stages_known, run.failed_stages, read) == (True, True, (), [])
    _ = run.active_stages
    assert read == ["x"]
    _ = run.stages, run.stages
    assert len(read) == 1 + 5001


def test_a_run_of_unread_stages_is_the_same_run() -> None:
    run = Run.from_json(RUN)
    copy = pickle.loads(pickle.dumps(run))  # noqa: S301  # our own
    assert copy == run == Run.from_json(RUN) != Run.from_json({**RUN, "runStages": []})
    assert (copy.raw, copy.stages) == (RUN, (FULL_STAGE,))
    assert repr(run) == repr(copy)
    with pytest.raises(AttributeError):
        _ = run.stage  # type: ignore[attr-defined]


def test_failed_stages_that_are_alike_are_one_line() -> None:
    others = [{**STAGE, "module": "B", "executionAttempt": 1}] * 3 + [{**STAGE, "module": "C", "error": "other"}]
    ending = Run.from_json({**RUN, "runStages": [STAGE] * 5000 + others}).ending
    assert ending.splitlines()[1:] == [
        "  HTTP_REQUEST ×5000 (attempt 2): no route",
        "  B ×3: no route",
        "  C (attempt 2): other",
    ]


def test_an_error_lists_no_more_groups_of_failed_stages_than_a_log_can_bear() -> None:
    stages = [{**STAGE, "error": {"message": str(number)}} for number in range(5000)]
    lines = Run.from_json({**RUN, "runStages": stages}).ending.splitlines()
    assert len(lines) == 12
    assert lines[-1] == "  and 4990 more"


def test_a_stage_without_a_module_has_a_label() -> None:
    run = Run.from_json({**RUN, "runStages": [{**STAGE, "module": None}]})
    assert run.ending.endswith("\n  a stage without a module (attempt 2): no route")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(None, "a run should be a JSON object, not null", id="null"),
        pytest.param([], "a run should be a JSON object, not a list", id="list"),
        pytest.param("COMPLETED", "a run should be a JSON object, not a string", id="text"),
        pytest.param(1.5, "a run should be a JSON object, not a number", id="number"),
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
        pytest.param("completed", RunStatus.COMPLETED, True, id="lower case"),
        pytest.param("Failed", RunStatus.FAILED, True, id="capital"),
        pytest.param(" COMPLETED\n", RunStatus.COMPLETED, True, id="spaces"),
        pytest.param("CANCELLED", RunStatus.CANCELED, True, id="CANCELLED"),
        pytest.param("cancelled", RunStatus.CANCELED, True, id="cancelled"),
        pytest.param("Succeeded", "Succeeded", False, id="unknown, as it came"),
        pytest.param("", "", False, id="empty"),
    ],
)
@pytest.mark.parametrize("kind", [Run, RunEvent])
def test_statuses(kind: Any, status: str, parsed: RunStatus | str, terminal: bool) -> None:
    run = kind.from_json({"id": RUN_ID, "status": status})
    assert (run.status, type(run.status), run.is_terminal) == (parsed, type(parsed), terminal)
    assert f"{run.status}" == parsed


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
            'ended FAILED\n  A: no route\n  C (attempt 3): plain\n  D: {"code": 7, "why": "ü"}\n  E: null',
            id="failed stages",
        ),
        pytest.param(
            {
                "status": "FAILED",
                "runStages": [{"id": "1", "module": "A", "status": "FAILED", "error": "x" * 900}],
            },
            f"ended FAILED\n  A: {'x' * 500}…",
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

ANY_TEXT = st.text() | st.text(st.sampled_from("a\0\ud83d\ude00é")) | st.sampled_from(sorted(RESERVED_KEYS))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=5,
)
NUMBER = st.none() | st.integers() | st.just(10**400) | st.floats(allow_nan=False) | JSON
TEXT = st.text() | JSON
STATUS = st.sampled_from([*RunStatus, *StageStatus, "NEW"]).map(str) | JSON


def one_of(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    """Almost valid objects: any field may be missing or have another type, and there may be others."""
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
def test_any_json_with_an_id_and_a_status_is_a_run(body: Any) -> None:
    try:
        run = Run.from_json(body)
    except WRProtocolError:
        known = isinstance(body, dict) and body.get("id") and isinstance(body.get("status"), str)
        assert not known or not isinstance(body["id"], str) or not body["id"].strip()
        return
    assert run.raw == body
    assert run.ending.startswith("run ")
    for stage_outputs in (True, False):
        xcom = run.as_xcom(stage_outputs=stage_outputs)
        assert stored(xcom) == xcom
    if run.stages_known:
        stripped = run.as_xcom(stage_outputs=False)["runStages"]
        assert all("output" not in stage for stage in (stripped.values() if type(stripped) is dict else stripped))


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
