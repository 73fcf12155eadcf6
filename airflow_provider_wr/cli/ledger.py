"""
What tasks left in Airflow's database of the runs they started: in the state of tasks, and in XComs.

Every value comes from the database as it is, so what cannot be read is counted and skipped.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, NamedTuple

from airflow_provider_wr.api import fields
from airflow_provider_wr.api.models import TERMINAL, RunStatus
from airflow_provider_wr.api.text import printable
from airflow_provider_wr.api.times import to_unix

#: The state of tasks that start something: its key, and the field of the id.
STATES = {"wr_run": "run_id", "wr_execution": "execution_id"}

#: The XComs that are read: by key, the operators and sensors that leave them, as Airflow keeps their names.
XCOMS = {
    "run_id": ("WRTriggerRunOperator",),
    "run": ("WRTriggerRunOperator",),
    "execution_id": ("WRExecuteComponentOperator",),
    "execution": ("WRExecuteComponentOperator",),
    "return_value": ("WRRunSensor", "WRGetRunOperator", "WRComponentExecutionSensor"),
}


class Place(NamedTuple):
    """The task instance that left a value."""

    dag_id: str
    dag_run_id: str
    task_id: str
    map_index: int


class StateRow(NamedTuple):
    """A row of Airflow's store of task states."""

    place: Place
    key: str
    value: Any
    task_state: str | None


class XComRow(NamedTuple):
    """A row of Airflow's XComs."""

    place: Place
    key: str
    value: Any
    at: datetime


@dataclass
class _Known:
    """What is known of one run."""

    place: Place
    task_state: str | None = None
    started_at: str | None = None
    of: str | None = None
    was_started: bool = False
    status: str | None = None
    credits: float = 0.0
    day: str = ""


@dataclass
class Ledger:
    """
    The report.

    :param unknown: triggers with an unknown outcome.
    :param unfinished: runs that were started, but whose end no task has seen.
    :param credits: credits by DAG and day.
    :param unreadable: how many values could not be read.
    """

    unknown: list[dict[str, Any]] = field(default_factory=list)
    unfinished: list[dict[str, Any]] = field(default_factory=list)
    credits: list[dict[str, Any]] = field(default_factory=list)
    unreadable: int = 0


def make(states: Iterable[StateRow], xcoms: Iterable[XComRow], *, since: datetime) -> Ledger:
    """
    Make the report.

    :param since: runs that were started before, and ended before, are left out.
    """
    ledger = Ledger()
    runs: dict[str, _Known] = {}
    for row in states:
        facts = _decode(row.value)
        if not isinstance(facts, dict) or STATES[row.key] not in facts:
            ledger.unreadable += 1
            continue
        started_id = facts[STATES[row.key]]
        of = facts.get("workflow_id") or facts.get("module")
        if started_id is None or facts.get("doubt_reported"):
            ledger.unknown.append(
                {**row.place._asdict(), "of": of, "at": facts.get("at"), "task_state": row.task_state}
            )
        elif (to_unix(facts.get("at")) or 0) >= since.timestamp():
            known = runs.setdefault(str(started_id), _Known(row.place))
            known.place, known.was_started = row.place, True
            known.task_state, known.started_at, known.of = row.task_state, facts.get("at"), of
    for xcom in xcoms:
        _read_xcom(xcom, runs, ledger)
    _sum_up(runs, ledger)
    return ledger


def _read_xcom(row: XComRow, runs: dict[str, _Known], ledger: Ledger) -> None:
    value = _decode(row.value)
    if row.key in STATES.values() and isinstance(value, str):
        known = runs.setdefault(value, _Known(row.place))
        known.was_started = True
        known.started_at = known.started_at or row.at.isoformat(timespec="seconds")
        return
    if not isinstance(value, dict) or not isinstance(value.get("id"), str):
        ledger.unreadable += value is not None
        return
    known = runs.setdefault(value["id"], _Known(row.place))
    status = _status(value)
    if known.status not in TERMINAL:
        known.status = status
    known.credits = max(known.credits, fields.number(value, "totalUsage") or 0.0)
    updated = to_unix(fields.text(value, "updatedAt")) or row.at.timestamp()
    known.day = max(known.day, datetime.fromtimestamp(updated, timezone.utc).date().isoformat())


def _status(run: Mapping[str, Any]) -> str:
    status = (fields.text(run, "status") or "").strip().upper()
    return RunStatus.CANCELED.value if status == "CANCELLED" else status


def _decode(value: Any) -> Any:
    """Return a value from its JSON, which SQLite and some versions of Airflow keep as a text."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _sum_up(runs: Mapping[str, _Known], ledger: Ledger) -> None:
    sums: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0])
    for run_id, known in runs.items():
        if known.was_started and known.status not in TERMINAL:
            ledger.unfinished.append(
                {
                    "id": run_id,
                    "of": known.of,
                    **known.place._asdict(),
                    "started_at": known.started_at,
                    "last_seen": known.status,
                    "task_state": known.task_state,
                }
            )
        if known.day:
            total = sums[known.day, known.place.dag_id]
            total[0] += known.credits
            total[1] += 1
    ledger.credits = [
        {"day": day, "dag_id": dag_id, "credits": credits, "runs": int(count)}
        for (day, dag_id), (credits, count) in sorted(sums.items(), reverse=True)
    ]


# --- words ------------------------------------------------------------------------------------------------


def text(ledger: Ledger) -> str:
    """Return the report as text."""
    return "\n\n".join(
        [
            table("Triggers whose outcome is unknown", ledger.unknown, "none"),
            table("Runs started and not seen to end", ledger.unfinished, "none"),
            table("Credits by day and DAG", ledger.credits, "none seen"),
        ]
    )


def table(title: str, rows: list[dict[str, Any]], nothing: str) -> str:
    """Return rows as text: a line for each, below the names of the columns."""
    if not rows:
        return f"{title}: {nothing}"
    lines = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    return "\n".join([f"{title}: {len(rows)}", *(f"  {line}" for line in shown)])


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.12g}" if isinstance(value, float) else printable(str(value))
