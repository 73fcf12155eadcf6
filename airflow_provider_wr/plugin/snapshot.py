"""A task's run as it was seen at one moment: from White Rabbit while it goes on, from the XCom when it is over."""

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

#: Statuses whose stages are counted: the API documents five.
MOST_STATUSES = 20

#: Seconds between two looks at a run while its task waits.
LIVE = 1.0

#: Seconds between two looks where less happens: the task has ended, or White Rabbit could not be asked.
CALM = 5.0

#: Seconds for which a run that is over is kept, for whoever turns its pages.
OVER = 15.0

#: Seconds for which no ``Retry-After`` is exceeded.
MAX_PAUSE = 60.0

#: Nobody looks again for this many times as long as a look took: thousands of stages take a while to read.
REST = 10.0


class Seen(NamedTuple):
    """
    A run, and what is known of it.

    :param run: None where nothing is known of it.
    :param source: where it was read: "live", "xcom", or "" where it was not.
    :param read_at: Unix seconds at which it was read, or stored.
    :param notes: what cannot be known, and why, in words.
    :param again: seconds after which there may be news; None where all is over.
    """

    run: Run | None
    source: str
    read_at: float
    notes: tuple[str, ...]
    again: float | None


class Span(NamedTuple):
    """
    When a stage ran.

    :param number: its place in the API's list.
    :param start: Unix milliseconds at which its last attempt began; None where that is not known.
    :param end: Unix milliseconds at which it ended; None where it has not, or that is not known.
    """

    number: int
    status: str
    start: int | None
    end: int | None

    @property
    def order(self) -> tuple[bool, bool, float, int]:
        """Those that failed, then those that began, by their time, then the others."""
        began = self.end if self.start is None else self.start
        return self.status != StageStatus.FAILED, began is None, began or 0, self.number


@dataclass(frozen=True)
class Snapshot:
    """
    What was seen of a task's run.

    :param spans: its stages, in the order in which they are shown.
    """

    task: Task
    seen: Seen
    spans: list[Span]

    @property
    def fresh_for(self) -> float:
        """Seconds for which nobody looks again."""
        return OVER if self.seen.again is None else self.seen.again

    def page(self, number: int, status: str) -> dict[str, Any]:
        """
        Return what the browser draws: the task, the run, and one page of its stages, those that failed first.

        :param status: of the stages; empty for all of them.
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
        """Return the output and the error of a stage; None where there is no such stage."""
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
            gaps.append("White Rabbit gave no list of stages that can be read.")
        if count := sum(span.start is None and span.end is not None for span in self.spans):
            gaps.append(
                f"White Rabbit did not say when {count:,} of the stages began: a thin line marks their end, and "
                "their duration is not known."
            )
        if not self.task.shows_outputs:
            gaps.append("The task keeps no outputs in Airflow, so none are shown.")
        return gaps


def look(place: Place, before: Snapshot | None) -> Snapshot | None:
    """
    Look at a task and its run; None where there is no such task. Blocks.

    :param before: what was seen before; None for the first look.
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
        notes = ("An XCom backend keeps the run as the task stored it: this page does not read it there.",)
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
    "Which connection the task uses is not known here: Airflow keeps the rendered arguments of the last DAG runs "
    "only, and none of a task that starts in the triggerer."
)


def _later(task: Task) -> tuple[str, ...]:
    return () if task.has_ended else ("How far the run is stands in the task's log, too.",)


def _no_run(task: Task) -> str:
    if task.is_stored_elsewhere:
        return "An XCom backend keeps the XComs of this task elsewhere: this page cannot read which run it has."
    if task.has_ended:
        return "The task ended and named no run: its log says why."
    return "The task has not named a run yet."


def _stored(task: Task) -> Run | None:
    try:
        return None if task.stored is None else kinds.read(task.stored, is_execution=task.is_execution)
    except WRProtocolError:
        return None


def _as_before(
    task: Task, stored: Run | None, before: Snapshot | None, notes: tuple[str, ...], pause: float
) -> Seen:
    """Return what was known before, since White Rabbit cannot be asked now."""
    again = None if task.has_ended else pause
    if stored is not None:
        return Seen(stored, "xcom", task.stored_at, notes, again)
    if before is not None and before.seen.run is not None and before.task.watched_id == task.watched_id:
        return before.seen._replace(notes=notes, again=again)
    return Seen(None, "", 0.0, notes, again)


def _pause(task: Task, run: Run) -> float | None:
    """Return the seconds until there may be news."""
    if run.is_terminal:
        return None if task.has_ended else 2 * LIVE  # the XCom is on its way
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
