"""`make soak`: start runs and wait for them while the API fails at random; none may be lost or doubled.

A sandbox in another process meets one random fault after another. Triggers go through ``WRHook``, each in a
thread; the waits share one event loop, as in a triggerer, half of them through ``WRAsyncHook`` and half through
``WRRunTrigger``. The rules of waiting are the real ones with shorter times, so that minutes hold what hours would.

``SOAK_MINUTES`` says for how long runs are started, 10 by default. ``SOAK_SEED`` draws the faults of an earlier
soak again; which call meets which of them depends on the machine.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import psutil  # type: ignore[import-untyped]

from airflow_provider_wr.exceptions import WRError, WRRateLimitError, WRTriggerUnknownError
from airflow_provider_wr.hooks.wr import WRAsyncHook, WRHook
from airflow_provider_wr.sandbox.client import SandboxControl
from airflow_provider_wr.triggers.wr import WaitEnd, WRRunTrigger
from airflow_provider_wr.waiting import backoff, rules
from dev.demo import start_sandbox
from dev.processes import Processes

CONN_ID = "wr_soak"

#: Number of concurrent waits, and the seconds after which one is considered hung.
WAITS = 150
HUNG = 180.0

#: Maximum number of runs, since the sandbox keeps them all.
MOST_WANTED = 20_000

#: The sandbox: a run takes ten seconds, a heartbeat comes each second.
SANDBOX = ("--speed", "0.08", "--heartbeat", "1")

#: Shorter timeouts for waiting, in seconds.
TIMES = {"SILENCE": 4.0, "MAX_QUIET": 12.0, "STABLE_AFTER": 5.0}
MAX_PAUSE = 4.0

#: Seconds between two faults, and the maximum number of pending faults.
BETWEEN_FAULTS = (0.02, 0.3)
MOST_FAULTS = 40

#: Maximum growth of memory in MiB after the warm-up, which is the first fifth.
GROWTH = 16.0
WARM_UP = 0.2

#: The faults for any call, by name; each draw picks one, for a few calls.
OF_ANY: dict[str, dict[str, Any]] = {
    "500": {"status": 500},
    "503": {"status": 503, "retry_after": "1"},
    "429": {"status": 429, "retry_after": "1"},
    "html": {"html": True},
    "reset": {"reset": True},
    "delay": {"delay": 1.5},
    "drift": {"drift": True},
}
OF_STREAMS: dict[str, dict[str, Any]] = {
    **OF_ANY,
    "drop": {"drop_after": 1},
    "drop at once": {"drop_after": 0},
    "silent": {"silent": True},
    "lose_terminal": {"lose_terminal": True},
}
OF_TRIGGERS: dict[str, dict[str, Any]] = {
    **OF_ANY,
    **{f"obeyed, {name}": {**OF_ANY[name], "obey": True} for name in ("500", "503", "html", "reset")},
    "finish_first": {"finish_first": True},
}
FAULTS = {"trigger": OF_TRIGGERS, "get_run": OF_ANY, "stream": OF_STREAMS}

#: The faults after which the outcome of a trigger is unknown.
IN_DOUBT = ("500", "503", "html", "reset")


@dataclass
class Seen:
    """The client's statistics."""

    wanted: int = 0
    unknown: int = 0
    refused: int = 0
    run_ids: list[str] = field(default_factory=list)
    ended: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    memory: list[tuple[float, float]] = field(default_factory=list)
    """Seconds since the start, and MiB."""

    def memory_in(self, begin: float, end: float) -> float:
        return median([mib for at, mib in self.memory if begin <= at <= end] or [0.0])


