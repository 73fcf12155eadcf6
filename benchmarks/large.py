"""For how long 500 waits are blocked while another wait reads a run of 5000 stages and 12 MB, over TLS."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from typing import Any

from benchmarks.blocks import Blocks
from benchmarks.clients import CLIENTS, run_ids, warm_up
from benchmarks.server import LARGE, Server, serve
from benchmarks.talk import answer, ask
from benchmarks.turns import show, spread

WAITS = 500
TURNS = 5

#: Seconds for which the loop is watched without the large run.
WATCHED = 5.0


def measure() -> dict[str, float]:
    """Return the longest block without the large run and with it, in milliseconds."""
    with serve(WAITS, beat=15.0, tls=True) as server:
        command = [sys.executable, "-m", "benchmarks.large", server.url, server.ca or ""]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            ask(process, "start")
            server.tell(f"open {WAITS}")
            time.sleep(3)
            ask(process, "look")
            time.sleep(WATCHED)
            without, without_gc = ask(process, "look")
            large, large_without_gc = ask(process, "large")
            process.kill()
    return {
        "block_ms": without * 1e3,
        "block_large_ms": large * 1e3,
        "more_ms": (large - without) * 1e3,
        "more_without_gc_ms": (large_without_gc - without_gc) * 1e3,
    }


def main() -> list[dict[str, Any]]:
    """Measure, print a table, and return its row."""
    row = spread([measure() for _ in range(TURNS)])
    print(" | ".join(f"{key} {show(value)}" for key, value in row.items()))
    return [row]


async def _wait(server: Server) -> None:
    logging.getLogger("airflow_provider_wr").setLevel(logging.ERROR)
    await warm_up()
    # A block by another thread, such as one that decodes the run, is one, too.
    blocks = Blocks(time.monotonic)
    tasks: list[asyncio.Task[None]] = []
    while line := await asyncio.to_thread(sys.stdin.readline):
        match line.strip():
            case "start":
                tasks.append(asyncio.create_task(blocks.watch()))
                tasks.append(asyncio.create_task(CLIENTS["ours"](server, run_ids(WAITS), lambda run_id: None)))
            case "large":
                await CLIENTS["ours"](server, [f"{LARGE}-0000-4000-8000-{0:012d}"], lambda run_id: None)
        answer(blocks.take())
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    _url, _ca = sys.argv[1:]
    asyncio.run(_wait(Server(_url, _ca or None)))
