"""The same outcome in every mode of waiting."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import pytest

from dev.local_airflow import LocalAirflow

from .conftest import PrintTable
from .dagrun import DagRun
from .rabbit import Rabbit

SENSORS = ["poke", "reschedule", "deferred", "start_from_trigger", "start_and_end_from_trigger"]
OPERATORS = ["operator_in_worker", "operator_deferred"]
DEFERRING = {mode for mode in SENSORS + OPERATORS if "deferred" in mode or "trigger" in mode}

# How many worker processes one try of a task uses.
WORKERS = {
    "poke": 1,
    "reschedule": 2,  # or more: one for each look at the run
    "deferred": 2,
    "start_from_trigger": 1,
    "start_and_end_from_trigger": 1,  # none at all where the run ended as allowed
    "operator_in_worker": 1,
    "operator_deferred": 2,
}


class End(NamedTuple):
    """How a wait ended."""

    state: str
    tries: int
    run: str | None
    """The status of the run in the XCom."""
    error: str
    """The error in the log of the last try, with its run as RUN and the sandbox as URL; empty for none."""


SENSOR_TIMEOUT = (
    "AirflowSensorTimeout: Sensor has timed out after 10 s; run RUN goes on: White Rabbit has no call to "
    "cancel it; see URL/runs/RUN"
)
OPERATOR_TIMEOUT = (
    "WRTimeoutError: the wait for run RUN timed out after T s; the run, last seen EXECUTING, "
    "goes on: White Rabbit has no call to cancel it; see URL/runs/RUN"
)


@dataclass(frozen=True)
class Outcome:
    """One outcome in all modes: how the run ends, and what is expected of each task that waits for it."""

    name: str
    """The DAG of ``dags/modes.py``."""
    sensor: End
    operator: End | None
    runs: int
    """How many runs all tasks of the DAG start: the trigger one, each operator one per try that starts one."""
    config: Mapping[str, object]
    ends_in_trigger: bool = False
    unreachable: bool = False

    def workers(self, mode: str) -> int:
        return 0 if mode == "start_and_end_from_trigger" and self.ends_in_trigger else WORKERS[mode]


LONG = {"seconds": 45}
ENDLESS = {"seconds": 600}
FAILING = {**LONG, "failWith": "out of gas"}
CANCELING = {**LONG, "cancelRun": "no more"}

COMPLETED = End("success", 1, "COMPLETED", "")
OUTCOMES = [
    Outcome("completed", COMPLETED, COMPLETED, 3, LONG, ends_in_trigger=True),
    Outcome(
        "failed",
        End("failed", 1, None, "WRRunFailedFinalError: run RUN ended FAILED, 1 credit used"),
        End("failed", 2, "FAILED", "WRRunFailedError: run RUN ended FAILED, 1 credit used"),
        5,
        FAILING,
    ),
    Outcome(
        "canceled",
        End("failed", 1, None, "WRRunCanceledFinalError: run RUN ended CANCELED: no more, 0 credits used"),
        End("failed", 2, "CANCELED", "WRRunCanceledError: run RUN ended CANCELED: no more, 0 credits used"),
        5,
        CANCELING,
    ),
    Outcome("canceled_allowed", End("success", 1, "CANCELED", ""), None, 1, CANCELING, ends_in_trigger=True),
    Outcome(
        "timeout", End("failed", 1, None, SENSOR_TIMEOUT), End("failed", 2, None, OPERATOR_TIMEOUT), 3, ENDLESS
    ),
    Outcome("timeout_soft_fail", End("skipped", 1, None, ""), None, 1, ENDLESS),
    Outcome("unreachable", COMPLETED, COMPLETED, 3, LONG, ends_in_trigger=True, unreachable=True),
]
CELLS = [
    (outcome, mode)
    for outcome in OUTCOMES
    for mode in SENSORS + OPERATORS
    if mode in SENSORS or outcome.operator is not None
]


class Waits(DagRun):
    """The DAG run of an outcome."""

    def __init__(self, outcome: Outcome, airflow: LocalAirflow, rabbit: Rabbit) -> None:
        super().__init__(airflow, outcome.name, conn_id=rabbit.conn_id)
        self.rabbit = rabbit
        self.modes = [mode for of, mode in CELLS if of is outcome]
        self.seen_alone: set[str] = set()
        """The tasks that were seen deferred, with no process serving them."""

    def mend_network(self) -> None:
        """Let the API be reached as soon as all have met it unreachable."""
        self.wait_until("all look again", self._all_look_again, every=2)
        self.rabbit.control.clear_faults()

    def follow(self) -> None:
        """Watch the tasks until they have ended."""
        self.wait_until("the end", self._has_ended, every=1)

    def _all_look_again(self) -> bool:
        return all("looking again" in self.log(mode, 1) for mode in self.modes)

    def _has_ended(self) -> bool:
        self.seen_alone |= self.deferred_without_process()
        return self.state() in ("success", "failed")

    def seen(self, mode: str) -> End:
        """Return how the task of this mode ended."""
        (task,) = (task for task in self.tasks() if task["task_id"] == mode)
        run = self.xcom(mode, "return_value" if mode in SENSORS else "run")
        errors = re.findall(r"^\w+(?:Error|Timeout): .*", self.log(mode, task["try_number"]), re.MULTILINE)
        # The first is the one that ended the task, those after it are its causes.
        error = re.sub(r"\b[0-9a-f]{8}-[0-9a-f-]{27}\b", "RUN", errors[0] if errors else "")
        error = re.sub(r"http://127\.0\.0\.1:\d+", "URL", error)
        if mode in OPERATORS:
            error = re.sub(r"after [\d.]+ s", "after T s", error)  # what was left of it when the wait began
        return End(task["state"], task["try_number"], run["status"] if isinstance(run, dict) else run, error)


def play(outcome: Outcome, airflow: LocalAirflow, rabbit: Rabbit) -> Waits:
    """Let the outcome happen to a task of each mode."""
    rabbit.configure(**outcome.config)
    if outcome.unreachable:
        for endpoint in ("get_run", "stream"):
            rabbit.control.fault(endpoint, reset=True, times=None)
    waits = Waits(outcome, airflow, rabbit)
    if outcome.unreachable:
        waits.mend_network()
    waits.follow()
    return waits


@pytest.fixture(scope="module")
def waits(airflow: LocalAirflow, take_rabbit: Callable[[], Rabbit], print_table: PrintTable) -> dict[str, Waits]:
    """All outcomes, in all modes, at the same time."""
    with ThreadPoolExecutor(len(OUTCOMES)) as pool:
        futures = {of.name: pool.submit(play, of, airflow, take_rabbit()) for of in OUTCOMES}
    waits = {name: future.result() for name, future in futures.items()}
    rows = [(of.name, mode, waits[of.name].workers(mode), *waits[of.name].seen(mode)) for of, mode in CELLS]
    print_table("How a wait ended in every mode", ("outcome", "mode", "workers", *End._fields), rows)
    return waits


@pytest.mark.parametrize(
    ("outcome", "mode"), [pytest.param(*cell, id=f"{cell[0].name}-{cell[1]}") for cell in CELLS]
)
def test_every_mode_has_the_same_outcome(outcome: Outcome, mode: str, waits: dict[str, Waits]) -> None:
    wait = waits[outcome.name]
    expected = outcome.sensor if mode in SENSORS else outcome.operator
    seen = wait.seen(mode)
    workers = wait.workers(mode)

    assert seen == expected
    assert (mode in wait.seen_alone) == (mode in DEFERRING)
    if mode == "reschedule":
        assert workers >= outcome.workers(mode)
    else:
        assert workers == outcome.workers(mode)


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: outcome.name)
def test_as_many_runs_are_started_as_asked_for(outcome: Outcome, waits: dict[str, Waits]) -> None:
    assert len(waits[outcome.name].rabbit.control.runs()) == outcome.runs


def test_the_next_task_reads_the_run_whatever_the_mode(waits: dict[str, Waits]) -> None:
    assert waits["completed"].xcom("read") == dict.fromkeys(SENSORS, "COMPLETED")
