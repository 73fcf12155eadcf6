"""Publish the events of runs and executions, and send them as server-sent events, with faults."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import dataclass
from functools import cached_property
from itertools import count, cycle
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar
from weakref import WeakSet

from sse_starlette import EventSourceResponse
from sse_starlette.event import ServerSentEvent

from airflow_provider_wr.sandbox import drift

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from airflow_provider_wr.sandbox.faults import Fault


class Subject(Protocol):
    """A run or the execution of a component."""

    @property
    def is_terminal(self) -> bool: ...

    def event(self) -> dict[str, Any]:
        """Return the data of one event: the current state."""


SubjectT = TypeVar("SubjectT", bound=Subject)


@dataclass(frozen=True)
class Published:
    """One event, encoded once for all subscribers."""

    event: dict[str, Any]
    is_terminal: bool

    @cached_property
    def data(self) -> str:
        return json.dumps(self.event, ensure_ascii=False, separators=(",", ":"))

    @cached_property
    def drifted(self) -> str:
        return drift.text(drift.event(self.event))


Subscription = asyncio.Queue["Published | None"]
"""Events in the order they were published; None closes the stream."""


class Feed:
    """The events of one subject, without replay: a subscriber gets only later events.

    Must be used on the event loop.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        # A subscription ends when nobody references its queue any more, because the client has disconnected.
        self._subscriptions: WeakSet[Subscription] = WeakSet()
        self._scheduled = False

    def subscribe(self) -> Subscription:
        subscription: Subscription = asyncio.Queue()
        self._subscriptions.add(subscription)
        return subscription

    def changed(self) -> None:
        """Publish the subject's state in the next iteration of the event loop.

        All changes of one iteration become one event. Otherwise, a thousand stages that start together would be a
        thousand events with a thousand stages each.
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
        published = Published(self._subject.event(), self._subject.is_terminal)
        for subscription in self._subscriptions:
            subscription.put_nowait(published)


@dataclass(frozen=True)
class Moving(Generic[SubjectT]):
    """A subject, its feed and the task that advances it until it has ended."""

    subject: SubjectT
    feed: Feed
    task: asyncio.Task[None]

    def close(self) -> None:
        """Stop it and close its streams."""
        self.task.cancel()
        self.feed.close()


class RunWriter:
    """Writes the events of one stream like NestJS, numbered from 1."""

    def __init__(self) -> None:
        self._numbers = count(1)

    def opening(self) -> Iterator[ServerSentEvent]:
        """Yield the messages before the first event."""
        return iter(())

    def event(self, published: Published) -> Iterator[ServerSentEvent]:
        """Yield the messages before an event, and the event itself."""
        yield self._write(published.data)

    def heartbeats(self) -> Iterator[ServerSentEvent]:
        """Yield heartbeats, alternating between their two forms."""
        while True:
            yield _Lines(":ping")
            yield self._write(":ping")

    def _write(self, data: str) -> ServerSentEvent:
        return _Lines(f"id: {next(self._numbers)}", f"data: {data}")


class ExecutionWriter(RunWriter):
    """Writes events as in the vendor's documentation of components: only data, and comments as heartbeats."""

    def heartbeats(self) -> Iterator[ServerSentEvent]:
        return cycle((_Lines(": ping"), _Lines(":ping")))

    def _write(self, data: str) -> ServerSentEvent:
        return _Lines(f"data: {data}")


class DriftingWriter(RunWriter):
    """Writes events like a slightly different server."""

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
    """One event as raw lines. The base class has another order of fields, and no comments without a space."""

    def __init__(self, *lines: str) -> None:
        super().__init__()
        self._text = "\n".join(lines)

    def encode(self) -> bytes:
        return f"{self._text}\n\n".encode()


def event_stream(
    subscription: Subscription,
    heartbeat: float,
    transport: asyncio.Transport,
    fault: Fault | None,
    writer: RunWriter,
) -> EventSourceResponse:
    """Send the published events, and a heartbeat every `heartbeat` seconds."""
    silent = fault is not None and fault.silent
    return EventSourceResponse(
        _events(subscription, transport, fault, writer),
        ping=math.inf if silent else heartbeat,
        ping_message_factory=writer.heartbeats().__next__,
        sep="\n",
    )


async def _events(
    subscription: Subscription,
    transport: asyncio.Transport,
    fault: Fault | None,
    writer: RunWriter,
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
    # Close without ending the response; everything sent so far still arrives.
    transport.close()
    await asyncio.Future()
