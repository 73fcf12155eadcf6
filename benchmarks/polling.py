"""A polling trigger, like those of other providers, for comparison."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from airflow.triggers.base import BaseTrigger, TriggerEvent


class PollingTrigger(BaseTrigger):
    """
    Polls a run, with a new session each time, until it is COMPLETED.

    :param url: of the run's details.
    :param interval: seconds between two polls.
    """

    def __init__(self, url: str, interval: float = 5.0) -> None:
        super().__init__()
        self.url = url
        self.interval = interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "benchmarks.polling.PollingTrigger", {"url": self.url, "interval": self.interval}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        while True:
            async with (
                aiohttp.ClientSession(headers={"X-Api-Key": "ws_sandbox"}) as session,
                session.get(self.url) as response,
            ):
                status = (await response.json())["status"]
            if status == "COMPLETED":
                yield TriggerEvent(status)
                return
            await asyncio.sleep(self.interval)
