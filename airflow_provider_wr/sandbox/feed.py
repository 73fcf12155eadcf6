"""Publish/subscribe without replay: a subscriber sees what is published after it subscribed."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakSet

if TYPE_CHECKING:
    from airflow_provider_wr.sandbox.runs import Run


@dataclass(frozen=True)
class Published:
    """One event, encoded once for all subscribers."""

    data: str
    is_terminal: bool


Subscription = asyncio.Queue["Published | None"]
"""Events in the order they were published; None says that the server closes the stream."""


class Feed:
    """The events of one run. It must be used on the event loop."""

    def __init__(self, run: Run) -> None:
        self._run = run
        # A subscription lasts as long as somebody holds its queue: a client that leaves drops it.
        self._subscriptions: WeakSet[Subscription] = WeakSet()
        self._scheduled = False

    def subscribe(self) -> Subscription:
        subscription: Subscription = asyncio.Queue()
        self._subscriptions.add(subscription)
        return subscription

    def changed(self) -> None:
        """Publish the run's state in the loop's next turn.

        Changes made in one turn become one event: a thousand stages which start together are not a
        thousand events of a thousand stages each.
        """
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._publish)

    def close(self) -> None:
        for subscription in self._subscriptions:
            subscription.put_nowait(None)

    def _publish(self) -> None:
        self._scheduled = False
        if not self._subscriptions:
            return
        data = json.dumps(self._run.event(), ensure_ascii=False, separators=(",", ":"))
        for subscription in self._subscriptions:
            subscription.put_nowait(Published(data, self._run.is_terminal))
