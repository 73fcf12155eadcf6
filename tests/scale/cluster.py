"""An Airflow on Celery: two of each component that may have several, on PostgreSQL and Redis."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import psycopg
import requests
from e2e.rabbit import Rabbit

from dev.airflow_api import Json
from dev.local_airflow import LocalAirflow
from dev.postgres import Postgres
from dev.redis import Redis

T = TypeVar("T")

WORKERS = ("worker-1", "worker-2")
TRIGGERERS = ("triggerer", "triggerer-2")
SCHEDULERS = ("scheduler", "scheduler-2")

#: Tasks that a worker runs at a time.
CONCURRENCY = 6

#: Seconds until Redis delivers the message of a task again that no worker has acknowledged.
VISIBILITY_TIMEOUT = 30

#: Seconds after which a triggerer, and a scheduler, is taken for dead.
TRIGGERER_THRESHOLD = 10
SCHEDULER_THRESHOLD = 15

#: Seconds after which what a test waits for is taken to never come.
PATIENCE = 420.0

SETTINGS = {
    "CELERY__WORKER_CONCURRENCY": CONCURRENCY,
    "CELERY_BROKER_TRANSPORT_OPTIONS__UNACKED_RESTORE_INTERVAL": 5,
    "CELERY_BROKER_TRANSPORT_OPTIONS__UNACKED_RESTORE_THROTTLE": 1,
    "CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": VISIBILITY_TIMEOUT,
    "CORE__EXECUTOR": "CeleryExecutor",
    "CORE__PARALLELISM": 300,
    "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": 10,
    "SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": SCHEDULER_THRESHOLD,
    # Airflow takes minutes to notice that a worker died or a message was lost; here it has seconds.
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": 20,
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": 2,
    "SCHEDULER__TASK_QUEUED_TIMEOUT": 60,
    "SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": 5,
    # What a triggerer takes at a time of what nobody holds. By default the first to look takes nearly all.
    "TRIGGERER__MAX_TRIGGER_TO_SELECT_PER_LOOP": 4,
    "TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": TRIGGERER_THRESHOLD,
    "WORKERS__EXECUTION_API_TIMEOUT": 60,
    "WORKERS__MIN_HEARTBEAT_INTERVAL": 2,
}


class Task(NamedTuple):
    """A task instance, as it is in Airflow's database."""

    task_id: str
    map_index: int
    state: str | None
    tries: int
    ended: datetime | None
    triggerer: int | None
    """The id of the triggerer that holds its trigger."""


