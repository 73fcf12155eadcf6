"""
The rules of waiting for a run, without I/O.

:func:`wait` is a generator that says what to do next – open the stream, read the run, follow the stream,
pause, read the connection again – and is told how it went. The two hooks do as it says, one with ``requests``
and one with ``aiohttp``, so that both wait by the same rules.

The stream has no replay: a run that ends just before we subscribe may never send a terminal event. So the run
is read once after the stream is open, and again whenever the stream ends, breaks or goes silent.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, cast

from airflow_provider_wr.api.models import Run, RunEvent
from airflow_provider_wr.api.sse import EventStream
from airflow_provider_wr.api.text import printable
from airflow_provider_wr.api.watched import Watched
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

OnEvent = Callable[[RunEvent], None]

log = logging.getLogger(__name__)

#: Seconds without a byte after which a stream is taken for dead: three of the server's heartbeats.
SILENCE = 45.0

#: Seconds after the first attempt in which a 404 may mean that the run is not visible yet.
NOT_YET_VISIBLE = 30.0

#: Seconds for which a key that was read again counts as the newest there is.
KEY_IS_FRESH = 60.0

# --- steps ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """
    Something for a hook to do.

    :param within: seconds that it may take; None for as long as the hook lets it.
    """

    within: float | None


class OpenStream(Step):
    """Open the run's stream, in place of one that is open already. Answer: None."""


class ReadRun(Step):
    """Read the run. Answer: the :class:`Run`."""


class FollowStream(Step):
    """Follow the stream until it ends, breaks, is silent or tells of the run's end. Answer: a StreamEnd."""


class Reconnect(Step):
    """Read the Airflow connection again, since its key was refused. Answer: None."""


class Pause(Step):
    """Do nothing for ``within`` seconds. Answer: None."""

    within: float


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """
    How following a stream ended.

    :param had_events: whether any event came.
    :param saw_terminal: whether one of them said that the run has ended.
    :param error: why it broke; None when it ended by itself.
    """

    had_events: bool
    saw_terminal: bool = False
    error: WRError | None = None


def wait(
    watched: Watched,
    *,
    timeout: float | None,
    link: str | None = None,
    clock: Callable[[], float] = time.monotonic,
    jitter: Callable[[], float] = random.random,
) -> Generator[Step, Any, Run]:
    """
    Say, step by step, how to wait for a run. Returns it once it has ended, whatever its status.

    :func:`advance` is how to answer a step. One that failed is answered with its :class:`WRError`.

    :param timeout: seconds; None waits for as long as it takes.
    :param link: URL of the run's page; None where there is none.
    :param clock: seconds, monotonic.
    :param jitter: a number from 0 to 1 on each call.

    Raises :class:`WRTimeoutError` when time has run out, and the error of a step that time cannot mend.
    """
    state = _WaitState(watched, timeout, link, clock, started=clock())
    because: WRError | str
    failures = 0
    told = False
    stream_failed = False
    key_read_at = float("-inf")
    while True:
        try:
            # A stream that cannot be opened must not hide that the run has ended: read the run before the next
            # attempt. And where the run lags behind the event that told of its end, no stream tells of it again.
            only_read = stream_failed or told
            stream_failed = False
            if not only_read:
                stream_failed = True
                yield OpenStream(state.left())
                stream_failed = False
                if (run := (yield from _read_ended(state))) is not None:
                    return run
                end: StreamEnd = yield FollowStream(state.left())
                if end.had_events:
                    failures = 0
                told = end.saw_terminal
                because = end.error or "its stream ended"
            if (run := (yield from _read_ended(state))) is not None:
                return run
            if told:
                because = "its stream told of its end, which is not to be read yet"
            elif only_read:
                continue
        except WRAuthError:
            # A key that was just read again and is refused is no key that has been rotated.
            if clock() - key_read_at < KEY_IS_FRESH:
                raise
            key_read_at = clock()
            yield Reconnect(state.left())
            continue
        except WRError as error:
            state.left()
            if not is_transient(error, elapsed=clock() - state.started):
                raise
            because = error
        seconds = pause(failures, because, jitter=jitter)
        failures += 1
        remaining = state.left()
        log_retry(watched.id, because, seconds)
        yield Pause(seconds if remaining is None else min(seconds, remaining))


