"""Run a real Airflow 3, for the demo and for tests."""

from __future__ import annotations

import base64
import os
import re
import secrets
import signal
import socket
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import psutil  # type: ignore[import-untyped]
import requests

from dev.airflow_api import AirflowApi
from dev.processes import Processes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

T = TypeVar("T")

#: Airflow's command, in the current Python environment.
COMMAND = (sys.executable, "-m", "airflow")

COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")

# The logs are on our own disk. The servers that would offer them to other machines listen on ports and
# addresses that two Airflows on one machine would fight over.
OPTIONS = {"scheduler": ["--skip-serve-logs"], "triggerer": ["--skip-serve-logs"]}


@dataclass(frozen=True)
class TaskProcess:
    """A running task: the worker that supervises it and the process that executes it."""

    worker: int
    task: int


class LocalAirflow(AirflowApi):
    """A context manager for an isolated Airflow with its own folder, database, ports and secrets.

    On exit, and when its owner dies in any way, every process that belongs to it ends. After an error
    the last lines of every log are printed and the folder is left for reading; removing it is up to the
    caller in any case.

    Each component is a process with these descendants (Airflow 3.3.2 with the LocalExecutor)::

        api-server
        scheduler
        ├── worker            as many as [core] parallelism says, from the start on
        │   └── task          only while the worker has a task; leads a process group of its own
        └── worker            a worker without a child is idle
        dag-processor
        └── parser            only while a file is parsed
        triggerer
        └── runner            the event loop of all triggers

    A task that is deferred has no process: neither worker nor task.

    :param home: ``AIRFLOW_HOME``; made if it is not there
    :param dags: folder with the DAG files, each of which must yield a DAG; other modules may lie beside them
    :param env: environment that goes before ours, such as ``AIRFLOW__DATABASE__SQL_ALCHEMY_CONN``
    :param command: Airflow's own command, when it is that of another Python
    :param user: the admin's name and password, where ``env`` gives Airflow users
    """

    def __init__(
        self,
        home: Path,
        dags: Path,
        *,
        env: Mapping[str, str] | None = None,
        components: Sequence[str] = COMPONENTS,
        command: Sequence[str] = COMMAND,
        user: tuple[str, str] | None = None,
    ) -> None:
        port = free_port()
        super().__init__(f"http://127.0.0.1:{port}", user=user)
        self.home = home.resolve()
        self.dags_folder = dags.resolve()
        self.env = {**environment(self.home, self.dags_folder, port), **(env or {})}
        self._components = components
        self._command = command
        self._processes = Processes(self.home / "logs")

    def __enter__(self) -> LocalAirflow:
        self._processes.__enter__()
        try:
            self._processes.run("db-migrate", [*self._command, "db", "migrate"], self.env, timeout=120)
            for component in self._components:
                self.start(component)
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, Exception):
            for name in self._processes.names():
                print(f"----- {name} -----\n{self._processes.last_lines(name)}", file=sys.stderr)
            print(f"----- all of Airflow's files: {self.home}", file=sys.stderr)
        self.close()
        self._processes.__exit__(kind, error, traceback)

    def start(self, component: str, name: str | None = None, *options: str) -> None:
        """Start a component; ``name`` distinguishes several of the same kind."""
        command = [*self._command, component, *OPTIONS.get(component, ()), *options]
        self._processes.start(name or component, command, self.env)

    def kill(self, name: str, sig: signal.Signals = signal.SIGKILL) -> None:
        """Send ``sig`` to all processes of a component at once, and return when they are gone."""
        self._processes.kill(name, sig)

    def freeze(self, name: str) -> None:
        """Pause all processes of a component, until ``thaw``."""
        self._processes.send(name, signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """Resume the processes of a component."""
        self._processes.send(name, signal.SIGCONT)

    def task_processes(self) -> list[TaskProcess]:
        """Return the processes of the tasks that are running now.

        ``task_instance(…)["pid"]`` is the ``task`` of its entry here.
        """
        return [
            TaskProcess(worker=worker.pid, task=task.pid)
            for worker in children(self._processes.main("scheduler"))
            for task in children(worker)
        ]

    def wait_ready(self, timeout: float = 120.0) -> None:
        """Wait until all components are healthy and all DAG files are parsed.

        :param timeout: seconds, after which TimeoutError is raised
        :raise RuntimeError: when a component ended or a DAG file cannot be imported
        """
        self.wait_for(self._is_healthy, timeout, "Airflow to be healthy")
        self.wait_for(self._is_parsed, timeout, "the DAGs to be parsed")

    def wait_for(self, predicate: Callable[[], T], timeout: float, what: str, interval: float = 0.25) -> T:
        """Like ``AirflowApi.wait_for``, but fail as soon as a component has ended."""

        def checked() -> T:
            self._processes.check()
            return predicate()

        return super().wait_for(checked, timeout, what, interval)

    def _is_healthy(self) -> bool:
        watched = {"metadatabase", *(name.replace("-", "_") for name in self._components)} - {"api_server"}
        try:
            health = self.health()
        except requests.ConnectionError:
            return False
        return all(health[name] == "healthy" for name in watched)

    def _is_parsed(self) -> bool:
        for error in self.import_errors():
            raise RuntimeError(f"{error['filename']} cannot be imported:\n{error['stack_trace']}")
        return dag_files(self.dags_folder) <= {dag["relative_fileloc"] for dag in self.dags()}


def dag_files(folder: Path) -> set[str]:
    """Return the DAG files, relative to the folder; Airflow knows them by these two words in their text."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*.py")
        if {"airflow", "dag"} <= set(re.findall("airflow|dag", path.read_text().lower()))
    }


def children(process: psutil.Process) -> list[psutil.Process]:
    """Return the child processes; none if the process has ended."""
    try:
        return list(process.children())
    except psutil.NoSuchProcess:
        return []


def free_port() -> int:
    """Return a free TCP port of the loopback interface."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def environment(home: Path, dags: Path, port: int) -> dict[str, str]:
    """Return the environment of the components: ours, without variables for another Airflow."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    inherited.pop("PYTHONDONTWRITEBYTECODE", None)  # recompiling all of Airflow doubles the startup time
    loopback = f"127.0.0.1,localhost,{os.environ.get('NO_PROXY') or os.environ.get('no_proxy') or ''}"
    settings = {
        "API__HOST": "127.0.0.1",
        "API__PORT": port,
        "API__BASE_URL": f"http://127.0.0.1:{port}",
        "API__SECRET_KEY": secrets.token_hex(32),
        "API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": False,
        "CORE__DAGS_FOLDER": dags,
        "CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "CORE__HOSTNAME_CALLABLE": "socket.gethostname",  # the default needs a name server
        "CORE__LOAD_EXAMPLES": False,
        "CORE__PARALLELISM": 8,
        "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": True,
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "LOGGING__COLORED_CONSOLE_LOG": False,
        # Our polling would fill the log of the API server, and so would its tries at the servers we left out.
        "LOGGING__NAMESPACE_LEVELS": "http.access=WARNING airflow.utils.log.file_task_handler=CRITICAL",
        "LOGGING__TRIGGER_LOG_SERVER_PORT": 1,  # no server, see OPTIONS; the default ports may be another's
        "LOGGING__WORKER_LOG_SERVER_PORT": 1,
        "SCHEDULER__JOB_HEARTBEAT_SEC": 1,
        "SCHEDULER__SCHEDULER_HEARTBEAT_SEC": 1,
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": 0.3,
        "TRIGGERER__JOB_HEARTBEAT_SEC": 1,
        "WORKERS__MIN_HEARTBEAT_INTERVAL": 1,  # a worker may notice the end of its task only then
    }
    return {
        **inherited,
        **{f"AIRFLOW__{name}": str(value) for name, value in settings.items()},
        "AIRFLOW_HOME": str(home),
        "NO_PROXY": loopback,
        "no_proxy": loopback,
    }
