"""
The clients that the benchmarks compare.

Each is a function of the server and the ids of the runs; it calls ``ended(run_id)`` when a wait is over.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from airflow_provider_wr.late_import import import_late
from airflow_provider_wr.triggers.wr import WRRunTrigger
from benchmarks.polling import PollingTrigger
from benchmarks.server import Server

Ended = Callable[[str], None]

PATH = "/v1/sdk/workflows/executions/"


def run_ids(count: int) -> list[str]:
    """Return the ids of so many runs."""
    return [f"9e4c7b1a-0000-4000-8000-{number:012d}" for number in range(count)]


async def warm_up() -> None:
    """Import what is imported on first use, which belongs to no run."""
    for module in ("hooks.wr", "transport.aiohttp"):
        await import_late(f"airflow_provider_wr.{module}")


def context(server: Server) -> ssl.SSLContext | None:
    return ssl.create_default_context(cafile=server.ca) if server.ca else None


class _Connection:
    """One connection, with minimal parsing."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def ask(self, path: str) -> None:
        self.writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nX-Api-Key: ws_k\r\n\r\n".encode())


async def bare(server: Server, run_ids: Sequence[str], ended: Ended) -> None:
    """The same work with plain asyncio sockets (``asyncio.open_connection``): the lower bound."""
    parts, tls = urlsplit(server.url), context(server)
    reads = asyncio.Semaphore(16)
    idle: list[_Connection] = []

    async def connect() -> _Connection:
        return _Connection(*await asyncio.open_connection(parts.hostname, parts.port, ssl=tls))

    async def read(run_id: str) -> Any:
        async with reads:
            connection = idle.pop() if idle else await connect()
            connection.ask(PATH + run_id)
            head = await connection.reader.readuntil(b"\r\n\r\n")
            body = await connection.reader.readexactly(int(head.strip().rpartition(b": ")[2]))
            idle.append(connection)
            return json.loads(body)

    async def wait(run_id: str) -> None:
        stream = await connect()
        stream.ask(f"{PATH}{run_id}/stream")
        await stream.reader.readuntil(b"\r\n\r\n")
        await read(run_id)
        while True:
            event = await stream.reader.readuntil(b"\n\n")
            if b"{" in event and json.loads(event[event.index(b"{") :])["status"] == "COMPLETED":
                break
        stream.writer.close()
        assert (await read(run_id))["status"] == "COMPLETED"
        ended(run_id)

    await asyncio.gather(*map(wait, run_ids))


async def aiohttp_alone(server: Server, run_ids: Sequence[str], ended: Ended) -> None:
    """The same work with minimal ``aiohttp`` code: the lower bound for an ``aiohttp`` client."""
    headers = {"X-Api-Key": "ws_k"}
    reads = asyncio.Semaphore(16)
    url, tls = server.url, context(server)
    connector = aiohttp.TCPConnector(limit=0, ssl=True if tls is None else tls)
    no_timers = aiohttp.ClientTimeout(total=None)

    async with aiohttp.ClientSession(connector=connector, timeout=no_timers, headers=headers) as session:

        async def read(run_id: str) -> Any:
            async with reads, session.get(url + PATH + run_id) as answer:
                return json.loads(await answer.read())

        async def wait(run_id: str) -> None:
            async with session.get(f"{url}{PATH}{run_id}/stream") as stream:
                await read(run_id)
                status = None
                while status != "COMPLETED":
                    for event in (await stream.content.readany()).split(b"\n\n")[:-1]:
                        if b"{" in event:  # no heartbeat
                            status = json.loads(event[event.index(b"{") :])["status"]
            assert (await read(run_id))["status"] == "COMPLETED"
            ended(run_id)

        await asyncio.gather(*map(wait, run_ids))


async def ours(server: Server, run_ids: Sequence[str], ended: Ended) -> None:
    """``WRRunTrigger``, as a deferred task starts it, all on one connection: its worker would read the end."""
    connection = {
        "conn_type": "wr",
        "host": server.url,
        "password": "ws_k",
        "extra": {"verify": server.ca or True},
    }
    os.environ["AIRFLOW_CONN_WR_BENCHMARK"] = json.dumps(connection)

    async def wait(run_id: str) -> None:
        async for event in WRRunTrigger(run_id=run_id, wr_conn_id="wr_benchmark", confirm_end=False).run():
            assert event.payload["error"] is None
            ended(run_id)

    await asyncio.gather(*map(wait, run_ids))


async def polling(server: Server, run_ids: Sequence[str], ended: Ended) -> None:
    """A trigger that polls every 5 s, as other providers' do."""
    tls = context(server)

    async def wait(run_id: str) -> None:
        async for _ in PollingTrigger(server.url + PATH + run_id, tls=tls).run():
            ended(run_id)

    await asyncio.gather(*map(wait, run_ids))


CLIENTS = {client.__name__: client for client in (bare, aiohttp_alone, ours, polling)}
