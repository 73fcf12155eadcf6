"""
Measure how responsive the event loop of a real triggerer process stays with many of our triggers.

One trigger measures how late the loop wakes it; the others wait for runs of the benchmark's server. The same is
measured with as many triggers that do nothing, to see what Airflow itself takes to start and end them.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from statistics import median
from typing import Any

from airflow.executors import workloads
from airflow.jobs.triggerer_job_runner import TriggerRunnerSupervisor
from airflow.models.trigger import Trigger
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_wr.triggers.wr import WRRunTrigger
from benchmarks.blocks import Blocks
from benchmarks.clients import run_ids
from benchmarks.server import serve

TRIGGERS = 1000

#: Number of measurements.
TURNS = 3

#: Seconds over which the events of a run are spread.
SECONDS = 20.0


class TimedRunTrigger(WRRunTrigger):
    """Reports in its event when it fired; ``time.monotonic`` is the same clock for all processes of a machine."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.TimedRunTrigger", super().serialize()[1]

    async def run(self) -> AsyncIterator[TriggerEvent]:
        async for event in super().run():
            assert event.payload["error"] is None, event
            yield TriggerEvent({"run_id": self.run_id, "at": time.monotonic()})


class LateTrigger(BaseTrigger):
    """Reports how late the loop was at most, in seconds, once ``file`` exists; see :class:`Blocks`."""

    def __init__(self, file: str) -> None:
        super().__init__()
        self.file = file

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.LateTrigger", {"file": self.file}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        blocks = Blocks(time.monotonic)
        watching = asyncio.create_task(blocks.watch())
        while not os.path.exists(self.file):
            await asyncio.sleep(0.05)
        watching.cancel()
        late, late_without_gc = blocks.take()
        yield TriggerEvent({"late": late, "late_without_gc": late_without_gc})


class IdleTrigger(BaseTrigger):
    """Does nothing for ``seconds``."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.IdleTrigger", {"seconds": self.seconds}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        await asyncio.sleep(self.seconds)
        yield TriggerEvent({"run_id": None, "at": time.monotonic()})


class _Supervisor(TriggerRunnerSupervisor):
    """Runs the given triggers without a database."""

    def load_triggers(self) -> None:
        pass

    def heartbeat(self) -> None:
        pass

    def add(self, number: int, trigger: BaseTrigger) -> None:
        classpath, kwargs = trigger.serialize()
        encrypted = Trigger.encrypt_kwargs(kwargs)
        self.creating_triggers.append(
            workloads.RunTrigger(id=number, classpath=classpath, encrypted_kwargs=encrypted, ti=None)
        )


def main() -> list[dict[str, Any]]:
    """Run the triggers in a real runner process, print what was seen, and return it: the medians of some turns."""
    turns = [_turn() for _ in range(TURNS)]
    rows = [{"seen": seen, "value": median(turn[seen] for turn in turns)} for seen in turns[0]]
    print(f"{TRIGGERS} triggers in one triggerer | ms")
    for row in rows:
        print(f"{row['seen']} | {row['value']:.1f}")
    return rows


def _turn() -> dict[str, float]:
    """Run our triggers, and then those that do nothing; returns milliseconds."""
    with serve(TRIGGERS, SECONDS) as server:
        os.environ["AIRFLOW_CONN_WR_BENCHMARK"] = json.dumps(
            {"conn_type": "wr", "host": server.url, "password": "ws_benchmark"}
        )
        ours = [
            TimedRunTrigger(run_id=run_id, wr_conn_id="wr_benchmark", confirm_end=False)
            for run_id in run_ids(TRIGGERS)
        ]
        fired, late = _run(ours)
    _, idle = _run([IdleTrigger(SECONDS * (1 + n / TRIGGERS) / 2) for n in range(TRIGGERS)])
    fired_at = {payload["run_id"]: payload["at"] for payload in fired}
    delays = sorted(fired_at[run_id] - sent for run_id, sent in server.ended_at.items())
    seen = {
        "longest block of the event loop": late["late"],
        "of triggers that do nothing": idle["late"],
        "longest block without Python's garbage collector": late["late_without_gc"],
        "of triggers that do nothing, without it": idle["late_without_gc"],
        "terminal event to trigger event, p50": delays[len(delays) // 2],
        "terminal event to trigger event, p99": delays[len(delays) * 99 // 100],
    }
    return {name: seconds * 1e3 for name, seconds in seen.items()}


def _run(triggers: Sequence[BaseTrigger]) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Run the triggers; returns what they fired, and what the LateTrigger beside them did."""
    fired: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        all_ended = os.path.join(folder, "all-ended")
        supervisor = _Supervisor.start(job=None, capacity=len(triggers) + 1, logger=None)
        try:
            for number, trigger in enumerate((LateTrigger(all_ended), *triggers)):
                supervisor.add(number + 1, trigger)
            while True:
                supervisor._service_subprocess(1)
                while supervisor.events:
                    payload = supervisor.events.popleft().event.payload
                    if "late" in payload:
                        return fired, payload
                    fired.append(payload)
                if supervisor.failed_triggers:
                    raise RuntimeError(f"a trigger failed: {supervisor.failed_triggers[0]}")
                if len(fired) == len(triggers):
                    open(all_ended, "w").close()
        finally:
            supervisor.kill(force=True)
