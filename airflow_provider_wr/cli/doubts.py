"""``airflow wr doubts``: reads Airflow's database, and prints the report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow.configuration import conf
from airflow.models.task_state_store import TaskStateStoreModel
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.cli import action_cli
from airflow.utils.session import create_session
from sqlalchemy import and_, or_, select

from airflow_provider_wr.cli import ledger
from airflow_provider_wr.cli.ledger import STATES, XCOMS, Place, StateRow, XComRow

#: Rows that are in memory at once: an XCom may be a run of thousands of stages.
BATCH = 20


@action_cli  # type: ignore[untyped-decorator]
def doubts(args: Any) -> None:
    """Print the report."""
    since = datetime.now(timezone.utc) - timedelta(days=args.days)
    with create_session() as session:
        report = ledger.make(_states(session), _xcoms(session, since), since=since)
    blind = cannot_see(args.days, report.unreadable)
    if args.json:
        facts = asdict(report)
        del facts["unreadable"]
        print(json.dumps({**facts, "cannot_see": blind}, indent=2, default=str))
        return
    print(ledger.text(report))
    print("\nWhat this cannot see:", *(f"  {line}" for line in blind), sep="\n")


def cannot_see(days: int, unreadable: int) -> list[str]:
    """Return a note on what the report leaves out."""
    kept = conf.getint("state_store", "default_retention_days", fallback=30)
    lines = [
        f"runs and credits of more than {days} days ago: see --days",
        f"doubts and runs of more than {kept} days ago that `airflow state-store clean` has removed "
        "([state_store] default_retention_days)"
        if kept
        else "doubts and runs of DAG runs that were deleted",
        "XComs that were deleted, or cleared by a later try of their task",
        "runs of a hook in your own task, of a subclass of our operators, and of others than this Airflow",
        "what became of a run since a task last saw it: this asks White Rabbit nothing",
    ]
    if conf.getboolean("state_store", "clear_on_success", fallback=False):
        lines.append("the state of tasks that succeeded: [state_store] clear_on_success is on")
    if unreadable:
        lines.append(f"{unreadable} values that are no runs, or that a backend of your own stores elsewhere")
    return lines


def _states(session: Any) -> Iterator[StateRow]:
    model = TaskStateStoreModel
    query = (
        select(model, TaskInstance.state)
        .outerjoin(TaskInstance, _of_the_same_task(model))
        .where(model.key.in_(STATES))
        .order_by(model.updated_at)
    )
    for row, task_state in session.execute(query.execution_options(yield_per=BATCH)):
        yield StateRow(_place(row), row.key, row.value, task_state)


def _xcoms(session: Any, since: datetime) -> Iterator[XComRow]:
    model = XComModel
    query = (
        select(model.dag_id, model.run_id, model.task_id, model.map_index, model.key, model.value, model.timestamp)
        .join(TaskInstance, _of_the_same_task(model))
        .where(
            or_(*(and_(model.key == key, TaskInstance.operator.in_(of)) for key, of in XCOMS.items())),
            model.timestamp >= since,
        )
        .order_by(model.timestamp)
    )
    for row in session.execute(query.execution_options(yield_per=BATCH)):
        yield XComRow(_place(row), row.key, row.value, row.timestamp)


def _of_the_same_task(model: Any) -> Any:
    return and_(
        TaskInstance.dag_id == model.dag_id,
        TaskInstance.run_id == model.run_id,
        TaskInstance.task_id == model.task_id,
        TaskInstance.map_index == model.map_index,
    )


def _place(row: Any) -> Place:
    return Place(row.dag_id, row.run_id, row.task_id, row.map_index)
