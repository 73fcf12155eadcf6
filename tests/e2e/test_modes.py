"""The same outcome in every mode of waiting: state, retries left, XComs, log, and the worker processes used."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from outcomes import DEFERRING, FIRST, FROM_TRIGGER, OPERATORS, OUTCOMES, SENSORS, End, Outcome, said

from dev.airflow_api import Json
from dev.local_airflow import LocalAirflow

from .conftest import PrintTable
from .dagrun import DagRun
from .rabbit import Rabbit

CELLS = [(outcome, mode) for outcome in OUTCOMES for mode in outcome.in_airflow]

#: Timeout in seconds of the tasks that time out.
LIMIT = 20

#: What each mode logs at each read of the run.
LOOK = re.compile(r" \| \d+ stages? pending|retrying|401 |run [0-9a-f-]{36} ended ")


class Waits(DagRun):
    """The DAG run of an outcome: a task that starts a run, and one for each mode."""

    def __init__(self, outcome: Outcome, airflow: LocalAirflow, rabbit: Rabbit) -> None:
        super().__init__(airflow, outcome.name, conn_id=rabbit.conn_id)
        self.outcome = outcome
        self.rabbit = rabbit
        self.seen_alone: set[str] = set()
        """The tasks that were seen deferred, with no process serving them."""

    def wait_until_all_say(self, text: str) -> None:
        """Wait until the logs of all tasks contain this text."""
        modes = self.outcome.in_airflow
        self.wait_until(text, lambda: all(text in self.log_files(mode, 1) for mode in modes), every=1)

    def wait_until_all_wait(self) -> None:
        """Wait until each task waits for its run, in a worker or, with no process serving it, in the triggerer."""
        modes = self.outcome.in_airflow
        self.wait_until("all wait", lambda: self._wait_in(1, modes) and self._are_alone(), every=1)

    def wait_until_operators_wait_again(self) -> None:
        """Wait until each operator waits for the run of its second try."""
        self.wait_until("the operators wait again", lambda: self._wait_in(2, OPERATORS), every=1)

    def let_go(self) -> None:
        """Let the held runs end; runs that start later are held again."""
        self.rabbit.configure(hold=False)
        self.rabbit.configure(hold=True)

    def follow(self) -> None:
        """Watch the tasks until they have ended."""
        self.wait_until("the end", self._has_ended, every=1)

    def _wait_in(self, tries: int, modes: Sequence[str]) -> bool:
        return all(
            FIRST in self.log_files(mode, tries, ".trigger*" if mode in DEFERRING else "")
            and (mode not in DEFERRING or mode in FROM_TRIGGER or self.is_handed_over(mode, tries))
            for mode in modes
        )

    def _are_alone(self) -> bool:
        self.seen_alone |= self.deferred_without_process()
        return DEFERRING.intersection(self.outcome.in_airflow) <= self.seen_alone

    def _has_ended(self) -> bool:
        self.seen_alone |= self.deferred_without_process()
        return self.state() in ("success", "failed")

    def end(self, mode: str) -> End:
        """Return the result of the task of this mode, with the log of the first try that differs."""
        (task,) = (task for task in self.tasks() if task["task_id"] == mode)
        tries = task["try_number"]
        run = self.xcom(mode, "return_value" if mode in SENSORS else "run")
        status = run["status"] if isinstance(run, dict) else run
        return End(task["state"], task["max_tries"] + 1 - tries, status, self._says(mode, tries))

    def _says(self, mode: str, tries: int) -> tuple[str, ...]:
        expected = self.outcome.end(mode).says
        for number in range(1, tries + 1):
            # If the key is refused, the next try cannot read the run.
            blind = number > 1 and self.outcome.happens == "refuse_key"
            of_try = tuple(line for line in expected if not (blind and line == FIRST))
            lines = [line for message in self.messages(mode, number) for line in texts(message)]
            says = said(lines, of_try, limit=LIMIT)
            if says != of_try:
                return says
        return expected

    def looks(self, mode: str) -> int:
        """Return how often the only try read the run."""
        return sum(bool(LOOK.search(str(message))) for message in self.messages(mode, 1))


def texts(message: Json) -> Iterator[str]:
    """Yield the lines of a log message about the wait: our own, and Airflow's about its end."""
    event = message["event"]
    if str(message.get("logger")).startswith("airflow_provider_wr."):
        yield event
    elif event == "Skipping task.":
        yield f"skipped: {message['reason']}"
    elif event.startswith("Sensor poke failed"):
        error = event.strip().splitlines()[-1]
        yield f"Sensor poke failed: {error.removeprefix('airflow_provider_wr.exceptions.')}"
    for error in message.get("error_detail") or ():
        yield f"{error['exc_type']}: {error['exc_value']}"


