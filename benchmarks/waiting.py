"""
The cost of waiting for many runs in one process: CPU, memory, delay, connections and requests.

The clients take turns in one go, each in a fresh process and for the same runs; the server is in another. A row is
the median of three turns, column by column: a machine has other things to do.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from statistics import median
from typing import Any

from airflow_provider_wr.transport.aiohttp import Endpoint
from airflow_provider_wr.triggers import wr as triggers
from benchmarks.clients import CLIENTS
from benchmarks.server import EVENTS, serve

RUNS = (100, 500, 2000, 5000)

#: Seconds over which the events of a run are spread.
SECONDS = 12.0

#: Maximum number of runs for clients with a thread or a session for each run.
MOST_OF_THEIR_OWN = 500

#: Number of measurements of each client.
TURNS = 3


@dataclass(frozen=True)
class Result:
    """
    The cost of one client.

    :param cpu_us: microseconds of CPU for each event.
    :param memory_kb: resident memory for each run, in kB.
    :param p50_ms: milliseconds from the terminal event to the end of the wait, median; ``p99_ms`` likewise.
    :param connections: for each run; ``requests`` likewise.
    """

    client: str
    runs: int
    cpu_us: float
    memory_kb: float
    p50_ms: float
    p99_ms: float
    connections: float
    requests: float


def measure(client: str, runs: int) -> Result:
    """Measure one client in a new process."""
    with serve(runs, SECONDS) as server:
        command = [sys.executable, "-m", "benchmarks.waiting", client, str(runs), server.url]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=600)
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    delays = sorted(seen["ended_at"][run_id] - sent for run_id, sent in server.ended_at.items())
    return Result(
        client,
        runs,
        cpu_us=seen["cpu"] / runs / EVENTS * 1e6,
        memory_kb=seen["memory_kb"] / runs,
        p50_ms=delays[len(delays) // 2] * 1e3,
        p99_ms=delays[len(delays) * 99 // 100] * 1e3,
        connections=server.connections / runs,
        requests=server.requests / runs,
    )


def _wait(client: str, runs: int, url: str) -> dict[str, Any]:
    run_ids = [f"9e4c7b1a-0000-4000-8000-{number:012d}" for number in range(runs)]
    ended_at: dict[str, float] = {}

    def ended(run_id: str) -> None:
        ended_at[run_id] = time.monotonic()

    # Load lazily imported modules first. Logging is off, since its cost depends on the user's configuration.
    os.environ["AIRFLOW_CONN_WR_WARM_UP"] = json.dumps({"conn_type": "wr", "password": "ws_benchmark"})
    Endpoint.load("wr_warm_up")
    asyncio.run(triggers.load_hooks())
    logging.getLogger("airflow_provider_wr").setLevel(logging.WARNING)

    gc.collect()
    gc.freeze()
    before, cpu = _resident_kb(), time.process_time()
    asyncio.run(CLIENTS[client](url, run_ids, ended))
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"cpu": time.process_time() - cpu, "memory_kb": peak_kb - before, "ended_at": ended_at}


def _resident_kb() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def _median(results: Sequence[Result]) -> Result:
    """Return the median of each column."""
    client, runs, *_ = astuple(results[0])
    return Result(client, runs, *map(median, zip(*(astuple(result)[2:] for result in results), strict=True)))


def main() -> list[dict[str, Any]]:
    """Measure all, print a table, and return its rows."""
    rows = []
    heads = ("client", "runs", "CPU µs/event", "kB/run", "p50 ms", "p99 ms", "connections/run", "requests/run")
    print(" | ".join(heads))
    for runs in RUNS:
        clients = [client for client in CLIENTS if client not in ("own", "threads") or runs <= MOST_OF_THEIR_OWN]
        turns = [[measure(client, runs) for client in clients] for _ in range(TURNS)]
        for results in zip(*turns, strict=True):
            row = asdict(_median(results))
            rows.append(row)
            print(" | ".join(f"{value:.1f}" if isinstance(value, float) else str(value) for value in row.values()))
    return rows


if __name__ == "__main__":
    _client, _runs, _url = sys.argv[1:]
    print(json.dumps(_wait(_client, int(_runs), _url)))
