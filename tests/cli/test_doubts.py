"""``airflow wr doubts``: the report, from rows made here and from those that tasks leave in a real database."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_3_PLUS
from dags.running import run_tasks
from hooks.conftest import Connect, _no_long_pauses, _quick_server, connect, sandbox  # noqa: F401

from airflow_provider_wr.cli import definition, ledger
from airflow_provider_wr.cli.ledger import Place, StateRow, XComRow
from airflow_provider_wr.operators.request import ExecutionRequest, RunRequest
from airflow_provider_wr.sandbox.server import Sandbox

NOW = datetime(2026, 11, 26, 12, tzinfo=timezone.utc)
SINCE = NOW - timedelta(days=30)
PAY, WAIT = Place("pay", "manual_1", "pay", -1), Place("pay", "manual_1", "wait", -1)


def state(run_id: str | None, place: Place = PAY, *, at: datetime = NOW, **facts: Any) -> StateRow:
    value = {"run_id": run_id, "workflow_id": "W", "at": at.isoformat(), "doubt_reported": False, **facts}
    return StateRow(place, "wr_run", json.dumps(value), "success")


def xcom(value: Any, place: Place = PAY, key: str = "run", *, at: datetime = NOW) -> XComRow:
    return XComRow(place, key, value, at)


def a_run(run_id: str, status: str = "COMPLETED", credits: Any = 14, **fields: Any) -> dict[str, Any]:
    return {"id": run_id, "status": status, "totalUsage": credits, "updatedAt": "2026-11-25T23:00:00Z", **fields}


def test_the_state_has_the_key_that_tasks_write() -> None:
    assert {kind.key: kind.id_name for kind in (RunRequest, ExecutionRequest)} == ledger.STATES


def test_a_trigger_without_an_answer_is_a_doubt_whatever_its_age() -> None:
    old = NOW - timedelta(days=300)
    report = ledger.make([state(None, at=old), state("R", doubt_reported=True), state("S")], [], since=SINCE)
    assert [(each["dag_id"], each["task_id"], each["of"]) for each in report.unknown] == [("pay", "pay", "W")] * 2
    assert [each["at"] for each in report.unknown] == [old.isoformat(), NOW.isoformat()]


def test_a_run_is_unfinished_until_any_task_has_seen_its_end() -> None:
    report = ledger.make(
        [state("ended"), state("seen"), state("never seen"), state("old", at=NOW - timedelta(days=31))],
        [
            xcom(a_run("ended", "Cancelled"), WAIT, "return_value"),
            xcom(a_run("ended", "EXECUTING")),
            xcom(a_run("seen", "EXECUTING")),
            xcom("without memory", key="run_id"),
        ],
        since=SINCE,
    )
    assert [(each["id"], each["last_seen"]) for each in report.unfinished] == [
        ("seen", "EXECUTING"),
        ("never seen", None),
        ("without memory", None),
    ]
    assert report.unreadable == 0


def test_credits_count_once_a_run_by_the_dag_that_started_it_and_the_day_it_ended() -> None:
    other = Place("other", "manual_2", "wait", 3)
    report = ledger.make(
        [state("one"), state("two")],
        [
            xcom(a_run("one", credits="14.5"), other, "return_value"),
            xcom(a_run("one", credits=3)),
            xcom(a_run("two", credits=1, updatedAt=None)),
            xcom(json.dumps(a_run("three", credits=2)), other),
            xcom(a_run("four", credits=None), other),
        ],
        since=SINCE,
    )
    assert report.credits == [
        {"day": "2026-11-26", "dag_id": "pay", "credits": 1.0, "runs": 1},
        {"day": "2026-11-25", "dag_id": "pay", "credits": 14.5, "runs": 1},
        {"day": "2026-11-25", "dag_id": "other", "credits": 2.0, "runs": 2},
    ]


@pytest.mark.parametrize("value", ["s3://bucket/key", [1], {"id": 5}, {"status": "COMPLETED"}, "{", 7])
def test_what_is_no_run_is_counted_and_skipped(value: Any) -> None:
    states = [StateRow(PAY, "wr_run", value, None)]
    report = ledger.make(states, [xcom(value)], since=SINCE)
    assert (report.unknown, report.unfinished, report.credits, report.unreadable) == ([], [], [], 2)


def test_an_execution_of_a_component_is_listed_as_a_run_is() -> None:
    facts = {"execution_id": None, "module": "RANDOM_UUID", "at": NOW.isoformat()}
    report = ledger.make(
        [StateRow(PAY, "wr_execution", facts, "failed")],
        [
            xcom("E", key="execution_id"),
            xcom("F", key="execution_id"),
            xcom(a_run("F", credits=0.5), key="execution"),
        ],
        since=SINCE,
    )
    assert [each["of"] for each in report.unknown] == ["RANDOM_UUID"]
    assert [each["id"] for each in report.unfinished] == ["E"]
    assert report.credits == [{"day": "2026-11-25", "dag_id": "pay", "credits": 0.5, "runs": 1}]


def test_the_operators_have_the_names_that_airflow_keeps() -> None:
    from airflow_provider_wr.operators import component, wr
    from airflow_provider_wr.sensors import wr as sensors

    ours = {name for module in (component, wr, sensors) for name in vars(module)}
    assert {name for names in ledger.XCOMS.values() for name in names} <= ours


def test_a_table_cannot_be_forged() -> None:
    shown = ledger.table("Doubts", [{"dag_id": "pay\n\x1b[31m", "credits": 2.0, "at": None}], "none")
    assert shown == "Doubts: 1\n  dag_id         credits  at\n  pay\\n\\x1b[31m  2        -"
    assert ledger.table("Doubts", [], "none") == "Doubts: none"


# --- in Airflow -------------------------------------------------------------------------------------------


@pytest.mark.skipif(AIRFLOW_V_3_3_PLUS, reason="there are commands from 3.3 on")
def test_there_is_no_command_where_tasks_keep_no_state() -> None:
    assert definition.get_commands() == []


def run_command(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command as ``airflow`` does, found by way of the provider's info."""
    from airflow.cli import cli_parser

    args = cli_parser.get_parser().parse_args(["wr", "doubts", *arguments])
    capsys.readouterr()
    args.func(args)
    return capsys.readouterr().out


