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

from tenacity import RetryCallState, retry_if_exception, stop_after_attempt

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
from airflow_provider_wr.models import Run, RunEvent, RunStage, StageStatus, credits_text
from airflow_provider_wr.protocol import CALL_ATTEMPTS, may_send_again, read_event
from airflow_provider_wr.quoting import quote
from airflow_provider_wr.sse import EventStream

OnEvent = Callable[[RunEvent], None]

log = logging.getLogger(__name__)

#: Seconds without a byte after which a stream is taken for dead: three of the server's heartbeats.
SILENCE = 45.0

#: Seconds after the first attempt in which a 404 may mean that the run is not visible yet.
NOT_YET_VISIBLE = 30.0

#: Seconds that a pause grows to.
MAX_PAUSE = 60.0

#: Seconds for which a key that was read again counts as the newest there is.
KEY_IS_FRESH = 60.0

#: Stages that a progress line names.
STAGES_SHOWN = 5


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

    :param flowed: whether any event came.
    :param told: whether one of them said that the run has ended.
    :param error: why it broke; None when it ended by itself.
    """

    flowed: bool
    told: bool = False
    error: WRError | None = None


def wait(
    run_id: str,
    *,
    timeout: float | None,
    link: str | None = None,
    clock: Callable[[], float] = time.monotonic,
    jitter: Callable[[], float] = random.random,
) -> Generator[Step, Any, Run]:
    """
    Say, step by step, how to wait for a run. Returns it once it has ended, whatever its status.

    :func:`tell` is how to answer a step. One that failed is answered with its :class:`WRError`.

    :param timeout: seconds; None waits for as long as it takes.
    :param link: URL of the run's page; None where there is none.
    :param clock: seconds, monotonic.
    :param jitter: a number from 0 to 1 on each call.

    Raises :class:`WRTimeoutError` when time has run out, and the error of a step that time cannot mend.
    """
    so_far = _SoFar(run_id, timeout, link, clock, started=clock())
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
                yield OpenStream(so_far.left())
                stream_failed = False
                if (run := (yield from _read_ended(so_far))) is not None:
                    return run
                end: StreamEnd = yield FollowStream(so_far.left())
                if end.flowed:
                    failures = 0
                told = end.told
                because = end.error or "its stream ended"
            if (run := (yield from _read_ended(so_far))) is not None:
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
            yield Reconnect(so_far.left())
            continue
        except WRError as error:
            so_far.left()
            if not time_may_mend(error, waited=clock() - so_far.started):
                raise
            because = error
        seconds = pause(failures, because, jitter=jitter)
        failures += 1
        remaining = so_far.left()
        say_looking_again(run_id, because, seconds)
        yield Pause(seconds if remaining is None else min(seconds, remaining))


@dataclass(slots=True)
class _SoFar:
    """How far a wait is: its time, and the status that the run was last seen in."""

    run_id: str
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
            raise WRTimeoutError(timed_out(self.run_id, self.timeout, self.link, f", last seen {self.status},"))
        return seconds


def _read_ended(so_far: _SoFar) -> Generator[Step, Any, Run | None]:
    """Read the run, and return it if it has ended: one that has not is not kept, since it may be large."""
    run: Run = yield ReadRun(so_far.left())
    so_far.status = quote(run.status)
    return run if run.is_terminal else None


def tell(steps: Generator[Step, Any, Run], answer: Any) -> Step | Run:
    """
    Tell a wait how its last step went, and return the next, or the run that has ended.

    :param answer: the step's, or the :class:`WRError` that it failed with; None at the beginning.
    """
    try:
        return steps.throw(answer) if isinstance(answer, WRError) else steps.send(answer)
    except StopIteration as end:
        return cast("Run", end.value)


def goes_on(link: str | None) -> str:
    """Return the end of a sentence about a run that is not waited for any more."""
    return "goes on: White Rabbit has no call to cancel it" + (f"; see {link}" if link else "")


def timed_out(run_id: str, seconds: float, link: str | None, seen: str = "") -> str:
    """Return what is said of a wait that took ``seconds``, all it had; ``seen`` is how the run was last seen."""
    return f"the wait for run {run_id} timed out after {round(seconds, 1):.12g} s; the run{seen} {goes_on(link)}"


def say_looking_again(run_id: str, because: WRError | str, seconds: float | None = None) -> None:
    """
    Log that the wait goes on.

    :param because: why the run has to be looked at again.
    :param seconds: until then; None where it is not known here.
    """
    level = logging.WARNING if isinstance(because, WRError) else logging.INFO
    when = "" if seconds is None else f" in {seconds:.1f} s"
    log.log(level, "Run %s: %s; looking again%s", run_id, because, when)


def time_may_mend(error: WRError, *, waited: float) -> bool:
    """
    Return whether a wait should go on after ``error``.

    :param waited: seconds since the first attempt.
    """
    if isinstance(error, WRNotFoundError):
        return waited < NOT_YET_VISIBLE
    return isinstance(error, (WRConnectionError, WRTimeoutError, WRRateLimitError, WRServerError, WRProtocolError))


# --- following a stream -----------------------------------------------------------------------------------


class Follower:
    """
    Takes what comes on a run's stream, until that ends or tells of the run's end.

    :param progress: is shown each event and each heartbeat.
    :param on_event: is called with each event; None for nothing.
    """

    __slots__ = ("_events", "_flowed", "_on_event", "_progress", "run_id")

    def __init__(self, run_id: str, progress: Progress, on_event: OnEvent | None) -> None:
        self.run_id = run_id
        self._progress = progress
        self._on_event = on_event
        self._events = EventStream()
        self._flowed = False

    def feed(self, chunk: bytes) -> StreamEnd | None:
        """
        Take the next bytes, none at the stream's end. Returns how following ended; None while it goes on.

        Raises :class:`WRProtocolError`.
        """
        if not chunk:
            return self.end()
        for data in self._events.feed(chunk):
            event = read_event(self.run_id, data)
            self._progress.see(event)
            if event is not None:
                self._flowed = True
                if self._on_event is not None:
                    self._on_event(event)
                if event.is_terminal:
                    return StreamEnd(flowed=True, told=True)
        return None

    def end(self, error: WRError | None = None) -> StreamEnd:
        """Return how following ended with the stream: for this error, or by itself."""
        return StreamEnd(self._flowed, error=error)


# --- pauses -----------------------------------------------------------------------------------------------


def pause(failures: int, because: object, *, jitter: Callable[[], float] = random.random) -> float:
    """
    Return the seconds to wait after failures in a row: 1, doubled each time, at most 60, with full jitter.

    :param failures: how many there were before this one.
    :param because: the last of them; the ``Retry-After`` of an answer is waited out before the jitter.
    """
    seconds = min(MAX_PAUSE, 2.0 ** min(failures, 10)) * jitter()
    asked = because.retry_after if isinstance(because, WRError) else None
    return (asked or 0.0) + seconds


def _pause_after(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return pause(state.attempt_number - 1, error)


def _say_again(state: RetryCallState) -> None:
    if state.outcome and state.next_action:
        log.warning("%s; sending it again in %.1f s", state.outcome.exception(), state.next_action.sleep)


#: How both hooks send a plain call again, for tenacity: the same call, only where it cannot have been obeyed
#: or may be obeyed twice.
RETRYING: dict[str, Any] = {
    "retry": retry_if_exception(may_send_again),
    "stop": stop_after_attempt(CALL_ATTEMPTS),
    "wait": _pause_after,
    "before_sleep": _say_again,
    "reraise": True,
}


# --- progress ---------------------------------------------------------------------------------------------


class Progress:
    """
    Logs a line when a run's status, pending count or running stages change, at most one per second.

    A line reads ``EXECUTING | 3 stages pending | 5 credits | running: X (attempt 1)``.

    :param clock: seconds, monotonic.
    """

    __slots__ = ("_clock", "_said", "_said_at", "_unsaid")

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said: int | None = None
        self._said_at = float("-inf")
        self._unsaid: Run | RunEvent | None = None

    def see(self, now: Run | RunEvent | None) -> None:
        """Take what is known of the run now; None is a heartbeat, on which a line held back is said."""
        latest = now or self._unsaid
        if latest is None or not log.isEnabledFor(logging.INFO):
            return
        self._unsaid = latest
        if self._clock() - self._said_at < 1 and not latest.is_terminal:
            return
        self._unsaid = None
        running = _running(latest)
        stages = tuple((stage.id, stage.execution_attempt) for stage in running)
        known = hash((latest.status, latest.pending_stage_count, stages))
        if known != self._said:
            self._said = known
            self._said_at = self._clock()
            log.info("%s", _line(latest, running))


def progress_line(now: Run | RunEvent) -> str:
    """Return one line on how far a run is; what the API did not say is left out."""
    return _line(now, _running(now))


def _running(now: Run | RunEvent) -> list[RunStage]:
    return [stage for stage in now.active_stages if stage.status == StageStatus.RUNNING]


def _line(now: Run | RunEvent, running: list[RunStage]) -> str:
    parts = [quote(now.status)]
    if (pending := now.pending_stage_count) is not None:
        parts.append(f"{pending} stage{'' if pending == 1 else 's'} pending")
    if now.total_usage is not None:
        parts.append(credits_text(now.total_usage))
    if running:
        names = [
            f"{quote(stage.module)} (attempt {stage.execution_attempt or 1})" for stage in running[:STAGES_SHOWN]
        ]
        if len(running) > STAGES_SHOWN:
            names.append(f"and {len(running) - STAGES_SHOWN} more")
        parts.append(f"running: {', '.join(names)}")
    return " | ".join(parts)
