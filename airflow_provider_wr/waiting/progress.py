"""How far what is waited for is, as lines in the task's log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from airflow_provider_wr.api.models import RunStage, StageStatus, credits_text, grouped
from airflow_provider_wr.api.text import printable
from airflow_provider_wr.api.watched import State

log = logging.getLogger(__name__)

#: Groups of stages that a progress line names.
STAGES_SHOWN = 5


class Progress:
    """
    Logs a line when the status, the pending count or the running stages change, at most one per second. The end is
    left to those who wait for it.

    A line reads ``EXECUTING | 3 stages pending | 5 credits | running: X ×60, Y``.

    :param clock: seconds, monotonic.
    """

    __slots__ = ("_clock", "_said", "_said_at", "_unsaid")

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said: int | None = None
        self._said_at = float("-inf")
        self._unsaid: State | None = None

    def see(self, now: State | None) -> None:
        """Take what is known now; None is a heartbeat, on which a line held back is said."""
        latest = now or self._unsaid
        if latest is None or latest.is_terminal or not log.isEnabledFor(logging.INFO):
            return
        self._unsaid = latest
        if self._clock() - self._said_at < 1:
            return
        self._unsaid = None
        running = _running(latest)
        stages = tuple((stage.id, stage.execution_attempt) for stage in running)
        known = hash((latest.status, latest.pending_stage_count, stages))
        if known != self._said:
            self._said = known
            self._said_at = self._clock()
            log.info("%s", _line(latest, running))


def progress_line(now: State) -> str:
    """Return one line on how far it is; what the API did not say is left out."""
    return _line(now, _running(now))


def _running(now: State) -> list[RunStage]:
    return [stage for stage in now.active_stages if stage.status == StageStatus.RUNNING]


def _line(now: State, running: list[RunStage]) -> str:
    parts = [printable(now.status)]
    if (pending := now.pending_stage_count) is not None:
        parts.append(f"{pending} stage{'' if pending == 1 else 's'} pending")
    if now.total_usage is not None:
        parts.append(credits_text(now.total_usage))
    if running:
        names = grouped(((stage.label, stage.attempt_text) for stage in running), STAGES_SHOWN)
        parts.append(f"running: {', '.join(names)}")
    return " | ".join(parts)
