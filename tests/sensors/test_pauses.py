"""Airflow's ``poke_interval``, ``exponential_backoff`` and ``max_wait``: the pauses of a sensor that pokes."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import BaseSensorOperator
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS
from dags.running import run_tasks
from hooks.conftest import Serve
from servers import RUN_ID, STREAM_HEAD, Peer, Request, event, run

from airflow_provider_wr.sensors.wr import WRRunSensor

BACKOFF = "poke_interval=1, exponential_backoff=True, timeout=36000"


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that sensors slept for, with a fake sleep."""
    slept: list[float] = []
    airflow = sys.modules[BaseSensorOperator.__module__]
    monkeypatch.setattr(airflow, "time", SimpleNamespace(sleep=slept.append, monotonic=time.monotonic))
    return slept


def poked_until_completed(serve: Serve, pokes: int, options: str) -> None:
    statuses: Iterator[str] = iter(["EXECUTING"] * (pokes - 1))

    def script(request: Request, peer: Peer) -> None:
        if request.is_stream:
            peer.send(STREAM_HEAD, event("COMPLETED"))
            peer.close()
        else:
            peer.answer(200, run(next(statuses, "COMPLETED")))

    serve(script)
    assert run_tasks(f"WRRunSensor(task_id='wait', run_id={RUN_ID!r}, {options})").states == {"wait": "success"}


@pytest.mark.usefixtures("airflow_db")
def test_poke_pauses_for_its_interval(serve: Serve, slept: list[float]) -> None:
    poked_until_completed(serve, 4, "poke_interval=7")
    assert slept == [7, 7, 7]


@pytest.mark.usefixtures("airflow_db")
def test_with_backoff_poke_pauses_for_longer_each_time(serve: Serve, slept: list[float]) -> None:
    poked_until_completed(serve, 8, BACKOFF)
    least = [1, 1, 2, 4, 8, 16, 32]
    assert all(low <= seconds < 2 * low for low, seconds in zip(least, slept, strict=True)), slept


@pytest.mark.usefixtures("airflow_db")
def test_no_pause_is_longer_than_the_longest_that_is_wanted(serve: Serve, slept: list[float]) -> None:
    poked_until_completed(serve, 8, f"{BACKOFF}, max_wait=3")
    assert max(slept) == 3
    assert slept[-4:] == [3, 3, 3, 3]


@pytest.mark.usefixtures("airflow_db")
def test_a_deferred_wait_has_none_of_these_pauses(serve: Serve, slept: list[float]) -> None:
    poked_until_completed(serve, 4, f"{BACKOFF}, deferrable=True")
    assert slept == []


@pytest.mark.skipif(not AIRFLOW_V_3_0_PLUS, reason="Airflow 2 asks its database for the first poke")
@pytest.mark.parametrize("waited", [20, 200, 2000])
def test_with_backoff_reschedule_pauses_for_longer_the_longer_it_waits(serve: Serve, waited: int) -> None:
    serve(lambda request, peer: peer.answer(200, run("EXECUTING")))
    assert waited / 4 < next_pause(waited=waited) < 2 * waited + 5  # each pause is about twice the one before


@pytest.mark.usefixtures("airflow_db")
def test_a_poke_waits_out_what_the_api_asks_for(serve: Serve, slept: list[float]) -> None:
    """But not past the deadline."""
    answers = iter(["0", "30", "2", "1000000"])

    def script(request: Request, peer: Peer) -> None:
        if (seconds := next(answers, None)) is not None:
            peer.answer(429, b"", {"Retry-After": seconds})
        else:
            peer.answer(200, run("COMPLETED"))

    serve(script)
    sensor = f"WRRunSensor(task_id='wait', run_id={RUN_ID!r}, poke_interval=7, timeout=100)"
    assert run_tasks(sensor).states == {"wait": "success"}
    assert slept == [7, 30, 7, pytest.approx(100, abs=5)]


def next_pause(*, waited: float) -> float:
    """Return the seconds after which a sensor that has already waited for a while is rescheduled."""
    from airflow.exceptions import AirflowRescheduleException

    sensor: Any = WRRunSensor(
        task_id="wait", run_id=RUN_ID, mode="reschedule", poke_interval=1, exponential_backoff=True, timeout=36000
    )
    now = datetime.now(timezone.utc)
    first = now - timedelta(seconds=waited)
    ti = SimpleNamespace(
        dag_id="d",
        run_id="r",
        task_id="wait",
        map_index=-1,
        get_first_reschedule_date=lambda context: first,
        xcom_push=lambda **xcom: None,
    )
    with pytest.raises(AirflowRescheduleException) as rescheduled:
        sensor.execute({"ti": ti})
    date: datetime = rescheduled.value.reschedule_date
    return (date - now).total_seconds()
