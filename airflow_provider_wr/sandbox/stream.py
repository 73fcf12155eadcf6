"""A run's events as server-sent events, with heartbeats and with the faults of a stream."""

from __future__ import annotations

import asyncio
import math
from itertools import count
from typing import TYPE_CHECKING

from sse_starlette import EventSourceResponse
from sse_starlette.event import ServerSentEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from airflow_provider_wr.sandbox.faults import Fault
    from airflow_provider_wr.sandbox.runs import Subscription


def event_stream(
    subscription: Subscription, heartbeat: float, transport: asyncio.Transport, fault: Fault | None
) -> EventSourceResponse:
    """Send what is published, and every `heartbeat` seconds a sign of life, in its two forms by turns."""
    numbers = count(1)

    def write(data: str) -> ServerSentEvent:
        return _Lines(f"id: {next(numbers)}", f"data: {data}")

    def heartbeats() -> Iterator[ServerSentEvent]:
        while True:
            yield _Lines(":ping")
            yield write(":ping")

    silent = fault is not None and fault.silent
    return EventSourceResponse(
        _events(subscription, transport, fault, write),
        ping=math.inf if silent else heartbeat,
        ping_message_factory=heartbeats().__next__,
        sep="\n",
    )


class _Lines(ServerSentEvent):
    """One event, line by line: NestJS's order of the fields, and a comment without a space, are not the base's."""

    def __init__(self, *lines: str) -> None:
        super().__init__()
        self._text = "\n".join(lines)

    def encode(self) -> bytes:
        return f"{self._text}\n\n".encode()


async def _events(
    subscription: Subscription,
    transport: asyncio.Transport,
    fault: Fault | None,
    write: Callable[[str], ServerSentEvent],
) -> AsyncIterator[ServerSentEvent]:
    drop_after = fault.drop_after if fault else None
    silent = fault is not None and fault.silent
    lose_terminal = fault is not None and fault.lose_terminal
    sent = 0
    while sent != drop_after:
        published = await subscription.get()
        if published is None:
            return
        if silent or (published.is_terminal and lose_terminal):
            continue
        yield write(published.data)
        sent += 1
        if published.is_terminal:
            return
    # The response is not over, but what was sent so far still arrives.
    transport.close()
    await asyncio.Future()
