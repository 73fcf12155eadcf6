"""For how long an event loop is blocked."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable

#: Seconds between two looks.
PAUSE = 0.001


class Blocks:
    """
    Watches an event loop.

    :param clock: ``time.thread_time``, so that what else the machine does is no block, or ``time.monotonic``, so
        that what another thread does is one.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._asleep = PAUSE if clock is time.monotonic else 0.0  # a thread that sleeps takes no time
        self._collecting = 0.0
        self.longest = 0.0
        self.longest_without_gc = 0.0

    async def watch(self) -> None:
        """Note the longest block, and the longest without Python's garbage collector."""
        gc.callbacks.append(self._note)
        while True:
            before, collected = self._clock(), self._collecting
            await asyncio.sleep(PAUSE)
            took = self._clock() - before - self._asleep
            self.longest = max(self.longest, took)
            self.longest_without_gc = max(self.longest_without_gc, took - (self._collecting - collected))

    def take(self) -> list[float]:
        """Return both in seconds, and begin anew."""
        seen = [self.longest, self.longest_without_gc]
        self.longest = self.longest_without_gc = 0.0
        return seen

    def _note(self, phase: str, info: dict[str, int]) -> None:
        self._collecting += self._clock() if phase == "stop" else -self._clock()
