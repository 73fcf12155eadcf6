"""A task's run at one moment: from White Rabbit while it is active, from the XCom once the task has ended."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any, NamedTuple

from airflow_provider_wr.api.models import TERMINAL, Run, RunStage, StageStatus
from airflow_provider_wr.api.text import printable
from airflow_provider_wr.exceptions import WRError, WRProtocolError
from airflow_provider_wr.plugin import kinds, live, shown
from airflow_provider_wr.plugin.live import NoConnection
from airflow_provider_wr.plugin.task import Place, Task, read_task

#: Stages on one page of the timeline.
PAGE_SIZE = 100

#: Maximum number of statuses to count. The API documents five.
MOST_STATUSES = 20

#: Seconds between two reads while the task waits.
LIVE = 1.0

#: Seconds between two reads if the task has ended, or after an error.
CALM = 5.0

#: Seconds for which a finished run is kept, for its other pages.
OVER = 15.0

#: Maximum seconds to honor a ``Retry-After``.
MAX_PAUSE = 60.0

#: Pause after a read, as a multiple of its duration: thousands of stages take a while.
REST = 10.0


class Seen(NamedTuple):
    """
    A run, and what is known of it.

    :param run: None if unknown.
    :param source: "live" or "xcom"; empty if unknown.
    :param read_at: when it was read or stored, in Unix seconds.
    :param notes: sentences about what is unknown, and why.
    :param again: seconds until the next read; None if nothing will change.
    """

    run: Run | None
    source: str
    read_at: float
    notes: tuple[str, ...]
    again: float | None


class Span(NamedTuple):
    """
    When a stage ran.

    :param number: its index in the API's list.
    :param start: when its last attempt began, in Unix milliseconds; None if unknown.
    :param end: when it ended, in Unix milliseconds; None if active or unknown.
    """

    number: int
    status: str
    start: int | None
    end: int | None

    @property
    def order(self) -> tuple[bool, bool, float, int]:
        """Failed stages first, then by start; those that have not started come last."""
        began = self.end if self.start is None else self.start
        return self.status != StageStatus.FAILED, began is None, began or 0, self.number


@dataclass(frozen=True)
class Snapshot:
    """
    A task and its run.

    :param spans: the stages in display order.
    """

    task: Task
    seen: Seen
    spans: list[Span]

    @property
    def fresh_for(self) -> float:
        """Seconds for which this is reused."""
        return OVER if self.seen.again is None else self.seen.again

    def page(self, number: int, status: str) -> dict[str, Any]:
        """
        Return what the browser draws: the task, the run, and one page of its stages.

        :param status: only stages with this status; empty for all.
        """
        spans = [span for span in self.spans if not status or shown.status(span.status) == status]
        last = max(0, (len(spans) - 1) // PAGE_SIZE)
        number = min(number, last)
        stages = self.seen.run.stages if self.seen.run else ()
        conn_id = self.task.conn_id
        return {
            "task": {"state": self.task.state, "try": self.task.try_number},
            "noun": "Execution" if self.task.is_execution else "Run",
            "id": shown.name(self.task.watched_id or ""),
            "run": self._header,
            "stages": [
                {**shown.stage(stages[span.number]), "number": span.number, "start": span.start, "end": span.end}
                for span in spans[number * PAGE_SIZE : (number + 1) * PAGE_SIZE]
            ],
            "first": number * PAGE_SIZE + 1,
            "matching": len(spans),
            "page": number,
            "pages": last + 1,
            "source": self.seen.source,
            "read_at": int(self.seen.read_at * 1000),
            "connection": conn_id and shown.name(conn_id),
            "notes": [*self.seen.notes, *self._gaps],
            "now": int(time.time() * 1000),
            "again": self.seen.again,
        }

    def stage(self, number: int) -> dict[str, Any] | None:
        """Return the output and the error of a stage; None if there is no such stage."""
        run = self.seen.run
        if run is None or not 0 <= number < len(run.stages):
            return None
        stage = run.stages[number]
        return {
            "id": shown.name(stage.id),
            "output": shown.document(stage.output) if self.task.shows_outputs else None,
            "hidden": not self.task.shows_outputs,
            "error": shown.document(stage.error),
        }

    @property
    def _header(self) -> dict[str, Any] | None:
        run = self.seen.run
        if run is None:
            return None
        start, end = shown.milliseconds(run.created_at), shown.milliseconds(run.updated_at)
        end = end if run.is_terminal else None
        times = [each for span in self.spans for each in (span.start, span.end) if each is not None]
        counts = Counter(span.status for span in self.spans).most_common(MOST_STATUSES)
        return {
            "id": shown.name(run.id),
            "status": shown.status(run.status),
            "is_over": run.is_terminal,
            "credits": shown.amount(run.total_usage),
            "start": start,
            "end": end,
            "cancel_reason": run.cancel_reason and shown.name(run.cancel_reason),
            "cancel_requested": shown.milliseconds(run.cancel_requested_at),
            "stages": len(self.spans) if run.stages_known else None,
            "counts": {shown.status(status): count for status, count in counts},
            "from": min(times if start is None else [start, *times], default=None),
            "to": max(times if end is None else [end, *times], default=None),
        }

    @property
    def _gaps(self) -> list[str]:
        run = self.seen.run
        if run is None:
            return []
        gaps = []
        if not run.stages_known:
            gaps.append("White Rabbit returned no readable list of stages.")
        if count := sum(span.start is None and span.end is not None for span in self.spans):
            gaps.append(
                f"White Rabbit did not say when {count:,} of the stages started. A thin line marks their end; "
                "their duration is unknown."
            )
        if not self.task.shows_outputs:
            gaps.append("The task keeps no outputs in Airflow, so the page shows none.")
        return gaps


def look(place: Place, before: Snapshot | None) -> Snapshot | None:
    """
    Read a task and its run; return None if there is no such task. Blocks.

    :param before: the previous snapshot; None for the first.
    """
    began = time.monotonic()
    task = read_task(place)
    if task is None:
        return None
    seen = _look_at_run(task, before)
    spans = [] if seen.run is None else [_span(number, stage) for number, stage in enumerate(seen.run.stages)]
    spans.sort(key=lambda span: span.order)
    if seen.again is not None:
        seen = seen._replace(again=max(seen.again, REST * (time.monotonic() - began)))
    return Snapshot(task, seen, spans)


def _look_at_run(task: Task, before: Snapshot | None) -> Seen:
    stored = _stored(task)
    if stored is not None and stored.is_terminal:
        return Seen(stored, "xcom", task.stored_at, (), None)
    if task.watched_id is None:
        return Seen(None, "", 0.0, (_no_run(task),), None if task.has_ended else 2 * LIVE)
    notes: tuple[str, ...] = ()
    if task.is_stored_elsewhere:
        notes = ("The task's XCom is in a custom XCom backend, which this page does not read.",)
    if task.conn_id is None:
        return _as_before(task, stored, before, (*notes, NO_CONN_ID), CALM)
    try:
        watched = kinds.watch(task.watched_id, is_execution=task.is_execution)
        run = kinds.as_run(live.read(watched, task.conn_id, task.team))
    except NoConnection as error:
        why = f"Airflow's API server cannot use the connection {task.conn_id!r}: {printable(str(error))}"
        return _as_before(task, stored, before, (*notes, why, *_later(task)), CALM)
    except WRError as error:
        why = f"Airflow's API server cannot read the run from White Rabbit: {printable(str(error))}"
        pause = min(max(CALM, getattr(error, "retry_after", None) or 0.0), MAX_PAUSE)
        return _as_before(task, stored, before, (*notes, why, *_later(task)), pause)
    return Seen(run, "live", time.time(), notes, _pause(task, run))


NO_CONN_ID = (
    "The task's connection is unknown: Airflow keeps rendered arguments only for the latest DAG runs, and not for "
    "tasks that start in the triggerer."
)


def _later(task: Task) -> tuple[str, ...]:
    return () if task.has_ended else ("The task's log shows the progress of the run.",)


def _no_run(task: Task) -> str:
    if task.is_stored_elsewhere:
        return "The task's XComs are in a custom XCom backend, which this page does not read."
    if task.has_ended:
        return "The task ended without a run. Its log says why."
    return "The task has no run yet."


def _stored(task: Task) -> Run | None:
    try:
        return None if task.stored is None else kinds.read(task.stored, is_execution=task.is_execution)
    except WRProtocolError:
        return None


def _as_before(
    task: Task, stored: Run | None, before: Snapshot | None, notes: tuple[str, ...], pause: float
) -> Seen:
    """Return what is known from before, since White Rabbit cannot be read now."""
    again = None if task.has_ended else pause
    if stored is not None:
        return Seen(stored, "xcom", task.stored_at, notes, again)
    if before is not None and before.seen.run is not None and before.task.watched_id == task.watched_id:
        return before.seen._replace(notes=notes, again=again)
    return Seen(None, "", 0.0, notes, again)


def _pause(task: Task, run: Run) -> float | None:
    """Return the seconds until the next read."""
    if run.is_terminal:
        return None if task.has_ended else 2 * LIVE  # until the task has stored its XCom
    return CALM if task.has_ended else LIVE


def _span(number: int, stage: RunStage) -> Span:
    start = end = None
    if stage.status != StageStatus.CREATED:
        start = shown.milliseconds(stage.dispatched_at)
        if stage.status in TERMINAL and (start is not None or stage.status != StageStatus.CANCELED):
            end = shown.milliseconds(stage.updated_at)
            if start is not None and end is not None:
                end = max(start, end)
    return Span(number, stage.status, start, end)
