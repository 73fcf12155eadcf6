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
from airflow_provider_wr.api.sanitize import sanitize
from airflow_provider_wr.api.text import printable
from airflow_provider_wr.exceptions import WRProtocolError

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
        answer = _object(body, "the trigger's answer")
        run_id, job_id = answer.get("runId"), answer.get("jobId")
        if not _is_id(run_id):
            raise WRProtocolError("the field 'runId' is missing")
        return cls(run_id=str(run_id), job_id=str(job_id) if _is_id(job_id) else None)


def _is_id(value: Any) -> bool:
    return (isinstance(value, str) and bool(value.strip())) or type(value) is int


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
        return cls._read(_object(value, "a stage"))

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
        error = self.error
        if isinstance(error, dict) and isinstance(error.get("message"), str):
            error = error["message"]
        try:
            text = error if isinstance(error, str) else json.dumps(error, ensure_ascii=False)
        except RecursionError:
            text = "an error that is nested too deeply"
        return printable(" ".join(text.split()))


@dataclass(frozen=True, slots=True)
class Run:
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
        run = _object(body, "a run")
        self = cls.__new__(cls)
        for name, value in {
            "id": _run_id(run),
            "status": _run_status(run),
            "pending_stage_count": fields.whole(run, "pendingStageCount"),
            "failed_stage_count": fields.whole(run, "failedStageCount"),
            "cancel_requested_at": fields.text(run, "cancelRequestedAt"),
            "cancel_reason": fields.text(run, "cancelReason"),
            "total_usage": fields.number(run, "totalUsage"),
            "created_at": fields.text(run, "createdAt"),
            "updated_at": fields.text(run, "updatedAt"),
            "raw": run,
        }.items():
            object.__setattr__(self, name, value)
        return self

    def __getattr__(self, name: str) -> Any:
        # Parse the stages lazily: most reads do not need them, and there can be thousands.
        if name != "stages":
            raise AttributeError(name)
        stages = tuple(RunStage._read(stage, key) for key, stage in fields.objects(self.raw, "runStages"))
        object.__setattr__(self, "stages", stages)
        return stages

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
        xcom, changes = sanitize(self.raw if stage_outputs else _without_outputs(self.raw))
        for change in changes:
            log.warning("Run %s, in its XCom: %s", printable(self.id), change)
        return xcom  # type: ignore[no-any-return]


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
        event = _object(data, "an event")
        output = _output(event)
        return cls(
            run_id=_run_id(event),
            status=_run_status(event),
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


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise WRProtocolError(f"{what} should be a JSON object, not {fields.kind(value)}")
    return value


def _output(event: Mapping[str, Any]) -> Mapping[str, Any]:
    output = event.get("output")
    if isinstance(output, dict):
        return output
    if output is not None:
        fields.log_unexpected("output", "an object", output)
    return {}


def _run_id(run: Mapping[str, Any]) -> str:
    value = run.get("id")
    if not _is_id(value):
        raise _missing("id", value)
    return str(value)


def _run_status(run: Mapping[str, Any]) -> RunStatus | str:
    value = run.get("status")
    if type(value) is not str:
        raise _missing("status", value)
    return _RUN_STATUSES.get(value.strip().upper(), value)


def _stage_status(stage: Mapping[str, Any]) -> StageStatus | str:
    value = fields.text(stage, "status") or ""
    return _STAGE_STATUSES.get(value.strip().upper(), value)


def _missing(key: str, value: Any) -> WRProtocolError:
    if value is None:
        return WRProtocolError(f"the field {key!r} is missing")
    kind = "an empty string" if value == "" else fields.kind(value)
    return WRProtocolError(f"the field {key!r} should be a string, not {kind}")
