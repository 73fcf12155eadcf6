"""
A minimal White Rabbit server, so that benchmarks measure the client.

It answers a run's details and its stream of events over bare asyncio sockets, in a process of its own. It runs
through its events once all streams are open, and notes when it sent each terminal one.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

EVENTS = 10

#: Seconds between two heartbeats while the clients have not asked for all runs.
HEARTBEAT = 15.0

_STAGES = [
    {
        "id": f"00000000-0000-4000-8000-{n:012d}",
        "module": "SEND_EVM_TRANSACTION",
        "status": "RUNNING",
        "executionEventId": f"10000000-0000-4000-8000-{n:012d}",
        "executionAttempt": 1,
    }
    for n in range(4)
]


def _event(run_id: str, number: int) -> bytes:
    status = "COMPLETED" if number == EVENTS else "EXECUTING"
    output = {
        "totalUsage": number,
        "pendingStageCount": EVENTS - number,
        "failedStageCount": 0,
        "nonTerminalStages": [] if number == EVENTS else _STAGES,
    }
    event = {"id": run_id, "status": status, "output": output, "timestamp": "2026-01-01T00:00:00Z"}
    data = b"data: " + json.dumps(event).encode() + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(data), data)


def _run(run_id: str, status: str) -> bytes:
    run = {"id": run_id, "status": status, "pendingStageCount": 0, "failedStageCount": 0, "totalUsage": EVENTS}
    stages = [{**stage, "status": "COMPLETED", "output": {"hash": "0x" + "ab" * 32}} for stage in _STAGES]
    return json.dumps({**run, "runStages": stages}).encode()


@dataclass
class Counts:
    """The server's statistics since it started."""

    connections: int = 0
    requests: int = 0
    known: dict[str, None] = field(default_factory=dict)
    streams: dict[str, asyncio.Transport] = field(default_factory=dict)
    ended_at: dict[str, float] = field(default_factory=dict)


class _Connection(asyncio.Protocol):
    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._counts.connections += 1

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            self._answer(head.split(b" ", 2)[1].decode())

    def _answer(self, path: str) -> None:
        self._counts.requests += 1
        *_, run_id = path.removesuffix("/stream").split("/")
        self._counts.known[run_id] = None
        if path.endswith("/stream"):
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            self._transport.write(head)
            self._counts.streams[run_id] = self._transport
        else:
            body = _run(run_id, "COMPLETED" if run_id in self._counts.ended_at else "EXECUTING")
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
            self._transport.write(head + body)


async def _play(counts: Counts, runs: int, seconds: float) -> None:
    """Take every run through its events, spread over ``seconds``, once the clients have asked for all of them."""
    alive = time.monotonic()
    while len(counts.known) < runs:
        await asyncio.sleep(0.05)
        if time.monotonic() - alive > HEARTBEAT:
            alive = time.monotonic()
            for stream in counts.streams.values():
                stream.write(b"7\r\n:ping\n\n\r\n")
    await asyncio.sleep(1)  # after it opened its last stream, a client reads that run once more
    begin = time.monotonic()
    for number in range(1, EVENTS + 1):
        for position, run_id in enumerate(list(counts.known)):
            at = begin + seconds * (number - 1 + position / runs) / EVENTS
            if (pause := at - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            if number == EVENTS:
                counts.ended_at[run_id] = time.monotonic()
            if (stream := counts.streams.get(run_id)) is not None and not stream.is_closing():
                stream.write(_event(run_id, number) + (b"0\r\n\r\n" if number == EVENTS else b""))


async def _serve(runs: int, seconds: float, certificate: str | None = None) -> None:
    counts = Counts()
    loop = asyncio.get_running_loop()
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    server = await loop.create_server(lambda: _Connection(counts), "127.0.0.1", 0, backlog=8192, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    playing = asyncio.create_task(_play(counts, runs, seconds))
    await loop.run_in_executor(None, sys.stdin.readline)
    playing.cancel()
    seen = {"connections": counts.connections, "requests": counts.requests, "ended_at": counts.ended_at}
    print(json.dumps(seen), flush=True)


@dataclass
class Server:
    """
    The server as its user sees it. What it has seen is known once it has stopped.

    :param ended_at: for each run, when its terminal event was sent; ``time.monotonic`` is one clock for all
        processes of a machine.
    """

    url: str
    connections: int = 0
    requests: int = 0
    ended_at: dict[str, float] = field(default_factory=dict)


@contextmanager
def serve(runs: int, seconds: float, certificate: str | None = None) -> Iterator[Server]:
    """
    Run the server in a process of its own.

    :param runs: how many runs the clients will ask for; their events begin when they have.
    :param seconds: over which the events of each run are spread.
    :param certificate: for HTTPS: the path of a file with a certificate and its key; None for HTTP.
    """
    command = [sys.executable, "-m", "benchmarks.server", str(runs), str(seconds)]
    command += [certificate] if certificate else []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        scheme = "https" if certificate else "http"
        server = Server(f"{scheme}://127.0.0.1:{process.stdout.readline().strip()}")
        try:
            yield server
        finally:
            process.stdin.write("stop\n")
            process.stdin.flush()
            vars(server).update(json.loads(process.stdout.readline()))


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2]), *sys.argv[3:]))