class Cluster(LocalAirflow):
    """
    The Airflow. A component that ends by itself is started again, as Kubernetes or systemd would.

    Its tests read its database, which costs a small machine less than to ask the API server.
    """

    def __init__(
        self, home: Path, dags: Path, postgres: Postgres, redis: Redis, connections: Mapping[str, str]
    ) -> None:
        settings = {
            **SETTINGS,
            "CELERY__BROKER_URL": redis.url,
            "CELERY__RESULT_BACKEND": f"db+{postgres.url}",
            "DATABASE__SQL_ALCHEMY_CONN": postgres.url,
            "DATABASE__SQL_ALCHEMY_CONN_ASYNC": postgres.url,
        }
        env = {f"AIRFLOW__{name}": str(value) for name, value in settings.items()}
        self._commands: dict[str, tuple[str, tuple[str, ...]]] = {}
        self._turn = threading.RLock()
        self.revived: list[tuple[datetime, str]] = []
        """The components that ended by themselves, and when they were started again."""
        super().__init__(home, dags, env={**env, **connections})
        self.postgres, self.redis = postgres, redis

    def start(self, component: str, name: str | None = None, *options: str) -> None:
        self._commands[name or component] = (component, options)
        super().start(component, name, *options)

    def start_again(self, *names: str) -> None:
        """Start components that were killed."""
        for name in names:
            component, options = self._commands[name]
            super().start(component, name, *options)

    def start_more(self) -> None:
        """Start what an Airflow on one machine does not have."""
        self.start("scheduler", "scheduler-2")
        self.start("triggerer", "triggerer-2")
        for name in WORKERS:
            self.start("celery", name, "worker", "--skip-serve-logs", "--celery-hostname", name)

    def wait_ready(self, timeout: float = 240.0) -> None:
        super().wait_ready(timeout)
        self.wait_for(lambda: len(self.alive("TriggererJob", TRIGGERER_THRESHOLD)) == 2, timeout, "two triggerers")
        self.wait_for(lambda: len(self.alive("SchedulerJob", SCHEDULER_THRESHOLD)) == 2, timeout, "two schedulers")
        self.wait_for(lambda: all(map(self.is_connected, WORKERS)), timeout, "two workers")

    def is_connected(self, worker: str) -> bool:
        """Return whether the worker's last word on the matter is that it takes tasks."""
        said = self._processes.log(worker).read_text(errors="replace")
        return said.rfind(" ready.") > said.rfind("celery worker ")

    def wait_for(self, predicate: Callable[[], T], timeout: float, what: str, interval: float = 0.25) -> T:
        """Wait, whatever is away meanwhile: our requests may fail, too."""

        def checked() -> T | None:
            self.revive()
            with suppress(requests.RequestException, psycopg.OperationalError):
                return predicate()
            return None

        deadline = time.monotonic() + timeout
        while not (result := checked()):
            if time.monotonic() >= deadline:
                raise TimeoutError(f"waited {timeout:.0f} s for {what}")
            time.sleep(interval)
        return result

    def revive(self) -> None:
        """Start again what has ended by itself."""
        with self._turn:
            for name in self._processes.ended():
                self._processes.kill(name)  # what is left of it
                self.revived.append((now(), name))
                self.start_again(name)

    def kill(self, name: str, *args: Any) -> None:
        with self._turn:
            super().kill(name, *args)

    def trigger(self, dag_id: str, conf: Json | None = None) -> str:
        with self._turn:
            return super().trigger(dag_id, conf)

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return the rows that a query of Airflow's database finds."""
        with psycopg.connect(self.postgres.url.replace("+psycopg", ""), connect_timeout=5) as connection:
            return connection.execute(sql, values).fetchall()

    def deliveries(self, payments: Payments) -> int:
        """Return how often a worker was handed a task of this DAG run."""
        lines = [line for name in WORKERS for line in self._processes.log(name).read_text().splitlines()]
        return sum("Executing workload in Celery" in line and payments.run_id in line for line in lines)

    def scheduler_logs(self, payments: Payments) -> str:
        """Return what both schedulers said of this DAG run."""
        lines = [line for name in SCHEDULERS for line in self._processes.log(name).read_text().splitlines()]
        return "\n".join(line for line in lines if payments.run_id in line)

    def alive(self, job_type: str, threshold: int) -> set[int]:
        """Return the ids of the triggerers, or schedulers, whose heartbeat is not old."""
        sql = """SELECT id FROM job WHERE job_type = %s AND state = 'running'
                 AND latest_heartbeat > now() - make_interval(secs => %s)"""
        return {number for (number,) in self.query(sql, job_type, threshold)}


