"""
Frozen dataclasses for the API's answers.

Field names are the API's, in snake case. ``id`` and ``status`` are required, or
:class:`~airflow_provider_wr.exceptions.WRProtocolError` is raised. Every other field is read leniently, and is
None if it is missing or invalid. Unknown statuses are kept as strings. ``raw`` is the original JSON.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from airflow_provider_wr.api import fields
from airflow_provider_wr.api.decoding import complete
from airflow_provider_wr.api.sanitize import sanitize
from airflow_provider_wr.api.text import printable

log = logging.getLogger(__name__)

#: Maximum number of stage groups in a text: a fan-out can have hundreds of identical stages.
MAX_GROUPS = 10


class RunStatus(str, Enum):
    """The documented statuses of a run."""

    CREATED = "CREATED"
    EXECUTING = "EXECUTING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELED = "CANCELED"

    __str__ = str.__str__


class StageStatus(str, Enum):
    """The documented statuses of a stage."""

    CREATED = "CREATED"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELED = "CANCELED"

    __str__ = str.__str__


_RUN_STATUSES: dict[str, RunStatus] = {
    **{status.value: status for status in RunStatus},
    "CANCELLED": RunStatus.CANCELED,
}
_STAGE_STATUSES: dict[str, StageStatus] = {
    **{status.value: status for status in StageStatus},
    "CANCELLED": StageStatus.CANCELED,
}

#: Statuses that never change again, the same for runs and stages.
TERMINAL: frozenset[str] = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELED})


@dataclass(frozen=True, slots=True)
class TriggeredRun:
    """
    The answer to a trigger.

    :param run_id: UUID of the run that was started.
    :param job_id: opaque id of the queue's job; None if the API left it out.
    """

    run_id: str
    job_id: str | None

    @classmethod
    def from_json(cls, body: Any) -> TriggeredRun:
        """
        Read ``{"runId", "jobId"}``; raises :class:`WRProtocolError` if ``runId`` is missing.

        Nothing else may fail here: a run was started, and its id must not be lost.
        """
        answer = fields.the_object(body, "the trigger's answer")
        run_id, job_id = fields.the_id(answer, "runId"), answer.get("jobId")
        return cls(run_id=run_id, job_id=str(job_id) if fields.is_id(job_id) else None)


@dataclass(frozen=True, slots=True)
class RunStage:
    """
    One stage of a run.

    :param id: UUID of the stage; empty if the API left it out.
    :param module: what the stage does, such as ``HTTP_REQUEST``; empty if the API left it out.
    :param status: a :class:`StageStatus`, or a string for an unknown one; empty if the API left it out.
    :param output: any JSON; None until the stage has one, and always in events of the stream.
    :param error: any JSON; None unless the stage failed.
    :param credit_usage: credits; None if the API left it out.
    :param execution_attempt: starts at 1; None if the API left it out.
    :param updated_at: ISO 8601, as the API sent it; None if it left it out.
    :param dispatched_at: when its last attempt started, as the API sent it (``executionDispatchedAt``); None if it
        left it out.
    """

    id: str
    module: str
    status: StageStatus | str
    output: Any = None
    error: Any = None
    credit_usage: float | None = None
    execution_attempt: int | None = None
    updated_at: str | None = None
    dispatched_at: str | None = None

    @classmethod
    def from_json(cls, value: Any) -> RunStage:
        """Read one of ``runStages`` or ``nonTerminalStages``; raises :class:`WRProtocolError` if not an object."""
        return cls._read(fields.the_object(value, "a stage"))

    @classmethod
    def _read(cls, stage: Mapping[str, Any], name: str = "") -> RunStage:
        return cls(
            id=fields.text(stage, "id") or name,
            module=fields.text(stage, "module") or "",
            status=_stage_status(stage),
            output=stage.get("output"),
            error=stage.get("error"),
            credit_usage=fields.number(stage, "creditUsage"),
            execution_attempt=fields.whole(stage, "executionAttempt"),
            updated_at=fields.text(stage, "updatedAt"),
            dispatched_at=fields.text(stage, "executionDispatchedAt"),
        )

    @property
    def label(self) -> str:
        """The stage's module in one line, for messages."""
        return printable(self.module) or "a stage without a module"

    @property
    def attempt_text(self) -> str:
        """The attempt in words; empty for the first."""
        attempt = self.execution_attempt or 1
        return f" (attempt {attempt})" if attempt > 1 else ""

    @property
    def error_text(self) -> str:
        """The error in one line: its ``message`` if it has one, else its JSON."""
        return error_text(self.error)


