"""A run's events as server-sent events, with heartbeats and with the faults of a stream."""

from __future__ import annotations

import asyncio
import math
from itertools import cycle
from typing import TYPE_CHECKING

from sse_starlette import EventSourceResponse
from sse_starlette.event import ServerSentEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_provider_wr.sandbox.faults import Fault
    from airflow_provider_wr.sandbox.runs import Subscription


def event_stream(
    subscription: Subscription, heartbeat: float, transport: asyncio.Transport, fault: Fault | None
) -> EventSourceResponse:
    """Send what is published, and every `heartbeat` seconds a sign of life, in its two forms by turns."""
    silent = fault is not None and fault.silent
    return EventSourceResponse(
        _events(subscription, transport, fault),
        ping=math.inf if silent else heartbeat,
        ping_message_factory=cycle((_CommentPing(), ServerSentEvent(":ping", sep="\n"))).__next__,
        sep="\n",
    )


class _CommentPing(ServerSentEvent):
    """The heartbeat as a comment; a ServerSentEvent would write `: ping`."""

    def encode(self) -> bytes:
        return b":ping\n\n"


async def _events(
    subscription: Subscription, transport: asyncio.Transport, fault: Fault | None
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
        yield ServerSentEvent(published.data, sep="\n")
        sent += 1
        if published.is_terminal:
            return
    # The response is not over, but what was sent so far still arrives.
    transport.close()
    await asyncio.Future()
