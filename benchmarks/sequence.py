"""
Does memory grow? 20 000 waits over TLS, one after the other, 50 at a time; each has its own connection.

Memory is looked at after each tenth of them: the first tenth fills caches.
"""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from typing import Any

from benchmarks.clients import CLIENTS, warm_up
from benchmarks.server import ENDED, Server, serve
from benchmarks.waiting import resident_kb

WAITS = 20_000
AT_A_TIME = 50


async def _wait(server: Server) -> list[int]:
    logging.getLogger("airflow_provider_wr").setLevel(logging.ERROR)
    await warm_up()
    run_ids = iter([f"{ENDED}-0000-4000-8000-{number:012d}" for number in range(WAITS)])
    done = 0
    seen: list[int] = []

    def ended(run_id: str) -> None:
        nonlocal done
        done += 1
        if done % (WAITS // 10) == 0:
            seen.append(resident_kb())

    async def one_after_the_other() -> None:
        for run_id in run_ids:
            await CLIENTS["ours"](server, [run_id], ended)

    await asyncio.gather(*(one_after_the_other() for _ in range(AT_A_TIME)))
    return seen


def main() -> list[dict[str, Any]]:
    """Measure, print a table, and return its rows."""
    with serve(0, tls=True) as server:
        command = [sys.executable, "-m", "benchmarks.sequence", server.url, server.ca or ""]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=900)
    seen = json.loads(done.stdout.splitlines()[-1])
    rows = [{"waits": WAITS * tenth // 10, "memory_kb": memory} for tenth, memory in enumerate(seen, 1)]
    for row in rows:
        print(f"{row['waits']} | {row['memory_kb']}")
    return rows


if __name__ == "__main__":
    _url, _ca = sys.argv[1:]
    print(json.dumps(asyncio.run(_wait(Server(_url, _ca or None)))))
