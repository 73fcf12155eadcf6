"""
What a wait costs while nothing happens, over TLS: an hour of heartbeats at a hundred times the speed.

The API sends a heartbeat every 15 seconds, 240 in an hour. The clients take turns, each in a fresh process.
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from typing import Any

from benchmarks.clients import CLIENTS, run_ids, warm_up
from benchmarks.server import Server, serve
from benchmarks.talk import answer, ask
from benchmarks.turns import show, spread
from benchmarks.waiting import resident_kb

RUNS = 2000
SPEED = 100
BEATS = 240
TURNS = 3

#: Clients to compare.
NAMES = ("bare", "aiohttp_alone", "ours")


def measure(client: str) -> dict[str, float]:
    """Return microseconds of CPU for each heartbeat, and the growth of memory in kB over the hour."""
    with serve(RUNS, beat=15 / SPEED, tls=True) as server:
        command = [sys.executable, "-m", "benchmarks.idle", client, server.url, server.ca or ""]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

            def look() -> tuple[float, int, int]:
                cpu, memory_kb = ask(process, "look")
                server.tell("look")
                return cpu, memory_kb, server.beats

            server.tell(f"open {RUNS}")
            time.sleep(3)
            cpu, memory_kb, beats = look()
            until = time.monotonic() + 120
            while server.beats - beats < RUNS * BEATS and time.monotonic() < until:
                time.sleep(1)
                server.tell("look")
            time.sleep(1)
            cpu_after, memory_after, beats_after = look()
            process.kill()
    sent = beats_after - beats
    return {"cpu_us": (cpu_after - cpu) / sent * 1e6, "growth_kb": memory_after - memory_kb, "beats": sent / RUNS}


async def _wait(client: str, server: Server) -> None:
    logging.getLogger("airflow_provider_wr").setLevel(logging.ERROR)
    await warm_up()
    waiting = asyncio.create_task(CLIENTS[client](server, run_ids(RUNS), lambda run_id: None))
    while await asyncio.to_thread(sys.stdin.readline):
        answer([time.process_time(), resident_kb()])
    waiting.cancel()


def main() -> list[dict[str, Any]]:
    """Measure all, print a table, and return its rows."""
    turns = [[measure(client) for client in NAMES] for _ in range(TURNS)]
    rows = [
        {"client": client, **spread(results)}
        for client, results in zip(NAMES, zip(*turns, strict=True), strict=True)
    ]
    for row in rows:
        print(" | ".join(f"{key} {show(value)}" for key, value in row.items()), flush=True)
    return rows


if __name__ == "__main__":
    _client, _url, _ca = sys.argv[1:]
    asyncio.run(_wait(_client, Server(_url, _ca or None)))
