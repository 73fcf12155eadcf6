"""A small client for the REST API of Airflow 3."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import requests

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Json: TypeAlias = dict[str, Any]
T = TypeVar("T")


class AirflowApi:
    """Talks to the Airflow at ``url``.

    Every method raises ``requests.HTTPError`` if Airflow answers with an error.

    :param user: the admin's name and password; None where Airflow treats everyone as an admin
    """

    def __init__(self, url: str, *, user: tuple[str, str] | None = None) -> None:
        self.url = url
        self._user = user
        self._session = requests.Session()
        self._session.trust_env = False  # do not use a proxy for this machine

    def close(self) -> None:
        """Close the connections, which Airflow's server would wait for when it stops."""
        self._session.close()

    def health(self) -> dict[str, str]:
        """Return the health of each component: ``healthy`` or not."""
        return {name: part["status"] for name, part in self._get("/monitor/health").items()}

    def triggerers(self) -> set[int]:
        """Return the ids of the triggerers with a recent heartbeat."""
        return {job["id"] for job in self._get("/jobs", job_type="TriggererJob", is_alive=True)["jobs"]}

    def dags(self) -> list[Json]:
        """Return the DAGs that have been parsed (100 at most)."""
        return list(self._get("/dags", limit=100, exclude_stale=False)["dags"])

    def make_pool(self, name: str, slots: int, *, include_deferred: bool) -> None:
        """Create a pool."""
        body = {"name": name, "slots": slots, "include_deferred": include_deferred}
        self._call("POST", "/pools", json=body)

    def connection(self, conn_id: str) -> Json:
        """Return a connection of Airflow's database, its secrets masked."""
        return self._get(f"/connections/{conn_id}")

    def import_errors(self) -> list[Json]:
        """Return the import errors of DAG files: ``filename`` and ``stack_trace`` of each."""
        return list(self._get("/importErrors")["import_errors"])

    def trigger(self, dag_id: str, conf: Json | None = None, run_id: str | None = None) -> str:
        """Start a run of the DAG with these params and return its run id, which Airflow chooses by default."""
        body = {"conf": conf or {}, "logical_date": None, "dag_run_id": run_id}
        return str(self._call("POST", f"/dags/{dag_id}/dagRuns", json=body).json()["dag_run_id"])

    def dag_run(self, dag_id: str, run_id: str) -> Json:
        """Return a DAG run, with its ``state``."""
        return self._get(f"/dags/{dag_id}/dagRuns/{run_id}")

    def dag_runs(self, dag_id: str) -> list[Json]:
        """Return the runs of a DAG (100 at most)."""
        return list(self._get(f"/dags/{dag_id}/dagRuns", limit=100)["dag_runs"])

    def asset_events(self, dag_id: str, run_id: str) -> list[Json]:
        """Return the updates of assets that a DAG run made (100 at most)."""
        found = self._get("/assets/events", source_dag_id=dag_id, source_run_id=run_id, limit=100)
        return list(found["asset_events"])

    def task_instances(self, dag_id: str, run_id: str) -> list[Json]:
        """Return the task instances of a DAG run, one per mapped instance (100 at most)."""
        return list(self._get(_tasks(dag_id, run_id), limit=100)["task_instances"])

    def task_instance(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> Json:
        """Return one task instance; ``map_index`` is -1 for a task that is not mapped."""
        mapped = "" if map_index < 0 else f"/{map_index}"
        return self._get(f"{_tasks(dag_id, run_id)}/{task_id}{mapped}")

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        """Return the value of an XCom."""
        path = f"{_tasks(dag_id, run_id)}/{task_id}/xcomEntries/{key}"
        return self._get(path, map_index=map_index)["value"]

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1) -> str:
        """Return what one try logged, in its worker and in the triggerer, a line per message."""
        return "\n".join(map(_line, self.messages(dag_id, run_id, task_id, try_number, map_index)))

    def messages(
        self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1
    ) -> list[Json | str]:
        """Return the same as ``log``, with all fields of each message."""
        path = f"{_tasks(dag_id, run_id)}/{task_id}/logs/{try_number}"
        return list(self._get(path, map_index=map_index, full_content=True)["content"])

    def links(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> dict[str, str | None]:
        """Return the task's extra links: name to URL, or None."""
        path = f"{_tasks(dag_id, run_id)}/{task_id}/links"
        return dict(self._get(path, map_index=map_index)["extra_links"])

    def clear(self, dag_id: str, run_id: str, task_ids: Sequence[str]) -> None:
        """Clear these tasks of a DAG run, whatever their state, so that Airflow runs them again."""
        body = {"dag_run_id": run_id, "task_ids": list(task_ids), "only_failed": False, "dry_run": False}
        self._call("POST", f"/dags/{dag_id}/clearTaskInstances", json=body)

    def question(self, dag_id: str, run_id: str, task_id: str) -> Json:
        """Return what a Human-in-the-loop task asks, such as its ``body``, and its answer."""
        return self._get(f"{_tasks(dag_id, run_id)}/{task_id}/-1/hitlDetails")

    def answer(self, dag_id: str, run_id: str, task_id: str, option: str) -> None:
        """Answer a Human-in-the-loop task with one of its options, as a user does."""
        path = f"{_tasks(dag_id, run_id)}/{task_id}/-1/hitlDetails"
        self._call("PATCH", path, json={"chosen_options": [option], "params_input": {}})

    def wait_for(self, predicate: Callable[[], T], timeout: float, what: str, interval: float = 0.25) -> T:
        """Call ``predicate`` every ``interval`` seconds until its result is true, and return it.

        :param timeout: seconds, after which TimeoutError is raised
        :param what: the awaited condition, for the error message
        """
        deadline = time.monotonic() + timeout
        while not (result := predicate()):
            if time.monotonic() >= deadline:
                raise TimeoutError(f"waited {timeout:.0f} s for {what}")
            time.sleep(interval)
        return result

    def wait_for_dag_run(self, dag_id: str, run_id: str, timeout: float) -> str:
        """Wait for the end of a DAG run, for ``timeout`` seconds at most, and return its state."""

        def ended() -> str | None:
            state = str(self.dag_run(dag_id, run_id)["state"])
            return state if state in ("success", "failed") else None

        return str(self.wait_for(ended, timeout, f"the end of run {run_id} of {dag_id}"))

    def token(self, user: tuple[str, str] | None = None) -> str:
        """Return a token for a user's name and password; None for that of an Airflow without users."""
        url = f"{self.url}/auth/token"
        if user is None:
            response = self._session.get(url, timeout=30)
        else:
            response = self._session.post(
                url, json=dict(zip(("username", "password"), user, strict=True)), timeout=30
            )
        response.raise_for_status()
        return str(response.json()["access_token"])

    def make_connection(self, conn_id: str, **fields: Any) -> None:
        """Make a connection, which Airflow's database keeps; an extra is a dict."""
        if "extra" in fields:
            fields["extra"] = json.dumps(fields["extra"])
        self._call("POST", "/connections", json={"connection_id": conn_id, **fields})

    def _get(self, path: str, **params: Any) -> Json:
        return dict(self._call("GET", path, params=params).json())

    def _call(self, method: str, path: str, **request: Any) -> requests.Response:
        if "Authorization" not in self._session.headers:
            self._session.headers["Authorization"] = f"Bearer {self.token(self._user)}"
        response = self._session.request(method, f"{self.url}/api/v2{path}", timeout=30, **request)
        if not response.ok:
            message = f"{method} {path} answered {response.status_code}: {response.text}"
            raise requests.HTTPError(message, response=response)
        return response


def _tasks(dag_id: str, run_id: str) -> str:
    return f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances"


def _line(message: Json | str) -> str:
    """Return one message of a log as text, with the exception that came with it."""
    if isinstance(message, str):
        return message
    errors = [f"{error['exc_type']}: {error['exc_value']}" for error in message.get("error_detail") or ()]
    return "\n".join([str(message["event"]), *errors])