class Payments:
    """A run of a DAG of ``dags/payments.py``, with a sandbox of its own."""

    def __init__(self, cluster: Cluster, dag_id: str, rabbit: Rabbit, **params: object) -> None:
        self.cluster, self.dag_id, self.rabbit = cluster, dag_id, rabbit
        self.run_id = cluster.trigger(dag_id, {"conn_id": rabbit.conn_id, **params})

    def wait_until(self, what: str, condition: Callable[[], bool], every: float = 0.25) -> None:
        """Wait until the condition holds; ``what`` it is goes into the TimeoutError."""
        self.cluster.wait_for(condition, PATIENCE, f"{self.dag_id} {self.run_id}: {what}", every)

    def tasks(self) -> list[Task]:
        """Return the tasks that pay."""
        sql = """SELECT task_id, map_index, ti.state, try_number, end_date, triggerer_id
                 FROM task_instance ti LEFT JOIN trigger t ON t.id = ti.trigger_id
                 WHERE dag_id = %s AND run_id = %s AND task_id = 'pay' ORDER BY map_index"""
        return [Task(*row) for row in self.cluster.query(sql, self.dag_id, self.run_id)]

    def count(self, state: str) -> int:
        """Return how many tasks are in this state."""
        return [task.state for task in self.tasks()].count(state)

    def wait_for_state(self, state: str, count: int = 1) -> None:
        """Wait until at least ``count`` tasks are in this state."""
        self.wait_until(f"{count} {state}", lambda: self.count(state) >= count, every=0.5)

    def end(self) -> None:
        """Wait for the end of the DAG run."""
        sql = "SELECT 1 FROM dag_run WHERE dag_id = %s AND run_id = %s AND state IN ('success', 'failed')"
        self.wait_until("the end", lambda: bool(self.cluster.query(sql, self.dag_id, self.run_id)), every=1)

    def notes(self) -> dict[int, list[str]]:
        """Return each end that a task has noted, by map index."""
        folder = self.cluster.home / "ends" / self.dag_id / self.run_id
        return {int(file.name.split(".")[-1]): file.read_text().split() for file in folder.glob("pay.*")}

    def runs(self) -> int:
        """Return how many runs were started."""
        return len(self.rabbit.control.runs())

    def log(self, tries: int, map_index: int = -1) -> str:
        """Return what the worker and the triggerers logged in this try."""
        folder = self.cluster.home / "logs" / f"dag_id={self.dag_id}" / f"run_id={self.run_id}" / "task_id=pay"
        mapped = f"map_index={map_index}/" if map_index >= 0 else ""
        return "".join(file.read_text() for file in sorted(folder.glob(f"{mapped}attempt={tries}.log*")))


class Row(NamedTuple):
    """What became of the payments of a row of the table."""

    what: str
    waits: int
    wanted: int
    """How many runs should have been started, and were."""
    started: int
    ends: Counter[str]
    """How the tasks ended: each end that a task noted counts."""
    tries: Counter[int]
    """In which try they ended."""
    seconds: float
    """From the disaster to the last end."""
    revived: set[str]
    """What ended by itself meanwhile, and was started again: components, without their numbers."""

    @property
    def cells(self) -> tuple[str, ...]:
        """The row as it is printed."""
        tries = ", ".join(f"{number}: {count}" for number, count in sorted(self.tries.items()))
        ends = ", ".join(f"{count} {how}" for how, count in sorted(self.ends.items()))
        revived = ", ".join(sorted(self.revived)) or "–"
        cells = (self.what, self.waits, self.wanted, self.started, ends, tries, f"{self.seconds:.0f}", revived)
        return tuple(map(str, cells))


HEADS = ("what happens", "waits", "runs wanted", "started", "ends", "tries", "seconds", "died of it")


def now() -> datetime:
    """Return the time, as Airflow's database has it."""
    return datetime.now(timezone.utc)


def row(what: str, since: datetime, wanted: int, *payments: Payments) -> Row:
    """Wait for the end of the payments, and return what became of them."""
    for each in payments:
        each.end()
    for each in payments:  # a callback comes a moment after the end
        each.wait_until("all notes", lambda it=each: len(it.notes()) == len(it.tasks()))  # type: ignore[misc]
    tasks = [task for each in payments for task in each.tasks()]
    return Row(
        what,
        waits=len(tasks),
        wanted=wanted,
        started=sum(len(rabbit.control.runs()) for rabbit in {each.rabbit for each in payments}),
        ends=Counter(how for each in payments for notes in each.notes().values() for how in notes),
        tries=Counter(task.tries for task in tasks),
        seconds=max((task.ended - since).total_seconds() for task in tasks if task.ended),
        revived={name.removesuffix("-2") for at, name in payments[0].cluster.revived if at > since},
    )
