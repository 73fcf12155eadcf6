"""
Overlapping DAG runs, each with its own value of a config that all runs share.

With a setting that keeps them apart, each run has the value of its own task. Without one, a warning comes when the
DAG is parsed, and an update that could reach the run of another is not sent.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from airflow_provider_wr.hooks.wr import WRHook
from dev.local_airflow import LocalAirflow

from .conftest import PrintTable
from .dagrun import DagRun, shared_api
from .rabbit import Rabbit

#: Pools: number of slots, and whether deferred tasks count.
POOLS = {"wr_one": (1, True), "wr_fan_out": (1, True), "wr_two": (2, True), "wr_not_deferred": (1, False)}

#: The DAGs with a setting that prevents overlaps, and how many runs of each are started at once.
IN_TURN = {
    "turns_max_active_runs": 4,
    "turns_pool": 20,
    "turns_task_limit": 4,
    "separate_turns": 4,
    "fan_out_turns_limit": 1,
    "fan_out_turns_pool": 1,
}

#: The same for DAGs without one, or with a wrong one.
OVERLAP = {
    "overlap": 4,
    "overlap_allowed": 4,
    "overlap_pool_of_two": 4,
    "overlap_pool_without_deferred": 4,
    "separate_overlap": 4,
    "fan_out_overlap": 1,
}

#: DAGs that warn when they are parsed; a wrong pool is detected only when the tasks run.
WARNED = {"overlap", "separate_overlap", "fan_out_overlap"}

ENDED = ("success", "failed")

#: Timeout in seconds for everything: 20 sequential tasks, each of which is started twice.
PATIENCE = 900.0

REFUSED = "nothing was sent, since "


class Payment(NamedTuple):
    """The result of one task: its state, its requested payments and those of its run, None without a run."""

    state: str
    asked: int
    paid: int | None
    log: str


class Overlap(NamedTuple):
    """All runs of a DAG, started at once in their own sandbox."""

    rabbit: Rabbit
    payments: list[Payment]

    @property
    def refused(self) -> list[Payment]:
        return [each for each in self.payments if REFUSED in each.log]


def play(airflow: LocalAirflow, dag_id: str, runs: int, rabbit: Rabbit) -> Overlap:
    """Start DAG runs that ask for 1, 2, 3 … payments, and wait for all of them."""
    # Long enough for unprotected tasks to overlap, also on a slow machine.
    rabbit.configure(seconds=2 if dag_id in IN_TURN else 20)
    dag_runs = [DagRun(airflow, dag_id, conn_id=rabbit.conn_id, count=n) for n in range(1, runs + 1)]
    for dag_run in dag_runs:
        ended = f"the end of {dag_id} {dag_run.run_id}"
        shared_api(airflow.url).wait_for(lambda it=dag_run: it.state() in ENDED, PATIENCE, ended, 2)
    payments = [payment for n, dag_run in enumerate(dag_runs, 1) for payment in _payments(dag_run, n, rabbit)]
    return Overlap(rabbit, payments)


def _payments(dag_run: DagRun, count: int, rabbit: Rabbit) -> list[Payment]:
    payments = []
    tasks = {(task["task_id"], task["map_index"]): task for task in dag_run.tasks()}
    for (task_id, index), task in tasks.items():
        if task_id == "pay":
            run_id = dag_run.xcom("pay", "run_id", index)
            updater = "update" if ("update", -1) in tasks else "pay"
            log = dag_run.log_files(updater, 1, map_index=index)
            asked = index + 1 if index >= 0 else count
            payments.append(Payment(task["state"], asked, run_id and _paid(rabbit, run_id), log))
    return payments


def _paid(rabbit: Rabbit, run_id: str) -> int:
    with WRHook(rabbit.conn_id) as hook:
        return [stage.module for stage in hook.get_run(run_id).stages].count("SEND_EVM_TRANSACTION")


@pytest.fixture(scope="module")
def overlaps(
    airflow: LocalAirflow, take_rabbit: Callable[[], Rabbit], print_table: PrintTable
) -> dict[str, Overlap]:
    """All DAGs, at the same time."""
    for name, (slots, include_deferred) in POOLS.items():
        shared_api(airflow.url).make_pool(name, slots, include_deferred=include_deferred)
    with ThreadPoolExecutor() as pool:
        futures = {
            dag_id: pool.submit(play, airflow, dag_id, runs, take_rabbit())
            for dag_id, runs in (IN_TURN | OVERLAP).items()
        }
    overlaps = {dag_id: future.result() for dag_id, future in futures.items()}
    print_table(
        "Runs that share a config: payments asked for → payments of the run",
        ("DAG", "refused", "asked → paid"),
        [
            (dag_id, len(overlap.refused), ", ".join(f"{each.asked}→{each.paid}" for each in overlap.payments))
            for dag_id, overlap in overlaps.items()
        ],
    )
    return overlaps


@pytest.mark.parametrize("dag_id", IN_TURN)
def test_runs_that_take_turns_have_their_own_values(dag_id: str, overlaps: dict[str, Overlap]) -> None:
    payments = overlaps[dag_id].payments

    assert [(each.state, each.paid) for each in payments] == [("success", each.asked) for each in payments]
    assert len(payments) == max(IN_TURN[dag_id], 20 * dag_id.startswith("fan_out"))
    assert len(overlaps[dag_id].rabbit.control.runs()) == len(payments)


@pytest.mark.parametrize("dag_id", OVERLAP.keys() - {"overlap_allowed"})
def test_no_run_that_overlaps_has_the_value_of_another(dag_id: str, overlaps: dict[str, Overlap]) -> None:
    overlap = overlaps[dag_id]

    assert overlap.refused
    assert {each.paid for each in overlap.refused} == {None}
    for payment in overlap.payments:
        assert payment in overlap.refused or (payment.state, payment.paid) == ("success", payment.asked)
    assert len(overlap.rabbit.control.runs()) + len(overlap.refused) == len(overlap.payments)


def test_an_overlap_that_is_allowed_is_not_refused(overlaps: dict[str, Overlap]) -> None:
    overlap = overlaps["overlap_allowed"]

    assert {each.state for each in overlap.payments} == {"success"}
    assert [each.paid for each in overlap.payments] != [each.asked for each in overlap.payments]


@pytest.mark.parametrize("dag_id", [*IN_TURN, *OVERLAP])
def test_the_dag_processor_warns_of_what_may_overlap(dag_id: str, airflow: LocalAirflow) -> None:
    logs = (airflow.home / "logs" / "dag_processor").rglob("*.log")
    warnings = [line for log in logs for line in log.read_text().splitlines() if f"DAG {dag_id}: " in line]

    assert bool(warnings) == (dag_id in WARNED)
    assert all("updates may overlap" in each and "shared_config.py" in each for each in warnings)


def test_every_update_is_logged_without_its_values(overlaps: dict[str, Overlap]) -> None:
    logs = [each.log for overlap in overlaps.values() for each in overlap.payments if each.paid is not None]

    assert all("Updated component c0ffee00-1111-4222-8333-944455556668: config count" in log for log in logs)
