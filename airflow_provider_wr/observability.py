"""
OpenTelemetry spans and Airflow's metrics for runs that are started and waited for.

Each hook has one place in which a wait ends, whatever is waited for. It runs in the worker for a task that waits
there, in the triggerer for a deferred one. Both report to a :class:`Wait`, and so does a sensor that pokes, which
has no such wait. A span goes under the current one, which Airflow makes for each task and each trigger. If tracing
or metrics are off, nothing is imported and nothing is sent.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from airflow_provider_wr import __version__
from airflow_provider_wr.api.models import RunStage, StageStatus
from airflow_provider_wr.api.sanitize import fit_text
from airflow_provider_wr.api.text import printable
from airflow_provider_wr.api.times import to_unix
from airflow_provider_wr.exceptions import WRTriggerUnknownError

if TYPE_CHECKING:
    from airflow_provider_wr.api.watched import State

log = logging.getLogger(__name__)

#: Maximum number of stages with a span. A fan-out may have thousands, and exporters drop spans if their queue is
#: full.
MAX_STAGES = 200

#: The names of runs and executions in spans and metrics, and the tags that distinguish them.
_KINDS = {"run": "run", "execution": "component"}
_TAGS = {"run": "workflow", "execution": "module"}

#: The DAG of the trigger that runs in this context. In a worker Airflow has it in the environment.
_dag_id: ContextVar[str | None] = ContextVar("wr_dag_id", default=None)


def set_dag(dag_id: str | None) -> None:
    """Set the DAG of the trigger that runs in this context: a triggerer has triggers of many."""
    _dag_id.set(dag_id)


@contextmanager
def triggering(noun: str, of: str | None) -> Iterator[None]:
    """
    Count what the block starts, or that the outcome is unknown.

    :param noun: what it starts: "run" or "execution".
    :param of: the UUID of the run's workflow, or the module of an execution.
    """
    try:
        yield
    except WRTriggerUnknownError:
        outcome_unknown(noun, of)
        raise
    _count(noun, "started", of)


def is_traced() -> bool:
    """Return whether spans are recorded here. If so, reporting a large run takes a while: it builds the stages."""
    trace: Any = sys.modules.get("opentelemetry.trace")
    return trace is not None and trace.get_current_span().is_recording()


def is_on() -> bool:
    """Return whether spans or metrics are recorded here."""
    return is_traced() or _stats() is not None


def outcome_unknown(noun: str, of: str | None) -> None:
    """Count a trigger with an unknown outcome; see :func:`triggering`."""
    _count(noun, "trigger_unknown", of)


class Wait:
    """
    A wait that is observed.

    Call :meth:`ended` or :meth:`failed` once it is over, and neither if it is interrupted, as when a triggerer
    stops: another one resumes it.

    :param noun: what is waited for: "run" or "execution".
    :param run_id: its UUID.
    :param workflow_id: UUID of the run's workflow; None if it is not known yet, and for an execution.
    :param started_at: Unix seconds at which the wait started; None for now.
    """

    def __init__(
        self, noun: str, run_id: str, workflow_id: str | None = None, *, started_at: float | None = None
    ) -> None:
        self.workflow_id = workflow_id
        self._noun = noun
        self._run_id = run_id
        self._started_at = time.time() if started_at is None else started_at

    def reconnected(self) -> None:
        """Count a stream that is opened again."""
        _count(self._noun, "reconnects", self._of(None))

    def ended(self, final: State) -> None:
        """Report the final state."""
        status = str(getattr(final.status, "value", final.status))
        credits = final.total_usage
        of = self._of(final)
        _count(self._noun, "ended", of, status=status)
        if credits is not None and credits > 0:
            _count(self._noun, "credits", of, credits, status=status)
        self._report_seconds(of, status)
        self._record_span(
            to_unix(getattr(final, "created_at", None)),
            to_unix(getattr(final, "updated_at", None)),
            {
                "status": status,
                "credits": None if credits is None else float(credits),
                "module": getattr(final, "module", None),
            },
            failure="" if status == StageStatus.COMPLETED else status,
            stages=lambda: getattr(final, "stages", ()),
        )

    def failed(self, error: str) -> None:
        """
        Report a wait that ended without a final state.

        :param error: the name of its class.
        """
        self._report_seconds(self._of(None), error)
        self._record_span(None, None, {"error": error}, failure=error, stages=lambda: ())

    def _of(self, final: State | None) -> str | None:
        return self.workflow_id if self._noun == "run" else getattr(final, "module", None)

    def _report_seconds(self, of: str | None, status: str) -> None:
        seconds = max(0.0, time.time() - self._started_at)
        _send("timing", self._noun, "wait", timedelta(seconds=seconds), of, {"status": status})

    def _record_span(
        self,
        created: float | None,
        updated: float | None,
        facts: dict[str, Any],
        *,
        failure: str,
        stages: Any,
    ) -> None:
        """
        Record the run as a span that is over already, and its stages as spans under it.

        :param created: Unix seconds; None for the start of the wait.
        :param updated: Unix seconds; None for now.
        :param failure: what to call the error; empty for none.
        :param stages: returns the stages.
        """
        if not is_traced():
            return
        trace: Any = sys.modules["opentelemetry.trace"]
        try:
            kind = _KINDS[self._noun]
            start = self._started_at if created is None else created
            end = time.time() if updated is None else updated
            tracer = trace.get_tracer("airflow_provider_wr", __version__)
            span = tracer.start_span(f"wr.{kind}", start_time=_nanoseconds(start))
            every: Sequence[RunStage] = stages()
            _describe(
                span,
                {f"wr.{kind}.{name}": value for name, value in {"id": self._run_id, **facts}.items()}
                | {"wr.workflow.id": self._of(None), "wr.stages": len(every) or None},
            )
            context = trace.set_span_in_context(span)
            for stage in sorted(every, key=_failed_first)[:MAX_STAGES]:
                _record_stage(trace, tracer, context, stage)
            if failure:
                span.set_status(trace.StatusCode.ERROR, failure)
            span.end(_nanoseconds(max(start, end)))
        except Exception:  # monitoring fails no task
            log.exception("OpenTelemetry could not record the span of %s", printable(self._run_id))


# --- spans ------------------------------------------------------------------------------------------------


def _record_stage(trace: Any, tracer: Any, context: Any, stage: RunStage) -> None:
    """Record a stage by its own times. If the start of its last attempt is not known, the span is a moment."""
    end = to_unix(stage.updated_at)
    if end is None:
        return
    start = to_unix(stage.dispatched_at)
    span = tracer.start_span(stage.label, context, start_time=_nanoseconds(end if start is None else start))
    _describe(
        span,
        {
            "wr.stage.id": stage.id,
            "wr.stage.module": stage.module,
            "wr.stage.status": str(stage.status),
            "wr.stage.credits": None if stage.credit_usage is None else float(stage.credit_usage),
            "wr.stage.attempt": stage.execution_attempt,
            "wr.stage.start_known": start is not None,
        },
    )
    if stage.status == StageStatus.FAILED:
        span.set_status(trace.StatusCode.ERROR, "FAILED")
    span.end(_nanoseconds(max(end, start or end)))


def _describe(span: Any, facts: dict[str, Any]) -> None:
    for name, value in facts.items():
        if value is not None:
            span.set_attribute(name, fit_text(printable(value)) if isinstance(value, str) else value)


def _failed_first(stage: RunStage) -> bool:
    return stage.status != StageStatus.FAILED


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e6) * 1000  # a float of Unix seconds holds no nanoseconds


# --- metrics ----------------------------------------------------------------------------------------------


def _count(noun: str, what: str, of: str | None, count: float = 1, **tags: str) -> None:
    _send("incr", noun, what, count, of, tags)


def _send(method: str, noun: str, what: str, value: Any, of: str | None, tags: dict[str, str]) -> None:
    """Send a metric. No tag may have endless values, so none is the id of a run."""
    name = f"wr.{_KINDS[noun]}.{what}"
    try:
        if (stats := _stats()) is not None:
            dag_id = _dag_id.get() or os.environ.get("AIRFLOW_CTX_DAG_ID") or "unknown"
            tags = {"dag_id": dag_id, _TAGS[noun]: printable(of or "unknown"), **tags}
            getattr(stats, method)(name, value, tags=tags)
    except Exception:  # monitoring fails no task
        log.exception("Airflow could not send the metric %s", name)


@cache  # thousands of waits may end at once in a triggerer, and Airflow looks an option up in 0.1 ms
def _stats() -> Any:
    """Return Airflow's ``Stats``; None if metrics are off."""
    from airflow.providers.common.compat.sdk import conf

    switches = ("statsd_on", "statsd_datadog_enabled", "otel_on")
    if not any(conf.getboolean("metrics", switch, fallback=False) for switch in switches):
        return None

    from airflow.providers.common.compat.sdk import Stats

    return Stats
