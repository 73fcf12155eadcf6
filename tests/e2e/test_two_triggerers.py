"""One of two triggerers on PostgreSQL is killed: every wait ends exactly once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dev.airflow_api import Json
from dev.local_airflow import LocalAirflow
from dev.postgres import postgres

from .conftest import PrintTable, new_home
from .dagrun import DagRun
from .rabbit import Rabbit

DAGS = Path(__file__).parent / "dags_on_postgres"

# Seconds until the other triggerer takes over the triggers of a dead one.
SETTINGS = {"AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "10"}

# The kinds of waits in dags_on_postgres/many_waits.py, and how many worker processes each uses.
WORKERS = {"operator": 2, "deferred": 2, "from_trigger": 0}
EACH = 6

# The triggerer that is killed holds all waits of one DAG run and a third of the other's.
CAPACITY = len(WORKERS) * EACH * 4 // 3


class End(NamedTuple):
    """How a wait ended."""

    state: str
    tries: int
    workers: int
    """How many worker processes it used."""
    events: int
    """How many events its trigger fired, in both triggerers."""


class Wait(NamedTuple):
    """The result of a wait. Times are in UTC and ISO 8601, so that they compare as strings."""

    kind: str
    holder: int
    """The id of the triggerer that held it at the kill."""
    triggerers: dict[int, str]
    """Those that its trigger ever ran in, and since when."""
    end: End
    own_run: str
    """The id of the run that was started for it."""
    run: Json
    """The run in its XCom."""


class Waits(DagRun):
    """A DAG run that waits for runs of its own sandbox, which end when they are released."""

    def __init__(self, airflow: LocalAirflow, rabbit: Rabbit) -> None:
        rabbit.configure(hold=True)
        self.run_ids = [rabbit.start_run() for _ in range(EACH)]
        super().__init__(airflow, "many_waits", conn_id=rabbit.conn_id, run_ids=self.run_ids)
        self.rabbit = rabbit
        self.held: dict[str, int] = {}
        """The id of the triggerer that held each wait at the kill."""
        self.opened: Counter[str] = Counter()
        """The streams that were opened until then."""
        self.ended: list[Wait] = []

    def wait_until_held(self, by: set[int], streams: int) -> None:
        """Wait until these triggerers have all waits, and this number of streams was opened in total."""

        def held() -> bool:
            return set(self.holders().values()) <= by and self.streams().total() >= streams

        self.wait_until(f"triggerers {by} hold all waits", held, every=1)

    def wait_until_deferred(self) -> None:
        """Wait until no wait needs a worker, whether a triggerer has room for it or not."""
        self.wait_until("all waits are deferred", lambda: {task["state"] for task in self.tasks()} == {"deferred"})

    def holders(self) -> dict[str, Any]:
        """Return the id of the current triggerer of each wait, None for none."""
        jobs = {task["task_id"]: task["triggerer_job"] for task in self.tasks()}
        return {task_id: job and job["id"] for task_id, job in jobs.items()}

    def streams(self) -> Counter[str]:
        """Return the number of opened streams by run id."""
        requests = self.rabbit.control.requests()
        return Counter(request["path"].split("/")[-2] for request in requests if request["endpoint"] == "stream")

    def look(self) -> None:
        """Record the state just before the kill."""
        self.held, self.opened = self.holders(), self.streams()

    def let_go(self) -> None:
        """Let the runs end."""
        self.rabbit.configure(hold=False)

    def follow(self) -> None:
        """Wait for the end, and collect the results."""
        self.end()
        self.ended = [self._wait(task["task_id"], task) for task in self.tasks()]

    def _wait(self, task_id: str, task: Json) -> Wait:
        kind, _, number = task_id.rpartition("_")
        is_operator = kind == "operator"
        return Wait(
            kind=kind,
            holder=self.held[task_id],
            triggerers=self.triggerers(task_id),
            end=End(task["state"], task["try_number"], self.workers(task_id), self.trigger_events(task_id)),
            own_run=self.xcom(task_id) if is_operator else self.run_ids[int(number)],
            run=self.xcom(task_id, "run" if is_operator else "return_value"),
        )


@dataclass(frozen=True)
class Disaster:
    """Two DAG runs were waiting when one of the triggerers was killed."""

    killed: int
    left: int
    soon: Waits
    """Its runs ended at once, when nobody watched for the waits of the killed triggerer."""
    late: Waits
    """Its runs ended when these waits had been taken over."""

    @property
    def waits(self) -> list[Wait]:
        return self.soon.ended + self.late.ended

    def taken_over(self, waits: Waits) -> list[Wait]:
        """Return the waits of the killed triggerer."""
        return [wait for wait in waits.ended if wait.holder == self.killed]


@pytest.fixture(scope="module")
def small_triggerer(
    postgres_programs: Path, settings: dict[str, str], request: pytest.FixtureRequest
) -> Iterator[LocalAirflow]:
    """A separate Airflow on PostgreSQL, with one triggerer of a limited capacity."""
    with postgres(postgres_programs) as server, new_home(request.session) as home:
        database = {
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": server.url,
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": server.url,
        }
        env = {**settings, **SETTINGS, **database}
        with LocalAirflow(home, DAGS, env=env, components=("api-server", "scheduler", "dag-processor")) as airflow:
            airflow.start("triggerer", "small", "--capacity", str(CAPACITY))
            airflow.wait_ready(240)
            airflow.wait_for(airflow.triggerers, 120, "the triggerer to be alive")
            yield airflow


@pytest.fixture(scope="module")
def disaster(
    small_triggerer: LocalAirflow, take_rabbit: Callable[[], Rabbit], print_table: PrintTable
) -> Disaster:
    """Let it happen."""
    airflow = small_triggerer
    (killed,) = airflow.triggerers()
    soon = Waits(airflow, take_rabbit())
    soon.wait_until_held({killed}, streams=len(WORKERS) * EACH)
    late = Waits(airflow, take_rabbit())
    late.wait_until_deferred()
    # The second triggerer gets what the first has no room for.
    late.wait_until("the triggerer is full", lambda: late.streams().total() >= CAPACITY - len(WORKERS) * EACH)
    airflow.start("triggerer", "large")
    airflow.wait_for(lambda: len(airflow.triggerers()) == 2, 120, "both triggerers to be alive")
    (left,) = airflow.triggerers() - {killed}
    late.wait_until_held({killed, left}, streams=len(WORKERS) * EACH)
    for waits in (soon, late):
        waits.look()
    airflow.kill("small")
    soon.let_go()
    airflow.wait_for(lambda: airflow.triggerers() == {left}, 120, "the killed triggerer to be taken for dead")
    late.wait_until_held({left}, streams=late.opened.total() + list(late.held.values()).count(killed))
    late.let_go()
    for waits in (soon, late):
        waits.follow()
    disaster = Disaster(killed, left, soon, late)
    rows = Counter(
        (wait.kind, "the killed one" if wait.holder == killed else "the other", *wait.end)
        for wait in disaster.waits
    )
    print_table(
        "How waits ended when one of two triggerers was killed",
        ("kind", "held by", *End._fields, "waits"),
        [(*row, count) for row, count in sorted(rows.items())],
    )
    return disaster


def test_both_triggerers_hold_waits_when_one_is_killed(disaster: Disaster) -> None:
    killed, left = disaster.killed, disaster.left
    waits = len(WORKERS) * EACH
    assert Counter(disaster.soon.held.values()) == {killed: waits}
    assert Counter(disaster.late.held.values()) == {killed: CAPACITY - waits, left: 2 * waits - CAPACITY}


@pytest.mark.parametrize("kind", WORKERS)
def test_every_wait_ends_once(disaster: Disaster, kind: str) -> None:
    ends = [wait.end for wait in disaster.waits if wait.kind == kind]

    assert ends == [End("success", tries=1, workers=WORKERS[kind], events=1)] * 2 * EACH


def test_every_wait_ends_with_its_own_run(disaster: Disaster) -> None:
    ended = [(wait.run["id"], wait.run["status"]) for wait in disaster.waits]

    assert ended == [(wait.own_run, "COMPLETED") for wait in disaster.waits]


def test_nothing_is_triggered_twice(disaster: Disaster) -> None:
    for waits in (disaster.soon, disaster.late):
        runs = [run["id"] for run in waits.rabbit.control.runs()]
        # Ours, each for two sensors, and one of each operator.
        assert len(runs) == waits.rabbit.received("trigger") == 2 * EACH
        assert set(runs) == {wait.own_run for wait in waits.ended}


def test_the_other_triggerer_reopens_the_streams(disaster: Disaster) -> None:
    for waits in (disaster.soon, disaster.late):
        anew = Counter(wait.own_run for wait in disaster.taken_over(waits))
        assert waits.streams() - waits.opened == anew


def test_a_run_may_end_before_or_after_its_wait_is_taken_over(disaster: Disaster) -> None:
    def ended_before(wait: Wait) -> bool:
        return str(wait.run["updatedAt"]) < wait.triggerers[disaster.left]

    assert all(ended_before(wait) for wait in disaster.taken_over(disaster.soon))
    assert not any(ended_before(wait) for wait in disaster.taken_over(disaster.late))