def error_text(error: Any) -> str:
    """Return the error of a stage or an execution in one line: its ``message`` if it has one, else its JSON."""
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        error = error["message"]
    try:
        text = error if isinstance(error, str) else json.dumps(error, ensure_ascii=False)
    except RecursionError:
        text = "an error that is nested too deeply"
    return printable(" ".join(text.split()))


class _Body:
    """Keeps the body of a run, so that its stages and ``raw`` are made when asked for."""

    __slots__ = ("_body",)

    _body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Run(_Body):
    """
    The state of a run when it was read.

    :param id: UUID of the run.
    :param status: a :class:`RunStatus`, or a string for an unknown one.
    :param pending_stage_count: stages that have not ended; None if the API left it out.
    :param failed_stage_count: stages that failed; None if the API left it out.
    :param cancel_requested_at: ISO 8601; None unless cancellation was requested.
    :param cancel_reason: None if there is none.
    :param total_usage: credits used so far; None if the API left it out.
    :param created_at: ISO 8601, as the API sent it; None if it left it out.
    :param updated_at: ISO 8601, as the API sent it; None if it left it out.
    :param stages: the run's stages, in the API's order.
    :param raw: the JSON as it came, with every field.
    """

    id: str
    status: RunStatus | str
    pending_stage_count: int | None
    failed_stage_count: int | None
    cancel_requested_at: str | None
    cancel_reason: str | None
    total_usage: float | None
    created_at: str | None
    updated_at: str | None
    stages: tuple[RunStage, ...]
    raw: dict[str, Any] = field(compare=False, repr=False)

    @classmethod
    def from_json(cls, body: Any) -> Run:
        """Read a run's details; raises :class:`WRProtocolError` if the id or the status is missing."""
        run = fields.the_object(body, "a run")
        self = cls.__new__(cls)
        for name, value in {
            "id": fields.the_id(run),
            "status": fields.the_status(run, _RUN_STATUSES),
            "pending_stage_count": fields.whole(run, "pendingStageCount"),
            "failed_stage_count": fields.whole(run, "failedStageCount"),
            "cancel_requested_at": fields.text(run, "cancelRequestedAt"),
            "cancel_reason": fields.text(run, "cancelReason"),
            "total_usage": fields.number(run, "totalUsage"),
            "created_at": fields.text(run, "createdAt"),
            "updated_at": fields.text(run, "updatedAt"),
            "_body": run,
        }.items():
            object.__setattr__(self, name, value)
        return self

    def __getattr__(self, name: str) -> Any:
        # Parse lazily: most reads need neither the stages nor the JSON, and there can be thousands of stages.
        value: Any
        if name == "raw":
            value = complete(self._body)
            object.__setattr__(self, "_body", value)
        elif name == "stages":
            value = tuple(RunStage._read(stage, key) for key, stage in fields.objects(self.raw, "runStages"))
        else:
            raise AttributeError(name)
        object.__setattr__(self, name, value)
        return value

    @property
    def stages_known(self) -> bool:
        """Whether the API listed the run's stages, each with a status."""
        listed = self.raw.get("runStages")
        if isinstance(listed, dict):
            listed = list(listed.values())
        return isinstance(listed, list) and all(
            isinstance(stage, dict) and isinstance(stage.get("status"), str) for stage in listed
        )

    @property
    def is_terminal(self) -> bool:
        """Whether the run has ended, well or not."""
        return self.status in TERMINAL

    @property
    def failed_stages(self) -> tuple[RunStage, ...]:
        """The stages that failed, in the API's order."""
        return tuple(self._stages_where(lambda status: status == StageStatus.FAILED))

    @property
    def active_stages(self) -> tuple[RunStage, ...]:
        """The stages that have not ended, in the API's order."""
        return tuple(self._stages_where(lambda status: status not in TERMINAL))

    def _stages_where(self, wanted: Callable[[str], bool]) -> Iterator[RunStage]:
        if "runStages" in self.raw:
            for key, stage in fields.objects(self.raw, "runStages"):
                if wanted(_stage_status(stage)):
                    yield RunStage._read(stage, key)
        else:
            yield from (stage for stage in self.stages if wanted(stage.status))

    @property
    def ending(self) -> str:
        """How the run ended: its status, reason and credits, then a line for each failed stage."""
        text = f"run {printable(self.id)} ended {printable(self.status)}"
        if self.cancel_reason:
            text += f": {printable(self.cancel_reason)}"
        if self.total_usage is not None:
            text += f", {credits_text(self.total_usage)} used"
        failed = ((stage.label, f"{stage.attempt_text}: {stage.error_text}") for stage in self.failed_stages)
        for line in grouped(failed):
            text += f"\n  {line}"
        return text

    def as_xcom(self, *, stage_outputs: bool = True) -> dict[str, Any]:
        """
        Return the API's JSON, sanitized for Airflow; changes are logged.

        :param stage_outputs: False leaves the ``output`` of each stage out.
        """
        kept: dict[str, Any] = fit_for_xcom(
            self.raw if stage_outputs else _without_outputs(self.raw), f"Run {self.id}"
        )
        return kept