class Faults:
    """Adds random faults, and counts the calls that each has affected."""

    def __init__(self, control: SandboxControl, seed: int) -> None:
        self._control = control
        self._random = random.Random(seed)  # noqa: S311 - no secret
        self._added: Counter[tuple[str, str]] = Counter()
        self._are_over = False

    async def go_on(self) -> None:
        """Run until `end`."""
        while not self._are_over:
            await asyncio.sleep(self._random.uniform(*BETWEEN_FAULTS))
            endpoint = self._random.choice(list(FAULTS))
            name = self._random.choice(list(FAULTS[endpoint]))
            times = self._random.randint(1, 4)
            if sum((await asyncio.to_thread(self._left)).values()) < MOST_FAULTS:
                await asyncio.to_thread(self._add, endpoint, name, times)

    def end(self) -> None:
        self._are_over = True

    def met(self) -> Counter[tuple[str, str]]:
        """Return how many calls each fault has affected, by endpoint and name."""
        return self._added - self._left()

    def _add(self, endpoint: str, name: str, times: int) -> None:
        self._control.fault(endpoint, times=times, **FAULTS[endpoint][name])
        self._added[endpoint, name] += times

    def _left(self) -> Counter[tuple[str, str]]:
        left: Counter[tuple[str, str]] = Counter()
        for fault in self._control.faults():
            for name, settings in FAULTS[fault.endpoint].items():
                if type(fault)(fault.endpoint, times=fault.times, **settings) == fault:
                    left[fault.endpoint, name] += fault.times or 0
        return left


async def journey(number: int, seen: Seen) -> None:
    """Start a run, and wait for it."""
    seen.wanted += 1
    try:
        run_id = await asyncio.to_thread(_trigger)
    except WRTriggerUnknownError:
        seen.unknown += 1
        return
    except WRRateLimitError:  # each attempt had a fault
        seen.refused += 1
        return
    seen.run_ids.append(run_id)
    try:
        seen.ended[await (_wait if number % 2 else _wait_in_trigger)(run_id)] += 1
    except WRError as error:
        seen.errors.append(f"run {run_id}: {error}")


def _trigger() -> str:
    with WRHook(CONN_ID) as hook:
        return hook.trigger_run().run_id


async def _wait(run_id: str) -> str:
    async with WRAsyncHook(CONN_ID) as hook:
        run = await hook.wait_for_run(run_id, timeout=HUNG)
    if run.id != run_id:
        raise WRError(f"the wait ended with run {run.id}")
    return str(run.status)


async def _wait_in_trigger(run_id: str) -> str:
    # The event has no status: only that the run has ended, or an error.
    trigger = WRRunTrigger(run_id=run_id, wr_conn_id=CONN_ID, deadline=time.time() + HUNG)
    ends = [WaitEnd.from_event(event.payload) async for event in trigger.run()]
    if len(ends) != 1 or ends[0].id != run_id:
        raise WRError(f"the trigger sent {ends}")
    if ends[0].error is not None:
        raise ends[0].error
    return "in the triggerer"


