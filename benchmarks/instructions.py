"""
How many instructions a wait takes over TLS, from its start to its end, and how many of them its end takes.

Callgrind counts those of the process, not of the system. They are the same however busy the machine is. What a
process takes for itself, such as its imports, cancels out: a client waits for few runs and for many, and the
difference counts.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from airflow_provider_wr.transport.aiohttp import Endpoint
from benchmarks.clients import CLIENTS, run_ids, warm_up
from benchmarks.server import EVENTS, Server, serve

FEW, MANY = 50, 200

#: Clients to compare; the first is the measure of the others.
NAMES = ("bare", "aiohttp_alone", "ours")

#: Seconds over which the events of a run are spread: a process under Valgrind is some fifty times slower.
SECONDS = 40.0

#: Seconds for a client to finish what it has received.
SETTLE = 10.0


def measure(client: str, runs: int) -> tuple[int, int]:
    """Return the instructions of a process that waits for so many runs: all, and those of the ends alone."""
    with serve(runs, SECONDS, tls=True) as server, tempfile.TemporaryDirectory() as folder:
        server.tell("hold")
        counts = Path(folder) / "counts"
        valgrind = ["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={counts}"]
        python = [sys.executable, "-m", "benchmarks.instructions", client, str(runs), server.url, server.ca or ""]
        with subprocess.Popen([*valgrind, *python], stdout=subprocess.DEVNULL) as process:
            while server.events < runs * (EVENTS - 1):
                if process.poll() is not None:
                    raise RuntimeError("the client has died")
                time.sleep(1)
                server.tell("look")
            time.sleep(SETTLE)
            dump = ["callgrind_control", "--dump", str(process.pid)]
            subprocess.run(dump, check=True, capture_output=True)
            server.tell("end")
        before, end = map(_total, sorted(counts.parent.iterdir(), key=lambda path: path.stat().st_mtime))
    return before + end, end


def _total(counts: Path) -> int:
    found = re.search(r"^(?:summary|totals): (\d+)", counts.read_text(), re.MULTILINE)
    assert found, f"no sum in {counts}"
    return int(found[1])


def main() -> list[dict[str, Any]]:
    """Measure all, print a table, and return its rows."""
    rows: list[dict[str, Any]] = []
    for client in NAMES:
        few, many = measure(client, FEW), measure(client, MANY)
        a_wait, an_end = ((more - less) / (MANY - FEW) / 1e6 for more, less in zip(many, few, strict=True))
        first = rows[0] if rows else {"wait_m": a_wait, "end_m": an_end}
        rows.append(
            {
                "client": client,
                "wait_m": a_wait,
                "wait_ratio": a_wait / first["wait_m"],
                "end_m": an_end,
                "end_ratio": an_end / first["end_m"],
            }
        )
        print(rows[-1], flush=True)
    return rows


def _wait(client: str, runs: int, server: Server) -> None:
    os.environ["AIRFLOW_CONN_WR_WARM_UP"] = json.dumps({"conn_type": "wr", "password": "ws_benchmark"})
    Endpoint.load("wr_warm_up")
    logging.getLogger("airflow_provider_wr").setLevel(logging.WARNING)

    async def run() -> None:
        await warm_up()
        await CLIENTS[client](server, run_ids(runs), lambda run_id: None)

    asyncio.run(run())


if __name__ == "__main__":
    _client, _runs, _url, _ca = sys.argv[1:]
    _wait(_client, int(_runs), Server(_url, _ca))
