"""
A White Rabbit that costs as little as possible, so that a benchmark measures its client.

It answers a run's details and its stream of events over bare asyncio sockets, plain or TLS, in a process of its
own. Its events have the form that NestJS gives them, an ``id:`` line before the data. It runs through its events
once all streams are open, and notes when it sent each terminal one.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.certificates import self_signed

EVENTS = 10

#: Seconds between two heartbeats while the clients have not asked for all runs.
HEARTBEAT = 15.0

BEAT = b"7\r\n:ping\n\n\r\n"

#: The ids of runs that have ended before anybody asks begin so.
ENDED = "ffffffff"

#: So does the id of one that has 5000 stages and 12 MB.
LARGE = "fffffffe"

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
    data = b"id: %d\ndata: %s\n\n" % (number, json.dumps(event).encode())
    return b"%x\r\n%s\r\n" % (len(data), data)


def _run(run_id: str, status: str) -> bytes:
    run = {"id": run_id, "status": status, "pendingStageCount": 0, "failedStageCount": 0, "totalUsage": EVENTS}
    count, output = (1250, "ab" * 1100) if run_id.startswith(LARGE) else (1, "0x" + "ab" * 32)
    stages = [{**stage, "status": "COMPLETED", "output": {"hash": output}} for stage in _STAGES * count]
    return json.dumps({**run, "runStages": stages}).encode()


@dataclass
class Counts:
    """What the server has seen since it started."""

    connected_at: list[float] = field(default_factory=list)
    requested_at: list[float] = field(default_factory=list)
    beats: int = 0
    events: int = 0
    may_end: asyncio.Event = field(default_factory=asyncio.Event)
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
        self._counts.connected_at.append(time.monotonic())

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            self._answer(head.split(b" ", 2)[1].decode())

    def _answer(self, path: str) -> None:
        self._counts.requested_at.append(time.monotonic())
        *_, run_id = path.removesuffix("/stream").split("/")
        self._counts.known[run_id] = None
        if path.endswith("/stream"):
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            self._transport.write(head)
            self._counts.streams[run_id] = self._transport
        else:
            has_ended = run_id in self._counts.ended_at or run_id.startswith((ENDED, LARGE))
            body = _run(run_id, "COMPLETED" if has_ended else "EXECUTING")
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
                stream.write(BEAT)
    await asyncio.sleep(1)  # a client that opened its last stream reads that run once more
    begin = time.monotonic()
    for number in range(1, EVENTS + 1):
        if number == EVENTS and not counts.may_end.is_set():
            await counts.may_end.wait()
            begin = time.monotonic() - seconds * (number - 1) / EVENTS
        for position, run_id in enumerate(list(counts.known)):
            at = begin + seconds * (number - 1 + position / runs) / EVENTS
            if (pause := at - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            if number == EVENTS:
                counts.ended_at[run_id] = time.monotonic()
            if (stream := counts.streams.get(run_id)) is not None and not stream.is_closing():
                stream.write(_event(run_id, number) + (b"0\r\n\r\n" if number == EVENTS else b""))
                counts.events += 1


async def _beat(counts: Counts, every: float) -> None:
    """Send each open stream a heartbeat, over and over, spread over ``every`` seconds."""
    begin = time.monotonic()
    while True:
        streams = list(counts.streams.values())
        for position, stream in enumerate(streams):
            if position % 50 == 0 and (pause := begin + every * position / len(streams) - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            stream.write(BEAT)
        counts.beats += len(streams)
        begin += every
        await asyncio.sleep(max(0.001, begin - time.monotonic()))


async def _obey(counts: Counts, line: str) -> bool:
    """Do what a line of the standard input says, and report back; False ends the server."""
    command, _, argument = line.strip().partition(" ")
    match command:
        case "cut":
            streams, counts.streams = counts.streams, {}
            for stream in streams.values():
                stream.abort()
        case "open":  # wait until so many streams are
            while len(counts.streams) < int(argument):
                await asyncio.sleep(0.02)
        case "hold":  # the terminal events back, until "end"
            counts.may_end.clear()
        case "end":
            counts.may_end.set()
    seen = {
        "connections": len(counts.connected_at),
        "requests": len(counts.requested_at),
        "connected_at": counts.connected_at,
        "requested_at": counts.requested_at,
        "ended_at": counts.ended_at,
        "beats": counts.beats,
        "events": counts.events,
    }
    print(json.dumps(seen), flush=True)
    return command != "stop"


async def _serve(runs: int, seconds: float, beat: float, tls: ssl.SSLContext | None) -> None:
    counts = Counts()
    counts.may_end.set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(counts), "127.0.0.1", 0, backlog=8192, ssl=tls)
    print(server.sockets[0].getsockname()[1], flush=True)
    playing = asyncio.create_task(_beat(counts, beat) if beat else _play(counts, runs, seconds))
    while await _obey(counts, await loop.run_in_executor(None, sys.stdin.readline)):
        pass
    playing.cancel()


@dataclass
class Server:
    """
    The server as its user sees it. What it has seen is known once it has stopped.

    :param ca: path of the certificate that signs the server's; None without TLS.
    :param ended_at: for each run, when its terminal event was sent; ``time.monotonic`` is one clock for all
        processes of a machine.
    """

    url: str
    ca: str | None = None
    connections: int = 0
    requests: int = 0
    connected_at: list[float] = field(default_factory=list)
    requested_at: list[float] = field(default_factory=list)
    ended_at: dict[str, float] = field(default_factory=dict)
    beats: int = 0
    events: int = 0
    process: Any = None

    def tell(self, command: str) -> None:
        """
        Have the server do something, and take what it has seen.

        :param command: ``cut``, ``open N``, ``hold``, ``end``, ``look`` or ``stop``.
        """
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        vars(self).update(json.loads(self.process.stdout.readline()))


@contextmanager
def serve(runs: int, seconds: float = 0.0, *, beat: float = 0.0, tls: bool = False) -> Iterator[Server]:
    """
    Run the server in a process of its own.

    :param runs: how many runs the clients will ask for; their events begin when they have.
    :param seconds: over which the events of each run are spread.
    :param beat: seconds between two heartbeats of a stream, which then has no events; 0 for events.
    """
    with tempfile.TemporaryDirectory() as folder:
        arguments = map(str, (runs, seconds, beat, *([folder] if tls else [])))
        command = [sys.executable, "-m", "benchmarks.server", *arguments]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
            server = Server(url, f"{folder}/ca.pem" if tls else None, process=process)
            try:
                yield server
            finally:
                server.tell("stop")


if __name__ == "__main__":
    _runs, _seconds, _every, *_folder = sys.argv[1:]
    _tls = self_signed(Path(_folder[0])).server if _folder else None
    asyncio.run(_serve(int(_runs), float(_seconds), float(_every), _tls))
