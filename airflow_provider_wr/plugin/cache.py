"""One read of a run for everyone who looks at it."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar

#: Maximum number of entries. A run with thousands of stages takes tens of megabytes.
MOST = 8

#: Seconds after which an unused entry is dropped.
IDLE = 60.0

#: Concurrent reads. The API server's own threads must not wait for White Rabbit.
THREADS = 4


class Looked(Protocol):
    """The result of a look."""

    @property
    def fresh_for(self) -> float:
        """Seconds for which the result is reused."""


K = TypeVar("K", bound=Hashable)
V = TypeVar("V", bound=Looked)


class Cache(Generic[K, V]):
    """
    Looks in its own threads and keeps the result. Requests that come during a look share it.

    :param look: takes a key and the previous result, or None; returns None if there is nothing by that key.
    """

    def __init__(self, look: Callable[[K, V | None], V | None]) -> None:
        self._look = look
        self._seen: OrderedDict[K, tuple[float, V | None]] = OrderedDict()
        self._looks: dict[K, asyncio.Future[V | None]] = {}
        self._threads = ThreadPoolExecutor(THREADS, "wr-run-page")

    async def get(self, key: K) -> V | None:
        """Return the last result while it is fresh, otherwise look."""
        self._drop_idle()
        seen_at, value = self._seen.get(key, (float("-inf"), None))
        if value is not None and time.monotonic() < seen_at + value.fresh_for:
            self._seen.move_to_end(key)
            return value
        look = self._looks.get(key)
        if look is None:
            look = asyncio.get_running_loop().run_in_executor(self._threads, self._look, key, value)
            self._looks[key] = look
            look.add_done_callback(lambda done: self._keep(key, done))
        # A client that disconnects must not cancel the look of the others.
        return await asyncio.shield(look)

    def _keep(self, key: K, look: asyncio.Future[V | None]) -> None:
        del self._looks[key]
        if look.cancelled() or look.exception() is not None or look.result() is None:
            self._seen.pop(key, None)
            return
        self._seen[key] = (time.monotonic(), look.result())
        self._seen.move_to_end(key)
        while len(self._seen) > MOST:
            self._seen.popitem(last=False)

    def _drop_idle(self) -> None:
        now = time.monotonic()
        for key in [key for key, (seen_at, _) in self._seen.items() if now > seen_at + IDLE]:
            del self._seen[key]
