"""
What it costs to wait for many runs in one process, plain and over TLS: CPU, memory, delay and requests.

The clients take turns in one go, each in a fresh process and for the same runs; the server is in another. A row
has the median of the turns, column by column, and their least and most: a machine has other things to do.
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
from itertools import product
from typing import Any

from airflow_provider_wr.transport.aiohttp import Endpoint
from benchmarks.clients import CLIENTS, run_ids, warm_up
from benchmarks.server import EVENTS, Server, serve
from benchmarks.turns import show, spread

RUNS = (500, 2000)

#: Seconds over which the events of a run are spread.
SECONDS = 6.0

#: How often each client is measured.
TURNS = 5


def measure(client: str, runs: int, *, tls: bool) -> dict[str, float]:
    """
    Measure one client in a process of its own.

    Returns microseconds of CPU for each event and for the end of each wait, kB of resident memory for each run,
    milliseconds from the terminal event to the end of the wait, and connections and requests for each run.
    """
    with serve(runs, SECONDS, tls=tls) as server:
        command = [sys.executable, "-m", "benchmarks.waiting", client, str(runs), server.url, server.ca or ""]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=600)
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    delays = sorted(seen["ended_at"][run_id] - sent for run_id, sent in server.ended_at.items())
    first_end = min(server.ended_at.values())
    before_ends = max(cpu for at, cpu in seen["cpu"] if at <= first_end)
    cpu = seen["cpu"][-1][1]
    return {
        "cpu_us": cpu / runs / EVENTS * 1e6,
        "end_us": (cpu - before_ends) / runs * 1e6,
        "memory_kb": seen["memory_kb"] / runs,
        "p50_ms": delays[len(delays) // 2] * 1e3,
        "p99_ms": delays[len(delays) * 99 // 100] * 1e3,
        "connections": server.connections / runs,
        "requests": server.requests / runs,
    }


def wait(client: str, runs: int, server: Server) -> dict[str, Any]:
    ended_at: dict[str, float] = {}

    def ended(run_id: str) -> None:
        ended_at[run_id] = time.monotonic()

    # What is loaded on first use belongs to no run; a line in the log costs what the user's logging costs.
    os.environ["AIRFLOW_CONN_WR_WARM_UP"] = json.dumps({"conn_type": "wr", "password": "ws_benchmark"})
    Endpoint.load("wr_warm_up")
    asyncio.run(warm_up())
    logging.getLogger("airflow_provider_wr").setLevel(logging.WARNING)

    gc.collect()
    gc.freeze()
    before, start = resident_kb(), time.process_time()
    cpu: list[tuple[float, float]] = []

    def sample() -> None:
        cpu.append((time.monotonic(), time.process_time() - start))

    async def run() -> None:
        async def sample_often() -> None:
            while True:
                sample()
                await asyncio.sleep(0.02)

        sampling = asyncio.create_task(sample_often())
        await CLIENTS[client](server, run_ids(runs), ended)
        sampling.cancel()

    asyncio.run(run())
    sample()
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"cpu": cpu, "memory_kb": peak_kb - before, "ended_at": ended_at}


def resident_kb() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def main() -> list[dict[str, Any]]:
    """Measure all, print a table, and return its rows."""
    return [row for tls, runs in product((False, True), RUNS) for row in compare(runs, tls=tls)]


def compare(runs: int, *, tls: bool) -> list[dict[str, Any]]:
    """Measure every client in turn, several times."""
    turns = [[measure(client, runs, tls=tls) for client in CLIENTS] for _ in range(TURNS)]
    rows: list[dict[str, Any]] = []
    for client, results in zip(CLIENTS, zip(*turns, strict=True), strict=True):
        rows.append({"client": client, "tls": tls, "runs": runs, **spread(results)})
        print(" | ".join(f"{key} {show(value)}" for key, value in rows[-1].items()), flush=True)
    return rows


if __name__ == "__main__":
    _client, _runs, _url, _ca = sys.argv[1:]
    print(json.dumps(wait(_client, int(_runs), Server(_url, _ca or None))))