async def soak(seconds: float, faults: Faults, seen: Seen) -> int:
    """
    Keep `WAITS` journeys running for some seconds, and let them end.

    Returns the number of tasks left on the event loop.
    """
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(16))
    begin = time.monotonic()
    injecting = asyncio.create_task(faults.go_on())
    sampling = asyncio.create_task(_sample(begin, seen))
    under_way: set[asyncio.Task[None]] = set()
    shown = begin
    while (now := time.monotonic()) < begin + seconds and seen.wanted < MOST_WANTED:
        while len(under_way) < WAITS and seen.wanted < MOST_WANTED:
            under_way.add(asyncio.create_task(journey(seen.wanted, seen)))
            await asyncio.sleep(0.02)
        done, under_way = await asyncio.wait(under_way, timeout=1, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        if now - shown >= 60:
            shown = now
            print(f"{now - begin:5.0f} s: {_line(seen)}", flush=True)
    faults.end()
    await injecting
    await asyncio.gather(*under_way)
    sampling.cancel()
    with suppress(asyncio.CancelledError):
        await sampling
    await asyncio.sleep(1)  # for connections that close a little later
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        print(f"left over: {task}")
    return len(left)


async def _sample(begin: float, seen: Seen) -> None:
    process = psutil.Process()
    while True:
        gc.collect()
        seen.memory.append((time.monotonic() - begin, process.memory_info().rss / 2**20))
        await asyncio.sleep(2)


def _line(seen: Seen) -> str:
    memory = seen.memory[-1][1] if seen.memory else 0.0
    return f"{seen.wanted} wanted, {len(seen.run_ids)} started, {seen.ended.total()} ended, {memory:.0f} MiB"


def verdict(
    seconds: float, control: SandboxControl, faults: Faults, seen: Seen, left: int, descriptors: int
) -> bool:
    """Print actual and expected results, and return whether they match."""
    met = faults.met()
    runs = control.runs()
    ended_there = sum(run["status"] == "COMPLETED" for run in runs)
    posts = sum(request["endpoint"] == "trigger" for request in control.requests())
    doubted = sum(met["trigger", name] + met["trigger", f"obeyed, {name}"] for name in IN_DOUBT)
    hidden = sum(met["trigger", f"obeyed, {name}"] for name in IN_DOUBT)
    started = len(seen.run_ids)
    warm = seen.memory_in(seconds * WARM_UP, seconds * WARM_UP + 20)
    end = seen.memory_in(seconds - 20, seconds)

    def is_at_most(value: float, limit: float) -> tuple[float, str, bool]:
        return value, f"at most {limit:g}", value <= limit

    def is_equal(value: float, right: float) -> tuple[float, str, bool]:
        return value, f"{right:g}", value == right

    rows = {
        "runs wanted": (seen.wanted, "above 0", seen.wanted > 0),
        "known to be started": is_equal(started, seen.wanted - seen.unknown - seen.refused),
        "… each another run": is_equal(len(set(seen.run_ids)), started),
        "… waited for to the end": is_equal(seen.ended.total(), started),
        "… of them in the triggerer": (seen.ended["in the triggerer"], "", True),
        "refused, 429 at each attempt": (seen.refused, "", True),
        "outcome unknown": is_equal(seen.unknown, doubted),
        "runs in the sandbox": is_equal(len(runs), started + hidden),
        "… which came to their end": is_equal(ended_there, len(runs)),
        "trigger requests": is_equal(posts, started + seen.unknown + met["trigger", "429"]),
        "errors of waits": is_equal(len(seen.errors), 0),
        "calls that met a fault": (met.total(), "above 0", met.total() > 0),
        "tasks left": is_equal(left, 0),
        "open files more than before": is_at_most(psutil.Process().num_fds() - descriptors, 10),
        "MiB after the warm-up": (round(warm, 1), "", True),
        "MiB at the end": is_at_most(round(end, 1), round(warm + GROWTH, 1)),
    }
    for error in seen.errors[:20]:
        print(error)
    print(f"\n{'':<32}{'is':>10}  should be")
    for what, (value, right, is_right) in rows.items():
        print(f"{what:<32}{value:>10}  {right}{'' if is_right else '   <-- WRONG'}")
    print("\nFaults met: " + ", ".join(f"{' '.join(key)} {count}" for key, count in sorted(met.items())))
    return all(is_right for *_, is_right in rows.values())


def main() -> int:
    """Soak, and return the exit status."""
    minutes = float(os.environ.get("SOAK_MINUTES") or 10)
    seed = int(os.environ.get("SOAK_SEED") or random.SystemRandom().randrange(2**32))
    print(f"SOAK_MINUTES={minutes:g} SOAK_SEED={seed}, {WAITS} waits at a time", flush=True)
    random.seed(seed)
    for name, value in TIMES.items():
        setattr(rules, name, value)
    backoff.MAX_PAUSE = MAX_PAUSE
    logging.getLogger("airflow_provider_wr").setLevel(logging.ERROR)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="wr-soak-") as folder, Processes(Path(folder)) as processes:
        sandbox = start_sandbox(processes, *SANDBOX)
        os.environ[f"AIRFLOW_CONN_{CONN_ID.upper()}"] = json.dumps(sandbox.connection())
        control = SandboxControl(sandbox.url)
        faults, seen = Faults(control, seed), Seen()
        descriptors = psutil.Process().num_fds()
        left = asyncio.run(soak(minutes * 60, faults, seen))
        is_well = verdict(minutes * 60, control, faults, seen, left, descriptors)
        control.close()
    print("\nThe soak went well." if is_well else "\nThe soak found faults.")
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
