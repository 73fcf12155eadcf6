"""
The clients that the benchmark ``waiting`` compares.

Each is a function of the server's URL and the ids of the runs; it calls ``ended(run_id)`` when a wait is over.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import requests
from sseclient import SSEClient

from airflow_provider_wr.triggers.wr import WRRunTrigger
from benchmarks.polling import PollingTrigger

Ended = Callable[[str], None]

PATH = "/v1/sdk/workflows/executions/"


class _Connection:
    """One connection, with minimal parsing."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def ask(self, path: str) -> None:
        self.writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nX-Api-Key: ws_k\r\n\r\n".encode())


async def bare(url: str, run_ids: Sequence[str], ended: Ended) -> None:
    """The same work with plain asyncio sockets (``asyncio.open_connection``): the lower bound."""
    parts = urlsplit(url)
    reads = asyncio.Semaphore(16)
    idle: list[_Connection] = []

    async def connect() -> _Connection:
        return _Connection(*await asyncio.open_connection(parts.hostname, parts.port))

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
            if json.loads(event[event.index(b"{") :])["status"] == "COMPLETED":
                break
        stream.writer.close()
        assert (await read(run_id))["status"] == "COMPLETED"
        ended(run_id)

    await asyncio.gather(*map(wait, run_ids))


async def aiohttp_alone(url: str, run_ids: Sequence[str], ended: Ended) -> None:
    """The same work with minimal ``aiohttp`` code: the lower bound for an ``aiohttp`` client."""
    headers = {"X-Api-Key": "ws_k"}
    reads = asyncio.Semaphore(16)
    connector = aiohttp.TCPConnector(limit=0)
    no_timers = aiohttp.ClientTimeout(total=None)

    async with aiohttp.ClientSession(connector=connector, timeout=no_timers, headers=headers) as session:

        async def read(run_id: str) -> Any:
            async with reads, session.get(url + PATH + run_id) as answer:
                return json.loads(await answer.read())

        async def wait(run_id: str) -> None:
            async with session.get(f"{url}{PATH}{run_id}/stream") as stream:
                await read(run_id)
                async for event in stream.content.iter_any():
                    if json.loads(event[event.index(b"{") :])["status"] == "COMPLETED":
                        break
            assert (await read(run_id))["status"] == "COMPLETED"
            ended(run_id)

        await asyncio.gather(*map(wait, run_ids))


async def shared(url: str, run_ids: Sequence[str], ended: Ended) -> None:
    """``WRRunTrigger``, all on one connection."""
    await _triggers(url, dict.fromkeys(run_ids, "wr_benchmark"), ended)


async def own(url: str, run_ids: Sequence[str], ended: Ended) -> None:
    """``WRRunTrigger``, each with its own session."""
    await _triggers(url, {run_id: f"wr_benchmark_{number}" for number, run_id in enumerate(run_ids)}, ended)


async def _triggers(url: str, connections: dict[str, str], ended: Ended) -> None:
    connection = json.dumps({"conn_type": "wr", "host": url, "password": "ws_k"})
    os.environ.update({f"AIRFLOW_CONN_{conn_id.upper()}": connection for conn_id in connections.values()})

    async def wait(run_id: str, conn_id: str) -> None:
        async for event in WRRunTrigger(run_id=run_id, wr_conn_id=conn_id).run():
            assert event.payload["error"] is None
            ended(run_id)

    await asyncio.gather(*(wait(run_id, conn_id) for run_id, conn_id in connections.items()))


async def polling(url: str, run_ids: Sequence[str], ended: Ended) -> None:
    """A trigger that polls every 5 s, as other providers' do."""

    async def wait(run_id: str) -> None:
        async for _ in PollingTrigger(url + PATH + run_id).run():
            ended(run_id)

    await asyncio.gather(*map(wait, run_ids))


async def threads(url: str, run_ids: Sequence[str], ended: Ended) -> None:
    """``requests`` and ``sseclient-py``, a thread for each run."""

    def wait(run_id: str) -> None:
        with requests.Session() as session:
            stream = session.get(f"{url}{PATH}{run_id}/stream", stream=True, timeout=600)
            session.get(url + PATH + run_id, timeout=600)
            for event in SSEClient(stream.iter_content(None)).events():
                if json.loads(event.data)["status"] == "COMPLETED":
                    break
            assert session.get(url + PATH + run_id, timeout=600).json()["status"] == "COMPLETED"
            ended(run_id)

    waits = [threading.Thread(target=wait, args=(run_id,)) for run_id in run_ids]
    for thread in waits:
        thread.start()
        await asyncio.sleep(0)
    for thread in waits:
        thread.join()


CLIENTS = {client.__name__: client for client in (bare, aiohttp_alone, shared, own, polling, threads)}
