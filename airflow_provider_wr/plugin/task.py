"""What Airflow's database knows of a task and its run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NamedTuple

from airflow.configuration import conf
from airflow.models.dag import DagModel
from airflow.models.renderedtifields import RenderedTaskInstanceFields
from airflow.models.taskinstance import TaskInstance
from airflow.models.trigger import Trigger
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import select

from airflow_provider_wr.links.page import XCOM_KEY

#: XComs that may hold the whole run once a task has ended.
STORED = ("run", "execution", "return_value")

ENDED = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})


class Place(NamedTuple):
    """Which task instance; the map index is -1 for a task that is not mapped."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int


@dataclass(frozen=True, slots=True)
class Task:
    """
    A task instance as it is now.

    :param state: Airflow's; None before it is scheduled.
    :param team: the team whose connections it uses; None if Airflow has no teams.
    :param conn_id: its connection, from its rendered arguments or its trigger's, which no user can write; None if
        it has neither.
    :param watched: what it keeps for the page; empty until it knows its run.
    :param stored: the run from its XCom; None if it has none.
    :param stored_at: when it was stored, in Unix seconds; 0 if it has none.
    :param is_stored_elsewhere: whether an XCom backend keeps an XCom where this page cannot read it.
    """

    state: str | None
    try_number: int
    team: str | None
    conn_id: str | None
    watched: dict[str, Any]
    stored: dict[str, Any] | None
    stored_at: float
    is_stored_elsewhere: bool

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED

    @property
    def watched_id(self) -> str | None:
        """The id of the run or the execution; None until the task knows it."""
        return _watched_id(self.watched)

    @property
    def is_execution(self) -> bool:
        """Whether it is an execution of a component instead of a run."""
        return "execution_id" in self.watched

    @property
    def shows_outputs(self) -> bool:
        """Whether the task keeps outputs in XComs, so that readers of XComs may see them."""
        return self.watched.get("outputs") is True


def read_task(place: Place) -> Task | None:
    """Read a task instance; return None if there is none."""
    with create_session() as session:
        columns = (TaskInstance.state, TaskInstance.try_number, TaskInstance.trigger_id)
        found = session.execute(_where(select(*columns), TaskInstance, place)).one_or_none()
        if found is None:
            return None
        xcoms = session.execute(_where(select(XComModel.key, XComModel.timestamp), XComModel, place))
        keys = {key: timestamp for key, timestamp in xcoms}  # noqa: C416 - dict() takes the result for a mapping

        def xcom(key: str) -> Any:
            query = _where(select(XComModel.value), XComModel, place).where(XComModel.key == key)
            return _plain(session.scalar(query)) if key in keys else None

        watched = xcom(XCOM_KEY)
        stored, stored_at, elsewhere = None, 0.0, watched is not None and not isinstance(watched, dict)
        watched = watched if isinstance(watched, dict) else {}
        wanted = _watched_id(watched)
        for key in STORED if wanted else ():
            value = xcom(key)
            if isinstance(value, dict) and str(value.get("id")) == wanted:
                stored, stored_at = value, keys[key].timestamp()
                break
            elsewhere = elsewhere or (isinstance(value, str) and value != wanted)
        return Task(
            state=found.state,
            try_number=found.try_number,
            team=_team(place.dag_id),
            conn_id=_conn_id(session, place, found.trigger_id),
            watched=watched,
            stored=stored,
            stored_at=stored_at,
            is_stored_elsewhere=elsewhere and stored is None,
        )


def _watched_id(watched: dict[str, Any]) -> str | None:
    found = watched.get("run_id") or watched.get("execution_id")
    return found if isinstance(found, str) and found else None


def _where(query: Any, model: Any, place: Place) -> Any:
    return query.where(*(getattr(model, name) == value for name, value in place._asdict().items()))


def _plain(value: Any) -> Any:
    """Return the JSON of an XCom, which Airflow stores as JSON or as text, without building objects from it."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _conn_id(session: Any, place: Place, trigger_id: int | None) -> str | None:
    query = _where(select(RenderedTaskInstanceFields.rendered_fields), RenderedTaskInstanceFields, place)
    arguments: Any = session.scalar(query)
    if not arguments and trigger_id is not None:
        # A task that starts in the triggerer has no rendered arguments.
        trigger = session.get(Trigger, trigger_id)
        arguments = trigger and trigger.kwargs
    conn_id = (arguments or {}).get("wr_conn_id")
    return conn_id if isinstance(conn_id, str) and "{{" not in conn_id else None


def _team(dag_id: str) -> str | None:
    if not conf.getboolean("core", "multi_team", fallback=False):
        return None
    team: str | None = DagModel.get_team_name(dag_id)
    return team
