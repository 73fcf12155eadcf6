"""
What happens over TLS when a triggerer starts with 2000 waits, and when all their streams are cut at once.

The server notes each connection and each request. The client notes the longest block of its event loop as CPU time
of its thread: what else the machine does takes time, and is no block.
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from benchmarks.blocks import Blocks
from benchmarks.clients import CLIENTS, run_ids, warm_up
from benchmarks.server import Server, serve
from benchmarks.talk import answer, ask
from benchmarks.turns import show, spread

RUNS = 2000
TURNS = 5


def measure() -> list[dict[str, Any]]:
    """Return what was seen at the start, and after all streams were cut."""
    rows = []
    with serve(RUNS, beat=15.0, tls=True) as server:
        command = [sys.executable, "-m", "benchmarks.storm", server.url, server.ca or ""]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            ask(process, "load")
            for what, command_ in (("start", "look"), ("cut", "cut")):
                server.tell(command_)
                before, begin = (len(server.connected_at), len(server.requested_at)), time.monotonic()
                if what == "start":
                    ask(process, "start")
                server.tell(f"open {RUNS}")
                back = time.monotonic() - begin
                time.sleep(5)  # is there a second wave?
                server.tell("look")
                longest, longest_without_gc = ask(process, "look")
                rows.append(
                    {
                        "back_s": back,
                        "handshakes": len(server.connected_at) - before[0],
                        "handshakes_s": _most_in_a_second(server.connected_at[before[0] :]),
                        "requests": len(server.requested_at) - before[1],
                        "requests_s": _most_in_a_second(server.requested_at[before[1] :]),
                        "block_ms": longest * 1e3,
                        "block_without_gc_ms": longest_without_gc * 1e3,
                    }
                )
            process.kill()
    return rows


def _most_in_a_second(times: Sequence[float]) -> int:
    return max(Counter(map(int, times)).values(), default=0)


async def _wait(server: Server) -> None:
    logging.getLogger("airflow_provider_wr").setLevel(logging.ERROR)
    await warm_up()
    blocks = Blocks(time.thread_time)
    tasks: list[asyncio.Task[None]] = []
    while line := await asyncio.to_thread(sys.stdin.readline):
        if line.startswith("start"):
            tasks.append(asyncio.create_task(blocks.watch()))
            tasks.append(asyncio.create_task(CLIENTS["ours"](server, run_ids(RUNS), lambda run_id: None)))
        answer(blocks.take())
    for task in tasks:
        task.cancel()


def main() -> list[dict[str, Any]]:
    """Measure, print a table, and return its rows."""
    turns = [measure() for _ in range(TURNS)]
    rows = [
        {"what": what, **spread(results)}
        for what, results in zip(("start", "cut"), zip(*turns, strict=True), strict=True)
    ]
    for row in rows:
        print(" | ".join(f"{key} {show(value)}" for key, value in row.items()), flush=True)
    return rows


if __name__ == "__main__":
    _url, _ca = sys.argv[1:]
    asyncio.run(_wait(Server(_url, _ca or None)))
