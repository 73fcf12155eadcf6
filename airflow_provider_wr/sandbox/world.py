"""Everything a sandbox knows between two resets."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_wr.sandbox.engine import Engine
from airflow_provider_wr.sandbox.faults import Faults
from airflow_provider_wr.sandbox.workflow import API_KEY, supplier_payments

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

MAX_LOGGED_REQUESTS = 100_000


@dataclass(frozen=True)
class Settings:
    """How a sandbox was started; a reset does not change it."""

    api_key: str = API_KEY
    public_key: Ed25519PublicKey | None = None
    """Check the signature of every request against this key."""
    heartbeat: float = 15.0
    """Seconds between two heartbeats of a stream."""
    speed: float = 1.0
    """What the time of every stage is divided by."""

    def __post_init__(self) -> None:
        if self.heartbeat <= 0 or self.speed <= 0:
            raise ValueError("heartbeat and speed must be greater than 0")


class World:
    """A reset replaces it whole, so a request that was still waiting cannot touch what comes after."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.api_key = settings.api_key
        self.workflow = supplier_payments()
        self.engine = Engine(settings.speed)
        self.faults = Faults()
        self.requests: deque[dict[str, Any]] = deque(maxlen=MAX_LOGGED_REQUESTS)
        self._closed = asyncio.Event()

    async def pause(self, seconds: float) -> None:
        """Wait, but no longer than this world exists."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._closed.wait(), seconds)

    def close(self) -> None:
        self._closed.set()
        self.engine.close()
