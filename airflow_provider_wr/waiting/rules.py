"""
The rules of waiting, without I/O.

:func:`wait` is a generator that yields the next step – look up the Airflow connection, open the stream, read,
follow the stream, pause – and receives its result. The two hooks run the steps, one with ``requests`` and one with
``aiohttp``, so both follow the same rules. It waits for a :class:`Watched`.

The stream has no replay, and events can be lost even while heartbeats arrive. So only a read ends a wait. We read
once the stream is open, when it ends, breaks, falls silent or has no event for a while, and at the deadline.
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
    WRCreditLimitError,
    WRError,
    WRNotFoundError,
    WRProtocolError,
    WRRateLimitError,
    WRServerError,
    WRTimeoutError,
)
from airflow_provider_wr.waiting import credit_limit
from airflow_provider_wr.waiting.backoff import pause
from airflow_provider_wr.waiting.progress import Progress

T = TypeVar("T", bound=State)

OnEvent = Callable[[Any], None]

log = logging.getLogger(__name__)

#: Seconds without a byte after which a stream is considered dead: three of the server's heartbeats.
SILENCE = 45.0

#: Seconds without an event after which a heartbeat triggers a read: five minutes, less one heartbeat.
MAX_QUIET = 285.0

#: Seconds after the first attempt during which a 404 may mean "not visible yet".
NOT_YET_VISIBLE = 30.0

#: Minimum seconds between two reloads of the Airflow connection after the API refused the key.
KEY_RELOAD_INTERVAL = 60.0

#: Seconds for the final read, which happens after the deadline.
FINAL_READ_TIMEOUT = 5.0

#: Seconds after which a stream counts as stable, and resets the backoff.
STABLE_AFTER = 20.0

#: Burst size of the limit of one request per second.
BURST = 4

#: Errors that do not depend on what was asked.
_OUTAGES = (WRConnectionError, WRTimeoutError, WRRateLimitError, WRServerError)

# --- steps ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """
    One step of a wait, for a hook to run.

    :param within: time limit in seconds; None for the hook's own.
    """

    within: float | None


@dataclass(frozen=True, slots=True)
class Connect(Step):
    """
    Look up the Airflow connection. Result: the URL of the page of the watched run; None without one.

    :param again: whether to reload a connection that was looked up before, because the API refused its key.
    """

    again: bool


class OpenStream(Step):
    """Open the stream, and close the previous one. Result: None."""


class Read(Step):
    """Read the current state. Result: a :class:`State`."""


class FollowStream(Step):
    """Follow the open stream from the current position. Result: a :class:`StreamEnd`."""


class Pause(Step):
    """Sleep for ``within`` seconds. Result: None."""

    within: float


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """
    Why following a stream stopped.

    :param saw_terminal: whether an event reported a terminal status.
    :param is_quiet: whether only heartbeats arrived for :data:`MAX_QUIET` seconds; the stream is still open.
    :param error: why the stream broke; None when the server closed it.
    :param over_limit: an event that reports more credits than the wait allows; None if none did.
    """

    saw_terminal: bool = False
    is_quiet: bool = False
    error: WRError | None = None
    over_limit: State | None = None


def advance(steps: Generator[Step, Any, T], result: Any) -> Step | T:
    """
    Pass the result of the last step to a wait, and return the next step, or the final state.

    :param result: the step's result, or the :class:`WRError` it failed with; None to start.
    """
    try:
        return steps.throw(result) if isinstance(result, WRError) else steps.send(result)
    except StopIteration as end:
        return cast("T", end.value)


# --- the rules --------------------------------------------------------------------------------------------


def wait(
    watched: Watched[T],
    *,
    within: float | None,
    limit: float | None = None,
    max_credits: float | None = None,
    clock: Callable[[], float] = time.monotonic,
    jitter: Callable[[], float] = random.random,
) -> Generator[Step, Any, T]:
    """
    Yield the steps of a wait, and return the final state, whatever its status.

    Use :func:`advance` to pass in the result of each step, or its :class:`WRError`.

    :param within: seconds until the deadline; None for none. One read happens even if it has already passed.
    :param limit: the timeout in seconds that the error message names; None to name none.
    :param max_credits: credits above which to stop waiting for an active run; None for no limit.
    :param clock: returns monotonic seconds.
    :param jitter: returns a random number from 0 to 1.

    Raises :class:`WRTimeoutError` after the deadline, :class:`WRCreditLimitError` when more credits were used than
    allowed, and any read error that is not transient.
    """
    state = _Wait(watched, within, max_credits, clock, jitter)
    try:
        return (yield from _wait_until_terminal(state))
    except _DeadlinePassed:
        pass
    if (ended := (yield from _final_read(state))) is not None:
        return ended
    known = state.known.text(state.link)
    raise WRTimeoutError(timed_out("the wait", limit, known), last_status=state.known.status, last_known=known)


def _wait_until_terminal(state: _Wait[T]) -> Generator[Step, Any, T]:
    because: WRError | str
    failures = 0
    saw_terminal = False  # if so, later streams have no events
    only_read = False  # after an outage, check with a read first: the run may have ended meanwhile
    while True:
        try:
            yield from state.connect()
            if not (only_read or saw_terminal):
                opened_at = state.clock()
                end = yield from _follow(state)
                if not isinstance(end, StreamEnd):
                    return end
                if state.clock() - opened_at >= STABLE_AFTER:
                    failures = 0
                saw_terminal = end.saw_terminal
                because = end.error or "the stream ended"
            if (ended := (yield from state.read())) is not None:
                return ended
            if saw_terminal:
                because = "the stream reported the end, but the read does not show it yet"
            elif only_read:
                only_read = False
                continue
        except WRError as error:
            state.known.record_error(error)
            only_read = True
            if state.reload_key(error):
                continue
            state.left()
            if not is_transient(error, elapsed=state.elapsed):
                raise
            because = error
        yield from state.pause(failures, because)
        failures += 1


def _follow(state: _Wait[T]) -> Generator[Step, Any, T | StreamEnd]:
    """Open the stream and follow it. Returns the final state, or why following stopped."""
    state.requests += 1
    try:
        yield OpenStream(state.left())
    except (WRAuthError, *_OUTAGES):
        raise
    except WRError as error:
        return StreamEnd(error=error)  # only the stream was refused: the read decides
    while True:
        if (ended := (yield from state.read())) is not None:
            return ended
        end: StreamEnd = yield FollowStream(state.left())
        if end.over_limit is not None:
            raise state.over_limit(end.over_limit)
        if not end.is_quiet:
            return end


def _final_read(state: _Wait[T]) -> Generator[Step, Any, T | None]:
    """Read once more after the deadline, unless a read already succeeded since."""
    if state.read_at >= state.deadline:
        return None
    state.deadline = state.clock() + FINAL_READ_TIMEOUT
    with suppress(_DeadlinePassed):
        for _ in range(2):
            try:
                yield from state.connect()
                return (yield from state.read())
            except WRCreditLimitError:
                raise
            except WRError as error:
                state.known.record_error(error)
                if not state.reload_key(error):
                    break
    return None


class _DeadlinePassed(Exception):
    pass


class _Wait(Generic[T]):
    """The state of one wait."""

    __slots__ = (
        "_connect",
        "_jitter",
        "_key_read_at",
        "_max_credits",
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
        self,
        watched: Watched[T],
        within: float | None,
        max_credits: float | None,
        clock: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:
        self._watched = watched
        self._max_credits = max_credits
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
        """Return the seconds until the deadline; None without one. Raises :class:`_DeadlinePassed` after it."""
        seconds = self.deadline - self.clock()
        if seconds <= 0:
            raise _DeadlinePassed
        return None if seconds == math.inf else seconds

    def connect(self) -> Generator[Step, Any, None]:
        """Look up the Airflow connection, unless that was done and its key was not refused since."""
        if self._connect:
            self.link = yield Connect(self.left(), again=self._key_read_at is not None)
            self._connect = False

    def reload_key(self, error: WRError) -> bool:
        """Reload the connection at the next step if the key may have been rotated. Returns whether it will be."""
        now = self.clock()
        if not isinstance(error, WRAuthError):
            return False
        if self._key_read_at is not None and now - self._key_read_at < KEY_RELOAD_INTERVAL:
            return False
        self._key_read_at = now
        self._connect = True
        return True

    def read(self) -> Generator[Step, Any, T | None]:
        """Read, and return the state if it is terminal. Other states are not kept, since they may be large."""
        self.requests += 1
        current: T = yield Read(self.left())
        self.known.record_state(current)
        self.read_at = self.clock()
        if current.is_terminal:
            return current
        if credit_limit.exceeds(current, self._max_credits):
            raise self.over_limit(current)
        return None

    def over_limit(self, current: State) -> WRCreditLimitError:
        """Return the error for a state that has used too many credits."""
        return credit_limit.running_error(self._watched, current, self._max_credits, still_running(self.link))

    def pause(self, failures: int, because: WRError | str) -> Generator[Step, Any, None]:
        """Pause before the next attempt, but not past a moment at which a read is due."""
        seconds = max(
            pause(failures, because, jitter=self._jitter),
            self.requests - BURST - self.elapsed,  # on average one request per second
        )
        seconds = cap_pause(seconds, self.known.error, elapsed=self.elapsed, left=self.left())
        log_retry(self._watched, because, seconds)
        yield Pause(seconds)


def cap_pause(seconds: float, error: WRError | None, *, elapsed: float, left: float | None) -> float:
    """
    Shorten a pause so that it ends no later than the next read that is due.

    :param error: the error of the last read; None if it succeeded.
    :param elapsed: seconds since the first attempt.
    :param left: seconds until the deadline; None for none.
    """
    if isinstance(error, WRNotFoundError) and elapsed < NOT_YET_VISIBLE:
        seconds = min(seconds, NOT_YET_VISIBLE - elapsed)
    return seconds if left is None else min(seconds, max(0.0, left))


def is_transient(error: WRError, *, elapsed: float) -> bool:
    """
    Return whether a wait retries after this error of a read.

    :param elapsed: seconds since the first attempt.
    """
    if isinstance(error, WRNotFoundError):
        return elapsed < NOT_YET_VISIBLE
    return isinstance(error, (*_OUTAGES, WRProtocolError))


# --- messages ---------------------------------------------------------------------------------------------


class LastKnown:
    """
    The last known status or error of the watched run, for the message of a timeout.

    :param what: names the run, such as ``run 9e4c…``.
    :param from_the_start: whether this object saw the whole wait; False if it started in another process.
    """

    __slots__ = ("_from_the_start", "_what", "error", "status")

    def __init__(self, what: str, *, from_the_start: bool = True) -> None:
        self._what = what
        self._from_the_start = from_the_start
        self.error: WRError | None = None
        self.status: str | None = None

    def record_state(self, state: State) -> None:
        """Record a successful read."""
        self.status = printable(state.status)
        self.error = None

    def record_error(self, error: WRError) -> None:
        """Record a failed read."""
        self.error = error

    def text(self, link: str | None) -> str:
        """
        Return what is known, as the second half of a sentence.

        :param link: URL of the run's page; None for none.
        """
        why = f": {self.error.cause}" if self.error is not None else ""
        if self.status is None:
            return f"{self._what} {'was never' if self._from_the_start else 'could not be'} reached{why}"
        if not why:
            return f"{self._what}, last seen {self.status}, {still_running(link)}"
        return f"{self._what}, last seen {self.status}, could not be reached since{why}{_see(link)}"


def still_running(link: str | None) -> str:
    """Return the end of a sentence about a run that nobody waits for any more."""
    return f"keeps running: White Rabbit has no call to cancel it{_see(link)}"


def _see(link: str | None) -> str:
    return f"; see {link}" if link else ""


def timed_out(subject: str, limit: float | None, known: str) -> str:
    """
    Return the message of a timeout.

    :param subject: what timed out, such as ``the wait``.
    :param limit: the timeout in seconds, as the user set it; None if unknown.
    :param known: the text of :class:`LastKnown`.
    """
    after = "" if limit is None else f" after {limit:.12g} s"
    return f"{subject} timed out{after}; {known}"


def last_known(final: WRTimeoutError, earlier: WRTimeoutError | None) -> str:
    """
    Return the newest known status of a run after a wait and a final read.

    :param final: the error of the final read.
    :param earlier: the error of the wait; None if there is none.
    """
    return final.last_known if earlier is None or final.last_status is not None else earlier.last_known


def log_retry(watched: object, because: WRError | str, seconds: float | None = None) -> None:
    """
    Log why a wait retries.

    :param watched: the run that is waited for.
    :param because: the error, or the reason in words.
    :param seconds: until the next attempt; None if Airflow decides.
    """
    when = "" if seconds is None else f" in {seconds:.1f} s"
    if isinstance(because, WRError):
        log.warning("%s; retrying%s (%s)", because.cause, when, watched)
    else:
        log.info("%s; retrying%s (%s)", because, when, watched)


# --- following a stream -----------------------------------------------------------------------------------


class Follower:
    """
    Reads the events of one stream until it ends or an event reports a terminal status.

    :param progress: updated with each event and heartbeat.
    :param on_event: called with each event; None for none.
    :param max_credits: credits above which to stop following; None for no limit.
    :param clock: returns monotonic seconds.
    """

    __slots__ = ("_clock", "_event_at", "_events", "_max_credits", "_on_event", "_progress", "_watched")

    def __init__(
        self,
        watched: Watched[Any],
        progress: Progress,
        on_event: OnEvent | None,
        *,
        max_credits: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._watched = watched
        self._max_credits = max_credits
        self._progress = progress
        self._on_event = on_event
        self._clock = clock
        self._events = EventStream()
        self._event_at = clock()

    def feed(self, chunk: bytes) -> StreamEnd | None:
        """
        Process the next bytes; empty bytes mean the stream's end. Returns None to continue.

        Exceptions from ``on_event`` propagate.
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
                self._progress.update(event)
            except WRProtocolError as error:
                return StreamEnd(error=error)
            if event is not None:
                self._event_at = self._clock()
                if self._on_event is not None:
                    self._on_event(event)
                if event.is_terminal:
                    return StreamEnd(saw_terminal=True)
                if credit_limit.exceeds(event, self._max_credits):
                    return StreamEnd(over_limit=event)
        now = self._clock()
        if now - self._event_at < MAX_QUIET:
            return None
        self._event_at = now
        return StreamEnd(is_quiet=True)
