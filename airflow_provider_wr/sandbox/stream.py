"""A run's events as server-sent events, with heartbeats and with the faults of a stream."""

from __future__ import annotations

import asyncio
import math
from itertools import count, cycle
from typing import TYPE_CHECKING

from sse_starlette import EventSourceResponse
from sse_starlette.event import ServerSentEvent

from airflow_provider_wr.sandbox import drift

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from airflow_provider_wr.sandbox.faults import Fault
    from airflow_provider_wr.sandbox.runs import Published, Subscription


def event_stream(
    subscription: Subscription,
    heartbeat: float,
    transport: asyncio.Transport,
    fault: Fault | None,
    *,
    drifts: bool,
) -> EventSourceResponse:
    """Send what is published, and every `heartbeat` seconds a sign of life, in its two forms by turns."""
    writer = _DriftingWriter() if drifts else _Writer()
    silent = fault is not None and fault.silent
    return EventSourceResponse(
        _events(subscription, transport, fault, writer),
        ping=math.inf if silent else heartbeat,
        ping_message_factory=writer.heartbeats().__next__,
        sep="\n",
    )


class _Writer:
    """Writes the events of one stream as NestJS does: numbered from 1."""

    def __init__(self) -> None:
        self._numbers = count(1)

    def opening(self) -> Iterator[ServerSentEvent]:
        """Yield what the stream says before all events."""
        return iter(())

    def event(self, published: Published) -> Iterator[ServerSentEvent]:
        """Yield an event, and what comes before it; the event itself is the last."""
        yield self._write(published.data)

    def heartbeats(self) -> Iterator[ServerSentEvent]:
        while True:
            yield _Lines(":ping")
            yield self._write(":ping")

    def _write(self, data: str) -> ServerSentEvent:
        return _Lines(f"id: {next(self._numbers)}", f"data: {data}")


class _DriftingWriter(_Writer):
    """Writes them as a slightly different server would."""

    def __init__(self) -> None:
        super().__init__()
        self._others = cycle(drift.OTHER_EVENTS)

    def opening(self) -> Iterator[ServerSentEvent]:
        yield self._write(drift.text({"type": "connected"}))

    def event(self, published: Published) -> Iterator[ServerSentEvent]:
        name, data = next(self._others)
        yield self._write(drift.text(data), name)
        yield self._write(published.drifted)

    def _write(self, data: str, name: str = "update") -> ServerSentEvent:
        return _Lines(*drift.event_lines(next(self._numbers), data, name))


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
    writer: _Writer,
) -> AsyncIterator[ServerSentEvent]:
    drop_after = fault.drop_after if fault else None
    silent = fault is not None and fault.silent
    lose_terminal = fault is not None and fault.lose_terminal
    if not silent:
        for line in writer.opening():
            yield line
    sent = 0
    while sent != drop_after:
        published = await subscription.get()
        if published is None:
            return
        if silent or (published.is_terminal and lose_terminal):
            continue
        for line in writer.event(published):
            yield line
        sent += 1
        if published.is_terminal:
            return
    # The response is not over, but what was sent so far still arrives.
    transport.close()
    await asyncio.Future()
