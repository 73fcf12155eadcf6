"""Airflow's own API app, with the plugin in it, and tasks that have run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_1_PLUS
from dags.running import DagRun
from hooks.conftest import Connect, _no_long_pauses, connect, serve  # noqa: F401

if TYPE_CHECKING:
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

collect_ignore = [] if AIRFLOW_V_3_1_PLUS else ["test_access.py", "test_run_page.py", "users.py"]


@pytest.fixture(scope="session")
def api(airflow_db: None) -> Iterator[FastAPI]:
    """Airflow's API server, as an app: its routes, its plugins, and an auth manager with users of one DAG."""
    from airflow.api_fastapi.app import create_app, purge_cached_app

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__CORE__AUTH_MANAGER", "plugin.users.OneDagAuthManager")
        patch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "for the tokens of these tests " * 3)
        yield create_app()
        purge_cached_app()


@pytest.fixture
def client(api: FastAPI) -> Iterator[TestClient]:
    """An anonymous browser."""
    from fastapi.testclient import TestClient

    with TestClient(api) as client:
        yield client


@pytest.fixture
def log_in(client: TestClient) -> Callable[[str], TestClient]:
    """A function that makes the browser that of a user who may see one DAG."""
    from airflow.api_fastapi.app import get_auth_manager

    from .users import viewer_of

    def log_in(dag_id: str) -> TestClient:
        client.cookies.set("_token", get_auth_manager().generate_jwt(viewer_of(dag_id)))
        return client

    return log_in


def page_of(done: DagRun, task_id: str = "wait", map_index: int | str = -1) -> str:
    """Return the path of a task's page."""
    return f"/wr/dags/{done.dag_id}/runs/{quote(done.run_id, safe='')}/tasks/{task_id}/{map_index}/"


def change_task(done: DagRun, state: str, *, task_id: str = "wait", without: tuple[str, ...] = ()) -> None:
    """Put a task that has run into another state, without some of its XComs: as if it still waited."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import delete, update

    def of_task(query: Any, model: Any) -> Any:
        return query.where(
            model.dag_id == done.dag_id, model.run_id == done.run_id, model.task_id == task_id
        ).execution_options(synchronize_session=False)

    with create_session() as session:
        session.execute(of_task(update(TaskInstance), TaskInstance).values(state=state))
        for key in without:
            session.execute(of_task(delete(XComModel), XComModel).where(XComModel.key == key))
