"""One DAG run: actions of a test, a user or a disaster, and its results."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import requests

from dev.airflow_api import AirflowApi, Json
from dev.local_airflow import LocalAirflow

PATIENCE = 240.0
"""Seconds after which what a test waits for is taken to never come."""


class SharedApi(AirflowApi):
    """The REST API for many threads, one request at a time: dozens would overload Airflow on a small machine."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._turn = threading.Lock()

    def _call(self, method: str, path: str, **request: Any) -> requests.Response:
        with self._turn:
            return super()._call(method, path, **request)


@cache
def shared_api(url: str) -> SharedApi:
    """Return the shared client of this Airflow."""
    return SharedApi(url)


class DagRun:
    """A DAG run: the one with this id, or a new one. May be used from another thread."""

    def __init__(self, airflow: LocalAirflow, dag_id: str, *, run_id: str | None = None, **params: object) -> None:
        self.airflow = airflow
        self.dag_id = dag_id
        self._api = shared_api(airflow.url)
        self.run_id = run_id or self._api.trigger(dag_id, params)

    def wait_until(self, what: str, condition: Callable[[], bool], every: float = 0.2) -> None:
        """Wait until the condition is true; ``what`` goes into the TimeoutError."""
        self._api.wait_for(condition, PATIENCE, f"{self.dag_id} {self.run_id}: {what}", every)

    def end(self) -> str:
        """Wait for the end of the DAG run and return its state."""
        self.wait_until("the end", lambda: self.state() in ("success", "failed"), every=1)
        return self.state()

    def state(self) -> str:
        """Return the state of the DAG run."""
        return str(self._api.dag_run(self.dag_id, self.run_id)["state"])

    def tasks(self) -> list[Json]:
        """Return all task instances."""
        return self._api.task_instances(self.dag_id, self.run_id)

    def wait_for_state(self, state: str, *, tries: int = 1, count: int = 1) -> None:
        """Wait until ``count`` task instances are in this state in the try of this number."""

        def reached() -> bool:
            return [(task["state"], task["try_number"]) for task in self.tasks()].count((state, tries)) >= count

        self.wait_until(f"{count} tasks {state} in try {tries}", reached, every=0.5)

    def clear(self, task_id: str = "pay") -> None:
        """Clear a task, as a user does."""
        self._api.clear(self.dag_id, self.run_id, [task_id])

    def kill_worker(self, map_index: int = -1, task_id: str = "pay") -> None:
        """Kill the worker that runs this task, and the task's process, before either can report it."""
        pid = self._api.task_instance(self.dag_id, self.run_id, task_id, map_index)["pid"]
        (victim,) = (process for process in self.airflow.task_processes() if process.task == pid)
        for process in (victim.worker, victim.task):
            psutil.Process(process).kill()

    def xcom(self, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        """Return an XCom; None without one."""
        with suppress(requests.HTTPError):
            return self._api.xcom(self.dag_id, self.run_id, task_id, key, map_index)

    def log(self, task_id: str, tries: int, map_index: int = -1) -> str:
        """Return what this try logged so far."""
        with suppress(requests.HTTPError):
            return self._api.log(self.dag_id, self.run_id, task_id, tries, map_index)
        return ""

    def messages(self, task_id: str, tries: int) -> list[Json]:
        """Return all messages that this try logged, in workers and in the triggerer."""
        messages = self._api.messages(self.dag_id, self.run_id, task_id, tries)
        return [message for message in messages if isinstance(message, dict)]

    def log_files(self, task_id: str, tries: int, part: str = "*", map_index: int = -1) -> str:
        """
        Return the current content of a log's files, without a request to Airflow.

        :param part: the end of their names: "" for those of workers, ".trigger*" for those of triggers.
        """
        folder = self._logs(task_id) / ("" if map_index < 0 else f"map_index={map_index}")
        files = folder.glob(f"attempt={tries}.log{part}")
        return "".join(file.read_text() for file in files)

    def links(self, task_id: str, map_index: int = -1) -> list[str | None]:
        """Return the URLs of a task's extra links."""
        return list(self._api.links(self.dag_id, self.run_id, task_id, map_index).values())

    def workers(self, task_id: str) -> int:
        """Return how many worker processes the last try of a task has used."""
        logs = sorted(self._logs(task_id).glob("attempt=?.log"))
        return logs[-1].read_text().count('"event":"DAG bundles loaded') if logs else 0

    def is_handed_over(self, task_id: str, tries: int, state: str = "deferred") -> bool:
        """
        Return whether the scheduler has noticed that a worker has left this try in this state and ended.

        If the task resumes before that, Airflow assumes that its worker died, and fails it (seen on 3.3.2).
        """
        said = (self.airflow.home / "logs" / "scheduler.log").read_text()
        this = f"dag_id={self.dag_id}, task_id={task_id}, run_id={re.escape(self.run_id)},"
        return bool(re.search(rf"TaskInstance Finished: {this}.* state={state},.* try_number={tries},", said))

    def triggerers(self, task_id: str) -> dict[int, str]:
        """Return the triggerers that ran its trigger: ids, and start times in ISO 8601, UTC."""
        return {
            int(log.name.split(".")[-2]): str(json.loads(log.read_text().splitlines()[0])["timestamp"])
            for log in self._logs(task_id).glob("attempt=?.log.trigger.*.log")
        }

    def trigger_events(self, task_id: str) -> int:
        """Return how many events its trigger has fired, in all triggerers."""
        logs = [
            *self._logs(task_id).glob("attempt=?.log.trigger.*.log"),
            # A triggerer may log this late, and then in its own log.
            *(self.airflow.home / "logs").glob("triggerer*.log"),
        ]
        name = f"{self.dag_id}/{self.run_id}/{task_id}/"
        lines = [line for log in logs for line in log.read_text().splitlines()]
        return sum("Trigger fired event" in line and name in line for line in lines)

    def deferred_without_process(self) -> set[str]:
        """Return the tasks that are deferred now, and whose worker has ended."""
        pids = {process.task for process in self.airflow.task_processes()}
        return {
            task["task_id"] for task in self.tasks() if task["state"] == "deferred" and task["pid"] not in pids
        }

    def _logs(self, task_id: str) -> Path:
        dag_run = self.airflow.home / "logs" / f"dag_id={self.dag_id}" / f"run_id={self.run_id}"
        return dag_run / f"task_id={task_id}"
