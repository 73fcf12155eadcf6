"""Who gets what of a run's page: Airflow's own check decides, for each route and before anything is read."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

import pytest
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from dags.running import DagRun, run_tasks
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from servers import RUN_ID, Peer, RawServer, Request, run

from airflow_provider_wr.plugin import WhiteRabbitPlugin
from airflow_provider_wr.plugin.app import make_app

from .conftest import page_of

LogIn = Callable[[str], TestClient]

ROUTES = ["", "run", "stages/0", "page.css", "page.js"]

OTHER_RUN_ID = "9e4c7b1a-2222-4222-8333-944455556666"


def script(request: Request, peer: Peer) -> None:
    peer.answer(200, {**run("COMPLETED"), "id": request.target.rpartition("/")[2], "runStages": [STAGE]})


STAGE = {"id": "s", "module": "M", "status": "COMPLETED", "output": "of this task alone"}


@pytest.fixture(scope="module")
def done(airflow_db: None) -> DagRun:
    """A DAG run with a task that has waited, and two mapped ones, each with a run of its own."""
    from hooks.both import connection

    with RawServer(script) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_WR_DEFAULT", connection(server.url))
        return run_tasks(
            f"""
            WRGetRunOperator(task_id="wait", run_id=RUN_ID)
            WRGetRunOperator.partial(task_id="mapped").expand(run_id=[RUN_ID, {OTHER_RUN_ID!r}])
            """
        )


@pytest.mark.parametrize("path", ROUTES)
def test_a_viewer_of_the_dag_sees_the_page(log_in: LogIn, done: DagRun, path: str) -> None:
    answer = log_in(done.dag_id).get(page_of(done) + path)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("path", ROUTES)
def test_a_viewer_of_another_dag_is_refused(log_in: LogIn, done: DagRun, path: str) -> None:
    answer = log_in("another").get(page_of(done) + path)
    assert answer.status_code == 403
    assert RUN_ID not in answer.text


def test_a_role_that_may_not_read_plugins_sees_the_page_at_its_own_address(
    log_in: LogIn, done: DagRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.api_fastapi.app import get_auth_manager

    browser = log_in(done.dag_id)
    monkeypatch.setattr(get_auth_manager(), "is_authorized_view", lambda **asked: False)
    assert browser.get("/api/v2/plugins").status_code == 403  # so Airflow does not know the page inside the task's
    assert browser.get(page_of(done) + "run").status_code == 200


@pytest.mark.parametrize("path", ROUTES)
def test_an_anonymous_user_is_refused(client: TestClient, done: DagRun, path: str) -> None:
    answer = client.get(page_of(done) + path)
    assert answer.status_code == 401
    assert RUN_ID not in answer.text


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("way", ["cookie", "header"])
@pytest.mark.parametrize("token", ["nonsense", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiIsInJvbGUiOiJhZG1pbiJ9."])
def test_a_bad_token_is_refused(client: TestClient, done: DagRun, path: str, way: str, token: str) -> None:
    if way == "cookie":
        client.cookies.set("_token", token)
    headers = {"Authorization": f"Bearer {token}"} if way == "header" else {}
    answer = client.get(page_of(done) + path, headers=headers)
    assert answer.status_code in (401, 403)
    assert RUN_ID not in answer.text


def test_a_token_of_the_api_is_as_good_as_the_browsers(client: TestClient, done: DagRun) -> None:
    from airflow.api_fastapi.app import get_auth_manager

    from .users import viewer_of

    token = get_auth_manager().generate_jwt(viewer_of(done.dag_id))
    answer = client.get(f"{page_of(done)}run", headers={"Authorization": f"Bearer {token}"})
    assert answer.json()["run"]["id"] == RUN_ID


# --- only the run of this task instance -------------------------------------------------------------------


def test_each_mapped_task_shows_its_own_run(log_in: LogIn, done: DagRun) -> None:
    client = log_in(done.dag_id)
    ids = [client.get(f"{page_of(done, 'mapped', index)}run").json()["run"]["id"] for index in (0, 1)]
    assert ids == [RUN_ID, OTHER_RUN_ID]


@pytest.mark.parametrize(
    ("task_id", "map_index"),
    [
        ("mapped", 2),
        ("mapped", -1),
        ("mapped", "{MAP_INDEX}"),
        ("wait", 0),
        ("nothing", -1),
        ("wait", "x"),
        ("wait", "²"),
    ],
)
def test_where_there_is_no_such_task_there_is_no_page(
    log_in: LogIn, done: DagRun, task_id: str, map_index: int | str
) -> None:
    assert log_in(done.dag_id).get(f"{page_of(done, task_id, map_index)}run").status_code == 404


def test_airflow_leaves_its_placeholder_in_the_url_of_a_task_that_is_not_mapped(
    log_in: LogIn, done: DagRun
) -> None:
    answer = log_in(done.dag_id).get(f"{page_of(done, 'wait', '{MAP_INDEX}')}run")
    assert answer.json()["run"]["id"] == RUN_ID


@pytest.mark.parametrize("name", ["run_id", "id", "wr_conn_id", "dag_id", "map_index"])
def test_no_parameter_chooses_another_run(log_in: LogIn, done: DagRun, name: str) -> None:
    answer = log_in(done.dag_id).get(f"{page_of(done)}run", params={name: OTHER_RUN_ID})
    assert answer.json()["run"]["id"] == RUN_ID


def test_all_dags_at_once_are_no_dag(log_in: LogIn, done: DagRun) -> None:
    """Airflow's check takes ``~`` for all DAGs."""
    path = page_of(done).replace(done.dag_id, "~")
    assert log_in(done.dag_id).get(f"{path}run").status_code in (403, 404)


