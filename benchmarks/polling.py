"""A trigger of the kind other providers ship, to compare with: it asks every few seconds."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from airflow.triggers.base import BaseTrigger, TriggerEvent


class PollingTrigger(BaseTrigger):
    """
    Asks for a run, with a session for each question, until it is COMPLETED.

    :param url: of the run's details.
    :param interval: seconds between two questions.
    :param tls: None for what Python trusts.
    """

    def __init__(self, url: str, interval: float = 5.0, tls: ssl.SSLContext | None = None) -> None:
        super().__init__()
        self.url = url
        self.tls = tls
        self.interval = interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "benchmarks.polling.PollingTrigger", {"url": self.url, "interval": self.interval}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        while True:
            async with (
                aiohttp.ClientSession(headers={"X-Api-Key": "ws_sandbox"}) as session,
                session.get(self.url, ssl=self.tls or True) as response,
            ):
                status = (await response.json())["status"]
            if status == "COMPLETED":
                yield TriggerEvent(status)
                return
            await asyncio.sleep(self.interval)
