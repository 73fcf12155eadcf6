"""
The rules of waiting, without I/O.

:func:`wait` is a generator that says what to do next – look up the Airflow connection, open the stream, read,
follow the stream, pause – and is told how it went. The two hooks do as it says, one with ``requests`` and one with
``aiohttp``, so that both wait by the same rules. What is waited for is a :class:`Watched`.

The stream has no replay, and an event can be lost while the heart beats. So only a read ends a wait: once the
stream is open, whenever it ends, breaks, is silent or has brought no event for a while, and at the deadline.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from airflow_provider_wr.api.sse import EventStream
from airflow_provider_wr.api.text import printable
from airflow_provider_wr.api.watched import State, Watched
from airflow_provider_wr.exceptions import (
    WRAuthError,
    WRConnectionError,
    WRError,
    WRNotFoundError,
    WRProtocolError,
    WRRateLimitError,
    WRServerError,
    WRTimeoutError,
)
from airflow_provider_wr.waiting.backoff import pause
from airflow_provider_wr.waiting.progress import Progress

T = TypeVar("T", bound=State)

OnEvent = Callable[[Any], None]

log = logging.getLogger(__name__)

#: Seconds without a byte after which a stream is taken for dead: three of the server's heartbeats.
SILENCE = 45.0

#: Seconds without an event after which a heartbeat leads to a read: five minutes, less one heartbeat.
NEWS = 285.0

#: Seconds after the first attempt in which a 404 may mean "not visible yet".
NOT_YET_VISIBLE = 30.0

#: Seconds for which a key that was read again counts as the newest there is.
KEY_IS_FRESH = 60.0

#: Seconds for the last look, which is taken once the time is up.
LAST_LOOK = 5.0

#: Seconds after which a stream counts as good: the pause after it begins at one second again.
LIVED = 20.0

#: Requests by which a wait may be ahead of one a second.
BURST = 4

#: What keeps the API from answering, whatever it is asked.
_OUTAGES = (WRConnectionError, WRTimeoutError, WRRateLimitError, WRServerError)

# --- steps ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """
    Something for a hook to do.

    :param within: seconds that it may take; None for as long as the hook lets it.
    """

    within: float | None


@dataclass(frozen=True, slots=True)
class Connect(Step):
    """
    Look up the Airflow connection. Answer: the URL of the page of what is waited for; None for none.

    :param again: look it up even if that was done before, since its key was refused.
    """

    again: bool


class OpenStream(Step):
    """Open the stream, in place of one that is open already. Answer: None."""


class Read(Step):
    """Read what is waited for. Answer: its :class:`State`."""


class FollowStream(Step):
    """Follow the open stream, from where that was left off. Answer: a :class:`StreamEnd`."""


class Pause(Step):
    """Do nothing for ``within`` seconds. Answer: None."""

    within: float


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """
    How following a stream ended.

    :param saw_terminal: whether an event said that the end has come.
    :param is_quiet: whether nothing but heartbeats came for :data:`NEWS` seconds; the stream is still open.
    :param error: why it broke; None when it ended by itself.
    """

    saw_terminal: bool = False
    is_quiet: bool = False
    error: WRError | None = None


def advance(steps: Generator[Step, Any, T], answer: Any) -> Step | T:
    """
    Tell a wait how its last step went, and return the next, or what was waited for once it has ended.

    :param answer: the step's, or the :class:`WRError` that it failed with; None at the beginning.
    """
    try:
        return steps.throw(answer) if isinstance(answer, WRError) else steps.send(answer)
    except StopIteration as end:
        return cast("T", end.value)


# --- the rules --------------------------------------------------------------------------------------------


def wait(
    watched: Watched[T],
    *,
    within: float | None,
    limit: float | None = None,
    clock: Callable[[], float] = time.monotonic,
    jitter: Callable[[], float] = random.random,
) -> Generator[Step, Any, T]:
    """
    Say, step by step, how to wait. Returns what was waited for once it has ended, whatever its status.

    :func:`advance` is how to answer a step. One that failed is answered with its :class:`WRError`.

    :param within: seconds until the deadline; None for none. When it has passed, one look is taken nevertheless.
    :param limit: seconds that the error's text names; None for none.
    :param clock: seconds, monotonic.
    :param jitter: a number from 0 to 1 on each call.

    Raises :class:`WRTimeoutError` when time has run out, and any error of a read that is not transient.
    """
    state = _Wait(watched, within, clock, jitter)
    try:
        return (yield from _until_it_ends(state))
    except _TimeIsUp:
        pass
    if (ended := (yield from _last_look(state))) is not None:
        return ended
    known = state.known.text(state.link)
    raise WRTimeoutError(timed_out("the wait", limit, known), last_status=state.known.status, last_known=known)


def _until_it_ends(state: _Wait[T]) -> Generator[Step, Any, T]:
    because: WRError | str
    failures = 0
    saw_terminal = False  # once it is, no stream says so again
    only_read = False  # after an outage: a read shows whether it is over, and whether the end has come meanwhile
    while True:
        try:
            yield from state.connect()
            if not (only_read or saw_terminal):
                opened_at = state.clock()
                end = yield from _follow(state)
                if not isinstance(end, StreamEnd):
                    return end
                if state.clock() - opened_at >= LIVED:
                    failures = 0
                saw_terminal = end.saw_terminal
                because = end.error or "the stream ended"
            if (ended := (yield from state.read())) is not None:
                return ended
            if saw_terminal:
                because = "the stream announced the end, but the read does not show it yet"
            elif only_read:
                only_read = False
                continue
        except WRError as error:
            state.known.miss(error)
            only_read = True
            if state.may_renew_key(error):
                continue
            state.left()
            if not is_transient(error, elapsed=state.elapsed):
                raise
            because = error
        yield from state.pause(failures, because)
        failures += 1


def _follow(state: _Wait[T]) -> Generator[Step, Any, T | StreamEnd]:
    """Open the stream and follow it. Returns how that ended, or what is waited for if it has ended."""
    state.requests += 1
    try:
        yield OpenStream(state.left())
    except (WRAuthError, *_OUTAGES):
        raise
    except WRError as error:
        return StreamEnd(error=error)  # it was refused, which says nothing of what is waited for
    while True:
        if (ended := (yield from state.read())) is not None:
            return ended
        end: StreamEnd = yield FollowStream(state.left())
        if not end.is_quiet:
            return end


def _last_look(state: _Wait[T]) -> Generator[Step, Any, T | None]:
    """Read once more now that the time is up, unless a read was answered since then."""
    if state.read_at >= state.deadline:
        return None
    state.deadline = state.clock() + LAST_LOOK
    with suppress(_TimeIsUp):
        for _ in range(2):
            try:
                yield from state.connect()
                return (yield from state.read())
            except WRError as error:
                state.known.miss(error)
                if not state.may_renew_key(error):
                    break
    return None


class _TimeIsUp(Exception):
    """The deadline has passed."""


class _Wait(Generic[T]):
    """How far a wait is: its time, its requests, its key, and what is known of what is waited for."""

    __slots__ = (
        "_connect",
        "_jitter",
        "_key_read_at",
        "_started",
        "_watched",
        "clock",
        "deadline",
        "known",
        "link",
        "read_at",
        "requests",
    )

    def __init__(
        self, watched: Watched[T], within: float | None, clock: Callable[[], float], jitter: Callable[[], float]
    ) -> None:
        self._watched = watched
        self._jitter = jitter
        self._started = clock()
        self._connect = True
        self._key_read_at: float | None = None
        self.clock = clock
        self.deadline = math.inf if within is None else self._started + within
        self.known = LastKnown(str(watched), from_the_start=within is None or within > 0)
        self.link: str | None = None
        self.read_at = -math.inf
        self.requests = 0

    @property
    def elapsed(self) -> float:
        """Seconds since the first attempt."""
        return self.clock() - self._started

    def left(self) -> float | None:
        """Return the seconds that are left, None for no end; raises :class:`_TimeIsUp` when none are."""
        seconds = self.deadline - self.clock()
        if seconds <= 0:
            raise _TimeIsUp
        return None if seconds == math.inf else seconds

    def connect(self) -> Generator[Step, Any, None]:
        """Have the Airflow connection looked up, where that has not been done or has to be done again."""
        if self._connect:
            self.link = yield Connect(self.left(), again=self._key_read_at is not None)
            self._connect = False

    def may_renew_key(self, error: WRError) -> bool:
        """Return whether to go on with the key as it is in the Airflow connection now: it may be a new one."""
        now = self.clock()
        if not isinstance(error, WRAuthError):
            return False
        if self._key_read_at is not None and now - self._key_read_at < KEY_IS_FRESH:
            return False
        self._key_read_at = now
        self._connect = True
        return True

    def read(self) -> Generator[Step, Any, T | None]:
        """Read, and return what was read if it has ended: else it is not kept, since it may be large."""
        self.requests += 1
        now: T = yield Read(self.left())
        self.known.see(now)
        self.read_at = self.clock()
        return now if now.is_terminal else None

    def pause(self, failures: int, because: WRError | str) -> Generator[Step, Any, None]:
        """Pause before the next attempt, over no moment at which a look is due."""
        seconds = max(
            pause(failures, because, jitter=self._jitter),
            self.requests - BURST - self.elapsed,  # one request a second on average
        )
        seconds = cut_pause(seconds, self.known.missed, elapsed=self.elapsed, left=self.left())
        log_retry(self._watched, because, seconds)
        yield Pause(seconds)


def cut_pause(seconds: float, missed: WRError | None, *, elapsed: float, left: float | None) -> float:
    """
    Return the seconds of a pause that passes over no moment at which a look is due.

    :param missed: what the last read ended in; None when it went well.
    :param elapsed: seconds since the first attempt.
    :param left: seconds to the deadline; None for none.
    """
    if isinstance(missed, WRNotFoundError) and elapsed < NOT_YET_VISIBLE:
        seconds = min(seconds, NOT_YET_VISIBLE - elapsed)
    return seconds if left is None else min(seconds, max(0.0, left))


def is_transient(error: WRError, *, elapsed: float) -> bool:
    """
    Return whether a wait goes on after an error of a read.

    :param elapsed: seconds since the first attempt.
    """
    if isinstance(error, WRNotFoundError):
        return elapsed < NOT_YET_VISIBLE
    return isinstance(error, (*_OUTAGES, WRProtocolError))


# --- words ------------------------------------------------------------------------------------------------


class LastKnown:
    """
    What is known of something that is waited for, to be said when time runs out.

    :param what: it, in words.
    :param from_the_start: whether all of the wait is known here; False where it began elsewhere.
    """

    __slots__ = ("_from_the_start", "_what", "missed", "status")

    def __init__(self, what: str, *, from_the_start: bool = True) -> None:
        self._what = what
        self._from_the_start = from_the_start
        self.missed: WRError | None = None
        self.status: str | None = None

    def see(self, now: State) -> None:
        """Take what was read."""
        self.status = printable(now.status)
        self.missed = None

    def miss(self, error: WRError) -> None:
        """Take the error for which it could not be read."""
        self.missed = error

    def text(self, link: str | None) -> str:
        """
        Return it in words.

        :param link: URL of its page; None for none.
        """
        why = f": {self.missed.cause}" if self.missed is not None else ""
        if self.status is None:
            return f"{self._what} {'was never' if self._from_the_start else 'could not be'} reached{why}"
        if not why:
            return f"{self._what}, last seen {self.status}, {still_running(link)}"
        return f"{self._what}, last seen {self.status}, could not be reached since{why}{_see(link)}"


def still_running(link: str | None) -> str:
    """Return the end of a sentence about what is not waited for any more, and goes on."""
    return f"goes on: White Rabbit has no call to cancel it{_see(link)}"


def _see(link: str | None) -> str:
    return f"; see {link}" if link else ""


def timed_out(who: str, limit: float | None, known: str) -> str:
    """
    Return what is said when time has run out.

    :param who: what has timed out.
    :param limit: seconds that it had, as the user wrote them; None where that is not known.
    :param known: what is last known of what was waited for.
    """
    after = "" if limit is None else f" after {limit:.12g} s"
    return f"{who} timed out{after}; {known}"


def last_known(look: WRTimeoutError, before: WRTimeoutError | None) -> str:
    """
    Return what is last known of a run that was looked at once more, after a wait for it had timed out.

    :param look: what that look ended in.
    :param before: what the wait ended in; None where it left no word.
    """
    return look.last_known if before is None or look.last_status is not None else before.last_known


def log_retry(watched: object, because: WRError | str, seconds: float | None = None) -> None:
    """
    Log that the wait goes on: what changes comes first.

    :param watched: what is waited for, in words.
    :param because: why there has to be another look.
    :param seconds: until then; None where it is not known here.
    """
    when = "" if seconds is None else f" in {seconds:.1f} s"
    if isinstance(because, WRError):
        log.warning("%s; retrying%s (%s)", because.cause, when, watched)
    else:
        log.info("%s; retrying%s (%s)", because, when, watched)


# --- following a stream -----------------------------------------------------------------------------------


class Follower:
    """
    Takes what comes on one stream, until that ends or tells of the end of what is waited for.

    :param progress: is shown each event and each heartbeat.
    :param on_event: is called with each event; None for nothing.
    :param clock: seconds, monotonic.
    """

    __slots__ = ("_clock", "_events", "_news_at", "_on_event", "_progress", "_watched")

    def __init__(
        self,
        watched: Watched[Any],
        progress: Progress,
        on_event: OnEvent | None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._watched = watched
        self._progress = progress
        self._on_event = on_event
        self._clock = clock
        self._events = EventStream()
        self._news_at = clock()

    def feed(self, chunk: bytes) -> StreamEnd | None:
        """
        Take the next bytes, none at the stream's end. Returns how following ended; None while it goes on.

        What ``on_event`` raises is raised.
        """
        if not chunk:
            return StreamEnd()
        try:
            received = self._events.feed(chunk)
        except WRProtocolError as error:
            return StreamEnd(error=error)
        for data in received:
            try:
                event = self._watched.read_event(data)
                self._progress.see(event)
            except WRProtocolError as error:
                return StreamEnd(error=error)
            if event is not None:
                self._news_at = self._clock()
                if self._on_event is not None:
                    self._on_event(event)
                if event.is_terminal:
                    return StreamEnd(saw_terminal=True)
        now = self._clock()
        if now - self._news_at < NEWS:
            return None
        self._news_at = now
        return StreamEnd(is_quiet=True)
