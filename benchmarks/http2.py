"""
An experiment: would HTTP/2 make a wait cheaper? ``python -m benchmarks http2`` needs nginx and the package ``h2``.

nginx stands before the server and speaks TLS with both versions of HTTP. Over it, ``WRRunTrigger`` waits with a
connection for each stream, and ``httpx`` with 90 streams on each connection. It allows 100, and lets one more wait
for its turn on the same connection, which with streams that stay open never comes: so each client gets no more.
"""

from __future__ import annotations

import asyncio
import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.clients import CLIENTS, PATH, Ended, context
from benchmarks.server import EVENTS, Server, serve
from benchmarks.turns import show, spread
from benchmarks.waiting import SECONDS, wait
from tests.certificates import self_signed
from tests.servers import free_port

RUNS = 500

#: Streams on each connection.
STREAMS = 90
TURNS = 5

_CONFIG = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/errors crit;
events {{ worker_connections 8192; }}
http {{
    access_log off; keepalive_requests 100000;  # of the default, 1000, httpx fails
    client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
    uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
    upstream api {{ server {api}; keepalive 64; }}
    server {{
        listen 127.0.0.1:{port} ssl http2 backlog=4096;
        ssl_certificate {folder}/ca.pem; ssl_certificate_key {folder}/key.pem;
        location / {{
            proxy_pass http://api; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
            proxy_read_timeout 600;
        }}
    }}
}}
"""


@contextmanager
def nginx(server: Server) -> Iterator[Server]:
    """Put nginx before a server."""
    with tempfile.TemporaryDirectory() as folder:
        self_signed(Path(folder))
        port = free_port()
        config = Path(folder) / "nginx.conf"
        config.write_text(_CONFIG.format(folder=folder, port=port, api=urlsplit(server.url).netloc))
        with subprocess.Popen([shutil.which("nginx") or "nginx", "-c", config, "-p", folder]) as process:
            time.sleep(1)
            try:
                yield Server(f"https://127.0.0.1:{port}", f"{folder}/ca.pem")
            finally:
                process.terminate()


async def http2(server: Server, run_ids: Sequence[str], ended: Ended) -> None:
    """``httpx`` over HTTP/2, all on as few connections as the server lets it."""
    import httpx

    reads = asyncio.Semaphore(16)
    tls = context(server) or True

    def connect() -> httpx.AsyncClient:
        return httpx.AsyncClient(http2=True, verify=tls, timeout=httpx.Timeout(None), base_url=server.url)

    async with AsyncExitStack() as stack:
        reader, *clients = [
            await stack.enter_async_context(connect()) for _ in range(1 + math.ceil(len(run_ids) / STREAMS))
        ]

        async def read(run_id: str) -> Any:
            async with reads:
                return json.loads((await reader.get(PATH + run_id)).content)

        async def wait(number: int, run_id: str) -> None:
            async with clients[number // STREAMS].stream("GET", f"{PATH}{run_id}/stream") as stream:
                assert stream.http_version == "HTTP/2"
                await read(run_id)
                async for chunk in stream.aiter_raw():
                    if b'"status": "COMPLETED"' in chunk:
                        break
            assert (await read(run_id))["status"] == "COMPLETED"
            ended(run_id)

        await asyncio.gather(*(wait(number, run_id) for number, run_id in enumerate(run_ids)))


def measure(client: str) -> dict[str, float]:
    """Return what one client costs behind nginx."""
    with serve(RUNS, SECONDS) as server, nginx(server) as front:
        command = [sys.executable, "-m", "benchmarks.http2", client, front.url, str(front.ca)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=600)
    seen = json.loads(done.stdout.splitlines()[-1])
    return {"cpu_us": seen["cpu"][-1][1] / RUNS / EVENTS * 1e6, "memory_kb": seen["memory_kb"] / RUNS}


def main() -> list[dict[str, Any]]:
    """Measure both, print a table, and return its rows."""
    names = ("ours", "http2")
    turns = [[measure(client) for client in names] for _ in range(TURNS)]
    rows = [
        {"client": client, **spread(results)}
        for client, results in zip(names, zip(*turns, strict=True), strict=True)
    ]
    for row in rows:
        print(" | ".join(f"{key} {show(value)}" for key, value in row.items()), flush=True)
    return rows


if __name__ == "__main__":
    CLIENTS["http2"] = http2
    _client, _url, _ca = sys.argv[1:]
    print(json.dumps(wait(_client, RUNS, Server(_url, _ca))))