# --- the kind: no route without the check -----------------------------------------------------------------


def test_every_route_has_the_dag_in_its_path_and_asks_airflow_first() -> None:
    routes = make_app().routes
    assert len(routes) == len(ROUTES)
    for route in routes:
        assert isinstance(route, APIRoute)
        assert (route.path[: len("/dags/{dag_id}/")], route.methods) == ("/dags/{dag_id}/", {"GET"})
        first = route.dependant.dependencies[0].call
        assert first is not None
        assert (first.__module__, first.__qualname__) == (
            "airflow.api_fastapi.core_api.security",
            "requires_access_dag.<locals>.inner",
        )
        asked = inspect.getclosurevars(first).nonlocals
        assert (asked["method"], asked["access_entity"]) == ("GET", DagAccessEntity.XCOM)
        assert asked["param_dag_id"] is None  # so that the path counts


def test_without_airflows_check_there_is_no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("airflow.api_fastapi.core_api.security", "airflow_provider_wr.plugin.app"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "airflow.api_fastapi.core_api.security", None)  # type: ignore[arg-type]
    plugin = WhiteRabbitPlugin()
    assert (plugin.fastapi_apps, plugin.external_views) == ([], [])


HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


@pytest.mark.parametrize("path", ["", "run", "stages/0", "stages/7", "nowhere"])
@pytest.mark.parametrize("dag_id", [None, "another"])
def test_every_answer_limits_what_a_browser_may_do(
    log_in: LogIn, done: DagRun, path: str, dag_id: str | None
) -> None:
    headers: Any = log_in(dag_id or done.dag_id).get(page_of(done) + path).headers
    assert {name: headers[name] for name in HEADERS} == HEADERS
    policy = dict(each.strip().split(" ", 1) for each in headers["content-security-policy"].split(";"))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'self'",
    }


def test_the_page_names_nothing_of_another_host_and_has_no_script_of_its_own(log_in: LogIn, done: DagRun) -> None:
    client = log_in(done.dag_id)
    page = client.get(page_of(done)).text
    assert page.count("<script") == 1
    assert '<script src="page.js?' in page
    assert " style=" not in page
    assert " on" not in page.partition("<body>")[2].replace(" on ", "")
    for path in ("", "page.js", "page.css"):
        text = client.get(page_of(done) + path).text
        assert "//" not in text.replace("// ", "")
    script = client.get(f"{page_of(done)}page.js").text
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("):
        assert way not in script
