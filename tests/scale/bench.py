"""
What only a whole Airflow shows: 2000 waits over HTTPS, and Airflow's own race at the end of short runs.

pytest does not look for tests here: ``make bench-scale`` names the file.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import psycopg
import pytest
from e2e.rabbit import Rabbit

from benchmarks.server import Server, serve
from dev.local_airflow import LocalAirflow
from dev.postgres import postgres

from . import results
from .cluster import Cluster, Payments
from .dags_bench.many import DAGS, EACH

WAITS = DAGS * EACH

#: Seconds over which the events of each run are spread; there are ten of them.
SECONDS = 400.0

#: Seconds for which a triggerer with all its waits is watched.
WATCHED = 40.0

#: For how long a run keeps running before it ends, in seconds, and how many payments there are of each kind.
RUNS_LAST = (0, 1, 2, 3, 5, 10)
EACH_LASTS = 20

TRIGGERERS = ("triggerer", "triggerer-2")

#: How many transactions Airflow's database has committed so far, and how many rows it has written.
WRITTEN = """SELECT xact_commit, tup_inserted + tup_updated + tup_deleted
             FROM pg_stat_database WHERE datname = current_database()"""


class Triggerers(LocalAirflow):
    """An Airflow with two triggerers, and what can be measured of them from outside."""

    port = 0
    database = ""

    def runner(self, name: str) -> psutil.Process:
        """Return the process with the event loop of a triggerer."""
        (runner,) = self._processes.main(name).children()
        return runner

    def streams(self, name: str) -> int:
        """Return how many connections to White Rabbit a triggerer has."""
        with suppress(psutil.Error, ValueError):
            connections = self.runner(name).net_connections("tcp")
            return sum(bool(each.raddr) and each.raddr.port == self.port for each in connections)
        return 0

    def query(self, sql: str) -> tuple[Any, ...]:
        with psycopg.connect(self.database.replace("+psycopg", "")) as connection:
            return connection.execute(sql).fetchone() or ()

    def blocks(self, name: str) -> list[float]:
        """Return for how long Airflow saw the event loop blocked, each time for more than its threshold."""
        log = self._processes.log(name).read_text()
        return [float(seconds) for seconds in re.findall(r"async thread was blocked for ([0-9.]+) seconds", log)]


@pytest.fixture
def server() -> Iterator[Server]:
    with serve(WAITS, SECONDS, tls=True) as server:
        yield server


@pytest.fixture
def triggerers(server: Server, postgres_programs: Path) -> Iterator[Triggerers]:
    home = Path(tempfile.mkdtemp(prefix="wr-bench-"))
    connection = {
        "conn_type": "wr",
        "host": server.url,
        "password": "ws_benchmark",
        "extra": {"verify": server.ca},
    }
    with postgres(postgres_programs) as database:
        settings = {
            "CORE__PARALLELISM": 1,
            "CORE__MAX_ACTIVE_TASKS_PER_DAG": EACH,
            "DATABASE__SQL_ALCHEMY_CONN": database.url,
            "DATABASE__SQL_ALCHEMY_CONN_ASYNC": database.url,
            "SCHEDULER__MAX_TIS_PER_QUERY": 256,
            "TRIGGERER__BLOCKED_MAIN_THREAD_WARNING_THRESHOLD": 0.15,
            "TRIGGERER__CAPACITY": 2 * WAITS,
        }
        env = {f"AIRFLOW__{name}": str(value) for name, value in settings.items()}
        env["AIRFLOW_CONN_WR_BENCH"] = json.dumps(connection)
        with Triggerers(home, Path(__file__).parent / "dags_bench", env=env) as airflow:
            airflow.port, airflow.database = int(server.url.rpartition(":")[2]), database.url
            airflow.start("triggerer", "triggerer-2")
            airflow.wait_ready(240)
            airflow.wait_for(lambda: len(airflow.triggerers()) == 2, 60, "two triggerers")
            yield airflow
    shutil.rmtree(home)


def test_2000_waits(triggerers: Triggerers, server: Server) -> None:
    airflow = triggerers
    empty = {name: airflow.runner(name).memory_full_info().uss for name in TRIGGERERS}
    first = airflow.query(WRITTEN)
    began = time.monotonic()
    for number in range(DAGS):
        airflow.trigger(f"many_{number}")
    airflow.wait_for(lambda: sum(map(airflow.streams, TRIGGERERS)) >= WAITS, 420, "all streams", 0.5)
    opened = time.monotonic() - began
    time.sleep(5)
    held = {name: airflow.streams(name) for name in TRIGGERERS}
    full = {name: airflow.runner(name).memory_full_info().uss for name in TRIGGERERS}

    cpu = {name: airflow.runner(name).cpu_times() for name in TRIGGERERS}
    before = airflow.query(WRITTEN)
    time.sleep(WATCHED)
    after = airflow.query(WRITTEN)
    used = sum(sum(airflow.runner(name).cpu_times()[:2]) - sum(cpu[name][:2]) for name in TRIGGERERS)

    killed = max(TRIGGERERS, key=lambda name: held[name])
    (left,) = set(TRIGGERERS) - {killed}
    at = time.monotonic()
    airflow.kill(killed)
    airflow.wait_for(lambda: airflow.streams(left) >= WAITS, 420, "the other to take over", 0.5)
    taken = time.monotonic() - at
    all_in_one = airflow.runner(left).memory_full_info().uss

    count = "SELECT count(*) FROM task_instance WHERE state = 'success'"
    airflow.wait_for(lambda: airflow.query(count)[0] == WAITS, 900, "all ends", 1)
    last = airflow.query(WRITTEN)
    events = airflow.query("SELECT count(*) FROM task_instance WHERE try_number > 1")
    assert events == (0,)

    memory = sum(full[name] - empty[name] for name in TRIGGERERS)
    longest = max([*airflow.blocks(TRIGGERERS[0]), *airflow.blocks(TRIGGERERS[1]), 0.0])
    seen = {
        "waits, and in which triggerer": f"{WAITS}: {held['triggerer']} and {held['triggerer-2']}",
        "from the start of the DAG runs until all streams are open": f"{opened:.0f} s",
        "memory of a triggerer without waits": f"{empty['triggerer'] / 2**20:.0f} MiB",
        "memory per wait": f"{memory / WAITS / 1024:.0f} kB",
        "memory of one triggerer with all waits": f"{all_in_one / 2**20:.0f} MiB",
        f"CPU for all, each with an event every {SECONDS / 10:.0f} s": f"{used / WATCHED * 100:.1f} % of a core",
        "transactions of Airflow's database meanwhile": f"{(after[0] - before[0]) / WATCHED:.1f} per second",
        "rows written meanwhile": f"{(after[1] - before[1]) / WATCHED:.1f} per second",
        "rows written for a wait, from its start to its end": f"{(last[1] - first[1]) / WAITS:.0f}",
        "longest block of the event loop": f"{longest * 1000:.0f} ms",
        f"from the kill of a triggerer with {held[killed]} waits until the other has them": f"{taken:.0f} s",
    }
    for what, value in seen.items():
        print(f"{what}: {value}")
    results.write("waits", [{"2000 waits over HTTPS": what, "seen": value} for what, value in seen.items()])


def test_the_race_of_short_runs(cluster: Cluster, take: Callable[[], Rabbit]) -> None:
    rows = []
    for lasts in RUNS_LAST:
        rabbit = take()
        if lasts:
            rabbit.configure(seconds=max(0.0, lasts - 0.8))
        else:
            rabbit.control.fault("trigger", finish_first=True, times=None)
        payments = [Payments(cluster, "without_retries", rabbit) for _ in range(EACH_LASTS)]
        for each in payments:
            each.end()
        failed = [each for each in payments if each.count("failed")]
        for each in failed:
            assert "state attribute is" in cluster.scheduler_logs(each)
            cluster.clear(each.dag_id, each.run_id, ["pay"])
        for each in failed:
            each.wait_for_state("success")
        assert sum(each.count("success") for each in payments) == EACH_LASTS
        assert len(rabbit.control.runs()) == EACH_LASTS
        rows.append(
            {
                "the run ends after": f"{lasts} s",
                "tasks": str(EACH_LASTS),
                "failed by Airflow": str(len(failed)),
                "success after a clear": str(len(failed)),
                "runs started": str(len(rabbit.control.runs())),
            }
        )
        print(rows[-1])
    results.write("race", rows)
