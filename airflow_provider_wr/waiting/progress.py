"""Log the progress of a wait."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from airflow_provider_wr.api.models import RunStage, StageStatus, credits_text, grouped
from airflow_provider_wr.api.text import printable
from airflow_provider_wr.api.watched import State

log = logging.getLogger(__name__)

#: Maximum number of stage groups in a progress line.
STAGES_SHOWN = 5


class Progress:
    """
    Logs a line when the status, the pending count or the running stages change, at most one per second.

    Terminal states are not logged here. Example: ``EXECUTING | 3 stages pending | 5 credits | running: X ×60, Y``.

    :param clock: returns monotonic seconds.
    """

    __slots__ = ("_clock", "_logged", "_logged_at", "_pending")

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._logged: int | None = None
        self._logged_at = float("-inf")
        self._pending: State | None = None

    def update(self, state: State | None) -> None:
        """Log the state if it changed; None is a heartbeat, which flushes a line held back by the rate limit."""
        latest = state or self._pending
        if latest is None or latest.is_terminal or not log.isEnabledFor(logging.INFO):
            return
        self._pending = latest
        if self._clock() - self._logged_at < 1:
            return
        self._pending = None
        running = _running(latest)
        stages = tuple((stage.id, stage.execution_attempt) for stage in running)
        digest = hash((latest.status, latest.pending_stage_count, stages))
        if digest != self._logged:
            self._logged = digest
            self._logged_at = self._clock()
            log.info("%s", _line(latest, running))


def progress_line(state: State) -> str:
    """Return the progress in one line, without the fields that the API left out."""
    return _line(state, _running(state))


def _running(state: State) -> list[RunStage]:
    return [stage for stage in state.active_stages if stage.status == StageStatus.RUNNING]


def _line(state: State, running: list[RunStage]) -> str:
    parts = [printable(state.status)]
    if (pending := state.pending_stage_count) is not None:
        parts.append(f"{pending} stage{'' if pending == 1 else 's'} pending")
    if state.total_usage is not None:
        parts.append(credits_text(state.total_usage))
    if running:
        names = grouped(((stage.label, stage.attempt_text) for stage in running), STAGES_SHOWN)
        parts.append(f"running: {', '.join(names)}")
    return " | ".join(parts)