@dataclass(slots=True)
class _WaitState:
    """How far a wait is: its time, and the status that the run was last seen in."""

    watched: Watched
    timeout: float | None
    link: str | None
    clock: Callable[[], float]
    started: float
    status: str = "not seen"

    def left(self) -> float | None:
        """Return the seconds that are left, None for no end; raises :class:`WRTimeoutError` when none are."""
        if self.timeout is None:
            return None
        seconds = self.started + self.timeout - self.clock()
        if seconds <= 0:
            raise WRTimeoutError(
                timed_out(self.watched.id, self.timeout, self.link, f", last seen {self.status},")
            )
        return seconds


def _read_ended(state: _WaitState) -> Generator[Step, Any, Run | None]:
    """Read the run, and return it if it has ended: one that has not is not kept, since it may be large."""
    run: Run = yield ReadRun(state.left())
    state.status = printable(run.status)
    return run if run.is_terminal else None


def advance(steps: Generator[Step, Any, Run], answer: Any) -> Step | Run:
    """
    Tell a wait how its last step went, and return the next, or the run that has ended.

    :param answer: the step's, or the :class:`WRError` that it failed with; None at the beginning.
    """
    try:
        return steps.throw(answer) if isinstance(answer, WRError) else steps.send(answer)
    except StopIteration as end:
        return cast("Run", end.value)


def still_running(link: str | None) -> str:
    """Return the end of a sentence about a run that is not waited for any more."""
    return "goes on: White Rabbit has no call to cancel it" + (f"; see {link}" if link else "")


def timed_out(run_id: str, seconds: float, link: str | None, seen: str = "") -> str:
    """Return what is said of a wait that took ``seconds``, all it had; ``seen`` is how the run was last seen."""
    limit = f"{round(seconds, 1):.12g} s"
    return f"the wait for run {run_id} timed out after {limit}; the run{seen} {still_running(link)}"


def log_retry(run_id: str, because: WRError | str, seconds: float | None = None) -> None:
    """
    Log that the wait goes on.

    :param because: why the run has to be looked at again.
    :param seconds: until then; None where it is not known here.
    """
    level = logging.WARNING if isinstance(because, WRError) else logging.INFO
    when = "" if seconds is None else f" in {seconds:.1f} s"
    log.log(level, "Run %s: %s; retrying%s", run_id, because, when)


def is_transient(error: WRError, *, elapsed: float) -> bool:
    """
    Return whether a wait should go on after ``error``.

    :param elapsed: seconds since the first attempt.
    """
    if isinstance(error, WRNotFoundError):
        return elapsed < NOT_YET_VISIBLE
    return isinstance(error, (WRConnectionError, WRTimeoutError, WRRateLimitError, WRServerError, WRProtocolError))


# --- following a stream -----------------------------------------------------------------------------------


class Follower:
    """
    Takes what comes on a run's stream, until that ends or tells of the run's end.

    :param progress: is shown each event and each heartbeat.
    :param on_event: is called with each event; None for nothing.
    """

    __slots__ = ("_events", "_had_events", "_on_event", "_progress", "_watched")

    def __init__(self, watched: Watched, progress: Progress, on_event: OnEvent | None) -> None:
        self._watched = watched
        self._progress = progress
        self._on_event = on_event
        self._events = EventStream()
        self._had_events = False

    def feed(self, chunk: bytes) -> StreamEnd | None:
        """
        Take the next bytes, none at the stream's end. Returns how following ended; None while it goes on.

        What ``on_event`` raises is raised.
        """
        if not chunk:
            return self.end()
        try:
            return self._take(chunk)
        except WRProtocolError as error:
            return self.end(error)

    def _take(self, chunk: bytes) -> StreamEnd | None:
        for data in self._events.feed(chunk):
            event = self._watched.read_event(data)
            self._progress.see(event)
            if event is not None:
                self._had_events = True
                if self._on_event is not None:
                    self._on_event(event)
                if event.is_terminal:
                    return StreamEnd(had_events=True, saw_terminal=True)
        return None

    def end(self, error: WRError | None = None) -> StreamEnd:
        """Return how following ended with the stream: for this error, or by itself."""
        return StreamEnd(self._had_events, error=error)