def fit_for_xcom(value: Any, what: str) -> Any:
    """Return a value sanitized for Airflow, and log the changes; ``what`` is its name in the log."""
    xcom, changes = sanitize(value)
    for change in changes:
        log.warning("%s, in its XCom: %s", printable(what), change)
    return xcom


def _without_outputs(run: dict[str, Any]) -> dict[str, Any]:
    def strip(stage: Any) -> Any:
        return {k: v for k, v in stage.items() if k != "output"} if isinstance(stage, dict) else stage

    stages = run.get("runStages")
    if isinstance(stages, dict):
        return {**run, "runStages": {key: strip(stage) for key, stage in stages.items()}}
    if isinstance(stages, list):
        return {**run, "runStages": [strip(stage) for stage in stages]}
    return run


@dataclass(frozen=True, slots=True)
class RunEvent:
    """
    One event of a run's stream.

    :param run_id: UUID of the run.
    :param status: a :class:`RunStatus`, or a string for an unknown one.
    :param total_usage: credits used so far; None if the event left it out.
    :param pending_stage_count: stages that have not ended; None if the event left it out.
    :param failed_stage_count: stages that failed; None if the event left it out.
    :param timestamp: as the API sent it; None if it left it out.
    :param raw: the JSON as it came, with every field.
    """

    run_id: str
    status: RunStatus | str
    total_usage: float | None
    pending_stage_count: int | None
    failed_stage_count: int | None
    timestamp: Any
    raw: dict[str, Any] = field(hash=False, repr=False)

    @classmethod
    def from_json(cls, data: Any) -> RunEvent:
        """Read the data of one event; raises :class:`WRProtocolError` if the id or the status is missing."""
        event = fields.the_object(data, "an event")
        output = _output(event)
        return cls(
            run_id=fields.the_id(event),
            status=fields.the_status(event, _RUN_STATUSES),
            total_usage=fields.number(output, "totalUsage"),
            pending_stage_count=fields.whole(output, "pendingStageCount"),
            failed_stage_count=fields.whole(output, "failedStageCount"),
            timestamp=event.get("timestamp"),
            raw=event,
        )

    @property
    def is_terminal(self) -> bool:
        """Whether the run has ended, well or not. A read may show this a moment later."""
        return self.status in TERMINAL

    @property
    def active_stages(self) -> tuple[RunStage, ...]:
        """
        The stages that had not ended (``nonTerminalStages``), without their outputs.

        Parsed lazily, since an event can hold thousands of them, and most are never looked at.
        """
        listed = fields.objects(_output(self.raw), "nonTerminalStages")
        return tuple(RunStage._read(stage, key) for key, stage in listed)


def grouped(stages: Iterable[tuple[str, str]], most: int = MAX_GROUPS) -> list[str]:
    """
    Return a line for each group of equal stages, such as ``X ×60: insufficient funds``.

    :param stages: label and text of each stage.
    :param most: maximum number of lines; the rest is counted in one more.
    """
    groups = Counter(stages)
    lines = [f"{label}{f' ×{count}' if count > 1 else ''}{words}" for (label, words), count in groups.items()]
    return [*lines[:most], f"and {len(lines) - most} more"] if len(lines) > most else lines


def credits_text(usage: float) -> str:
    """Format an amount of credits."""
    amount = str(usage) if isinstance(usage, int) else f"{usage:.12g}"
    return f"{amount} credit{'' if usage == 1 else 's'}"


def _output(event: Mapping[str, Any]) -> Mapping[str, Any]:
    output = event.get("output")
    if isinstance(output, dict):
        return output
    if output is not None:
        fields.log_unexpected("output", "an object", output)
    return {}


def _stage_status(stage: Mapping[str, Any]) -> StageStatus | str:
    value = fields.text(stage, "status") or ""
    return _STAGE_STATUSES.get(value.strip().upper(), value)