# --- what happens -----------------------------------------------------------------------------------------


def wait(waits: Waits) -> None:
    """Wait for the timeout."""


def finish(waits: Waits) -> None:
    """Let the runs end, and then the runs of retries."""
    waits.wait_until_all_wait()
    waits.let_go()
    if waits.outcome.operator is not None and not waits.outcome.operator.retries_left:
        waits.wait_until_operators_wait_again()
        waits.let_go()


def spend(waits: Waits) -> None:
    """Let the runs use credits, and not end: the second stage is held as well."""
    waits.wait_until_all_wait()
    waits.rabbit.configure("Balance", hold=True)
    waits.let_go()


def restore_network(waits: Waits) -> None:
    """Make the API reachable again after all tasks have failed to reach it."""
    waits.wait_until_all_say("retrying")
    waits.rabbit.control.clear_faults()
    finish(waits)


def refuse_key(waits: Waits) -> None:
    """Refuse the key while all wait; their streams break at the next event, so that all have to reconnect."""
    waits.wait_until_all_wait()
    waits.rabbit.control.clear_faults()
    for endpoint in ("get_run", "stream"):
        waits.rabbit.control.fault(endpoint, status=401, times=None)
    waits.let_go()


def refuse_key_for_a_while(waits: Waits) -> None:
    refuse_key(waits)
    waits.wait_until_all_say("Sensor poke failed")
    waits.rabbit.control.clear_faults()


HAPPENS: dict[str, Callable[[Waits], None]] = {
    each.__name__: each for each in (wait, finish, spend, restore_network, refuse_key, refuse_key_for_a_while)
}


def play(outcome: Outcome, airflow: LocalAirflow, rabbit: Rabbit) -> Waits:
    """Run the outcome for a task of each mode."""
    rabbit.configure(hold=True, **outcome.config)
    if outcome.happens == "restore_network":
        for endpoint in ("get_run", "stream"):
            rabbit.control.fault(endpoint, reset=True, times=None)
    if outcome.happens.startswith("refuse_key"):
        rabbit.control.fault("stream", drop_after=1, times=None)
    waits = Waits(outcome, airflow, rabbit)
    HAPPENS[outcome.happens](waits)
    waits.follow()
    return waits


@pytest.fixture(scope="module")
def waits(airflow: LocalAirflow, take_rabbit: Callable[[], Rabbit], print_table: PrintTable) -> dict[str, Waits]:
    """All outcomes, in all modes, at the same time."""
    with ThreadPoolExecutor(len(OUTCOMES)) as pool:
        futures = {of.name: pool.submit(play, of, airflow, take_rabbit()) for of in OUTCOMES}
    waits = {name: future.result() for name, future in futures.items()}
    print_table(
        "How a wait ended in every mode",
        ("outcome", "mode", "workers", *End._fields),
        [_row(outcome, mode, waits[outcome.name]) for outcome, mode in CELLS],
    )
    return waits


def _row(outcome: Outcome, mode: str, waits: Waits) -> tuple[object, ...]:
    *end, says = waits.end(mode)
    return outcome.name, mode, waits.workers(mode), *end, says[-1].partition("\n")[0] if says else ""


@pytest.mark.parametrize(
    ("outcome", "mode"), [pytest.param(*cell, id=f"{cell[0].name}-{cell[1]}") for cell in CELLS]
)
def test_every_mode_has_the_same_outcome(outcome: Outcome, mode: str, waits: dict[str, Waits]) -> None:
    wait = waits[outcome.name]

    assert wait.end(mode) == outcome.end(mode)
    assert (mode in wait.seen_alone) == (mode in DEFERRING)
    assert wait.workers(mode) == (wait.looks(mode) if mode == "reschedule" else outcome.workers[mode])


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: outcome.name)
def test_each_task_starts_the_expected_number_of_runs(outcome: Outcome, waits: dict[str, Waits]) -> None:
    assert len(waits[outcome.name].rabbit.control.runs()) == outcome.runs


def test_the_next_task_reads_the_run_whatever_the_mode(waits: dict[str, Waits]) -> None:
    assert waits["completed"].xcom("read") == dict.fromkeys(SENSORS, "COMPLETED")
