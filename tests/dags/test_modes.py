"""The cells of the table in ``outcomes.py`` that ``dag.test()`` can run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS
from hooks.conftest import Connect
from outcomes import EXECUTIONS, FIRST, OPERATORS, OUTCOMES, PAYMENT, End, Outcome, said

from airflow_provider_wr.hooks.wr import WRHook
from airflow_provider_wr.sandbox.server import Sandbox

from .running import plain_status, run_tasks

pytestmark = pytest.mark.usefixtures("airflow_db")


class Subject(NamedTuple):
    """What is waited for."""

    noun: str
    outcomes: list[Outcome]
    reads: tuple[str, str]
    """The endpoints of a read and of a stream."""
    first: str
    """How each mode logs that it waits, at the beginning of a line."""


RUN = Subject("run", OUTCOMES, ("get_run", "stream"), FIRST)
EXECUTION = Subject("execution", EXECUTIONS, ("get_execution", "stream_execution"), "EXECUTING")

CELLS = [
    (subject, outcome, mode)
    for subject in (RUN, EXECUTION)
    for outcome in subject.outcomes
    for mode in outcome.in_process
]

#: Timeout in seconds of the tasks that time out: enough to start a run on a busy machine.
LIMIT = 2

MODES = {
    "poke": "poke_interval=0.05",
    "reschedule": "mode='reschedule', poke_interval=0.05",
    "deferred": "deferrable=True, poke_interval=0.05",
    "operator_in_worker": "wait_for_completion=True",
    "operator_deferred": "wait_for_completion=True, deferrable=True",
}
OPTIONS = {
    "failed_soft_fail": "soft_fail=True",
    "execution_timeout": f"execution_timeout=timedelta(seconds={LIMIT})",
    "timeout_soft_fail": "soft_fail=True",
    "refused_silent_fail": "silent_fail=True",
    "refused_never_fail": "never_fail=True",
}


class Waiting(NamedTuple):
    """A task that waits, in another thread."""

    sandbox: Sandbox
    subject: Subject
    mode: str
    lines: Callable[[], list[str]]
    """What it has logged."""

    def let_go(self) -> None:
        """Let the run go on to its end."""
        if self.subject is EXECUTION:
            self.sandbox.control.steer(PAYMENT, {"hold": False})
            return
        with WRHook() as hook:
            hook.update_component(self.sandbox.components["Quote"], config={"hold": False})

    def wait_until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def wait_until_it_waits(self) -> None:
        """Wait until the task or its trigger has logged the run's progress."""
        times = 2 if self.mode == "deferred" else 1
        self.wait_until(lambda: sum(line.startswith(self.subject.first) for line in self.lines()) >= times)

    def refusals(self) -> int:
        return sum(request["status"] == 401 for request in self.sandbox.control.requests())


def wait(waiting: Waiting) -> None:
    """Wait for the timeout."""


def finish(waiting: Waiting) -> None:
    """Let the run end once the task waits for it."""
    waiting.wait_until_it_waits()
    waiting.let_go()


def refuse_key(waiting: Waiting) -> None:
    """Refuse the key during the wait; a stream breaks at the next event, so that every mode has to reconnect."""
    waiting.wait_until_it_waits()
    waiting.sandbox.control.clear_faults()
    for endpoint in waiting.subject.reads:
        waiting.sandbox.control.fault(endpoint, status=401, times=None)
    waiting.let_go()


def refuse_key_for_a_while(waiting: Waiting) -> None:
    refuse_key(waiting)
    waiting.wait_until(lambda: waiting.refusals() >= 2)  # a stream's wait gives up after the second
    waiting.sandbox.control.clear_faults()


HAPPENS: dict[str, Callable[[Waiting], None]] = {
    each.__name__: each for each in (wait, finish, refuse_key, refuse_key_for_a_while)
}


@pytest.mark.parametrize(
    ("subject", "outcome", "mode"),
    [pytest.param(*cell, id=f"{cell[0].noun}-{cell[1].name}-{cell[2]}") for cell in CELLS],
)
def test_every_mode_has_the_same_outcome(
    subject: Subject,
    outcome: Outcome,
    mode: str,
    sandbox: Sandbox,
    connect: Connect,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if outcome.name == "execution_timeout" and not AIRFLOW_V_3_0_PLUS:
        pytest.skip("below Airflow 3.0 dag.test() ends, and does not retry, when a task runs out of its time")
    urls = {noun: f"{sandbox.url}/{noun}s/{{{noun}_id}}" for noun in ("run", "execution")}
    connect(sandbox.url, api_key=sandbox.api_key, run_url=urls["run"], execution_url=urls["execution"])
    caplog.set_level(logging.INFO, "airflow_provider_wr")

    def lines() -> list[str]:
        return [
            each.getMessage()
            for each in caplog.records
            if each.name.startswith("airflow_provider_wr.") and ".hooks." not in each.name
        ]

    with ThreadPoolExecutor(1) as pool:
        happens = pool.submit(HAPPENS[outcome.happens], Waiting(sandbox, subject, mode, lines))
        done = run_tasks(task(subject, outcome, mode, sandbox))
        happens.result()

    key = subject.noun if mode in OPERATORS else "return_value"
    run = done.xcoms["wait"].get(key)
    errors = [f"{type(error).__name__}: {error}" for error in done.errors.values()]
    expected = outcome.end(mode)
    ours = tuple(line for line in expected.says if not line.startswith(("skipped: ", "Sensor poke failed: ")))
    assert End(
        done.states["wait"],
        2 - done.tries["wait"],
        plain_status(run) if run else None,
        said([*lines(), *errors], ours, limit=LIMIT),
    ) == expected._replace(says=ours)


def task(subject: Subject, outcome: Outcome, mode: str, sandbox: Sandbox) -> str:
    """Start a run or an execution unless the operator does, and return the task that waits for it."""
    started = None if mode in OPERATORS else (_start_run if subject is RUN else _start_execution)
    config = {"hold": True, **outcome.config}
    if subject is EXECUTION:
        sandbox.control.steer(PAYMENT, config)
    else:
        with WRHook() as hook:
            hook.update_component(sandbox.components["Quote"], config=config)
    if outcome.happens.startswith("refuse_key"):
        sandbox.control.fault(subject.reads[1], drop_after=1, times=None)
    timeout = LIMIT if outcome.happens == "wait" and outcome.name != "execution_timeout" else 60
    options = f"task_id='wait', retries=1, timeout={timeout}, {MODES[mode]}, {OPTIONS.get(outcome.name, '')}"
    if subject is RUN:
        return f"WRRunSensor(run_id={started()!r}, {options})" if started else f"WRTriggerRunOperator({options})"
    if started:
        return f"WRComponentExecutionSensor(execution_id={started()!r}, {options})"
    return f"WRExecuteComponentOperator(module={PAYMENT!r}, input={INPUT}, config={{'chainId': 1}}, {options})"


INPUT = {"to": "0x1", "value": "5"}


def _start_run() -> str:
    with WRHook() as hook:
        return hook.trigger_run().run_id


def _start_execution() -> str:
    with WRHook() as hook:
        return hook.execute_component(PAYMENT, INPUT, {"chainId": 1}).id