@pytest.mark.skipif(not AIRFLOW_V_3_3_PLUS, reason="tasks keep state from 3.3 on")
@pytest.mark.usefixtures("airflow_db")
@pytest.mark.parametrize("_quick_server", ["plain"], indirect=True)
def test_the_report_of_a_real_database(
    sandbox: Sandbox,  # noqa: F811
    connect: Connect,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    connect(sandbox.url, api_key=sandbox.api_key)
    run_tasks("WRTriggerRunOperator(task_id='pay', wait_for_completion=True, timeout=20)")
    run_tasks("WRTriggerRunOperator(task_id='start')")
    sandbox.control.fault("trigger", reset=True, obey=True)
    run_tasks("WRTriggerRunOperator(task_id='doubt')")
    ended, started, _ = (run["id"] for run in sandbox.control.runs())
    report = json.loads(run_command(capsys, "--json"))
    (doubt,) = (each for each in report["unknown"] if each["task_id"] == "doubt")
    assert (doubt["of"], doubt["task_state"]) == (sandbox.workflow_id, "failed")
    unfinished = {each["id"]: each for each in report["unfinished"]}
    assert ended not in unfinished
    assert (unfinished[started]["task_id"], unfinished[started]["last_seen"]) == ("start", None)
    first = f"dag_{int(doubt['dag_id'].removeprefix('dag_')) - 2}"
    (paid,) = (each for each in report["credits"] if each["dag_id"] == first)
    assert (paid["credits"], paid["runs"]) == (14, 1)
    assert any("default_retention_days" in line for line in report["cannot_see"])

    shown = run_command(capsys, "--days", "1")
    assert "Triggers whose outcome is unknown: " in shown
    assert started in shown
    assert "What this cannot see:" in shown
