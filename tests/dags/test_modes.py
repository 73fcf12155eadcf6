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
from outcomes import FIRST, OPERATORS, OUTCOMES, End, Outcome, said

from airflow_provider_wr.hooks.wr import WRHook
from airflow_provider_wr.sandbox.server import Sandbox

from .running import plain_status, run_tasks

pytestmark = pytest.mark.usefixtures("airflow_db")

CELLS = [(outcome, mode) for outcome in OUTCOMES for mode in outcome.in_process]

#: Timeout in seconds of the tasks that time out: enough to start a run on a busy machine.
LIMIT = 2

MODES = {
    "poke": "poke_interval=0.05",
    "reschedule": "mode='reschedule', poke_interval=0.05",
    "deferred": "deferrable=True, poke_interval=0.05",
    "operator_in_worker": "wait_for_completion=True",
}
OPTIONS = {
    "failed_soft_fail": "soft_fail=True",
    "execution_timeout": f"execution_timeout=timedelta(seconds={LIMIT})",
    "refused": "",
    "refused_silent_fail": "silent_fail=True",
    "refused_never_fail": "never_fail=True",
}


class Waiting(NamedTuple):
    """A task that waits, in another thread."""

    sandbox: Sandbox
    mode: str
    lines: Callable[[], list[str]]
    """What it has logged."""

    def let_go(self) -> None:
        """Let the run go on to its end."""
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
        self.wait_until(lambda: self.lines().count(FIRST) >= times)

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
    for endpoint in ("get_run", "stream"):
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
    ("outcome", "mode"), [pytest.param(*cell, id=f"{cell[0].name}-{cell[1]}") for cell in CELLS]
)
def test_every_mode_has_the_same_outcome(
    outcome: Outcome, mode: str, sandbox: Sandbox, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    if outcome.name == "execution_timeout" and not AIRFLOW_V_3_0_PLUS:
        pytest.skip("below Airflow 3.0 dag.test() ends, and does not retry, when a task runs out of its time")
    connect(sandbox.url, api_key=sandbox.api_key, run_url=f"{sandbox.url}/runs/{{run_id}}")
    caplog.set_level(logging.INFO, "airflow_provider_wr")

    def lines() -> list[str]:
        return [
            each.getMessage()
            for each in caplog.records
            if each.name.startswith("airflow_provider_wr.") and ".hooks." not in each.name
        ]

    with ThreadPoolExecutor(1) as pool:
        happens = pool.submit(HAPPENS[outcome.happens], Waiting(sandbox, mode, lines))
        done = run_tasks(task(outcome, mode, sandbox))
        happens.result()

    key = "run" if mode in OPERATORS else "return_value"
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


def task(outcome: Outcome, mode: str, sandbox: Sandbox) -> str:
    """Start a run unless the operator does, and return the task that waits for it."""
    with WRHook() as hook:
        hook.update_component(sandbox.components["Quote"], config={"hold": True, **outcome.config})
        run_id = None if mode in OPERATORS else hook.trigger_run().run_id
    if outcome.happens.startswith("refuse_key"):
        sandbox.control.fault("stream", drop_after=1, times=None)
    options = f"task_id='wait', retries=1, timeout=60, {MODES[mode]}, {OPTIONS[outcome.name]}"
    return f"WRRunSensor(run_id={run_id!r}, {options})" if run_id else f"WRTriggerRunOperator({options})"
