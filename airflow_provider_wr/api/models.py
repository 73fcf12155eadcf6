"""
What the API tells of a run, parsed once into frozen values.

Field names are the API's, in Python's spelling. Statuses that the API's documentation does not list are
kept as plain text, unknown fields are kept in ``raw``, and an absent nullable field is None. Anything else
that is not what the API promises raises :class:`~airflow_provider_wr.exceptions.WRProtocolError`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeVar

from airflow_provider_wr.api.text import printable
from airflow_provider_wr.exceptions import WRProtocolError


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


_RUN_STATUSES: dict[str, RunStatus] = {status.value: status for status in RunStatus}
_STAGE_STATUSES: dict[str, StageStatus] = {status.value: status for status in StageStatus}

#: What has one of these statuses will never change again; the words are the same for runs and stages.
TERMINAL: frozenset[str] = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELED})


@dataclass(frozen=True, slots=True)
class TriggeredRun:
    """
    The answer to a trigger.

    :param run_id: UUID of the run that was started.
    :param job_id: the queue's name for it, an opaque text; None where the API left it out.
    """

    run_id: str
    job_id: str | None

    @classmethod
    def from_json(cls, body: Any) -> TriggeredRun:
        """
        Read ``{"runId", "jobId"}``; raises :class:`WRProtocolError` only where no run is named.

        Whatever else is odd in an answer that names a run, the run is known.
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

    :param id: UUID of the stage.
    :param module: what the stage does, such as ``HTTP_REQUEST``.
    :param status: a :class:`StageStatus`, or plain text where the API has a new one.
    :param output: any JSON; None until the stage has one, and in a stream's events.
    :param error: any JSON; None unless the stage failed.
    :param credit_usage: credits; None where the API did not say.
    :param execution_attempt: 1 is the first; None where the API did not say.
    :param updated_at: ISO 8601, as the API sent it; None where it did not.
    """

    id: str
    module: str
    status: StageStatus | str
    output: Any = None
    error: Any = None
    credit_usage: float | None = None
    execution_attempt: int | None = None
    updated_at: str | None = None

    @classmethod
    def from_json(cls, value: Any) -> RunStage:
        """Read one of ``runStages`` or ``nonTerminalStages``; raises :class:`WRProtocolError`."""
        stage = _object(value, "a stage")
        return cls(
            id=_required(stage, "id", str),
            module=_required(stage, "module", str),
            status=_STAGE_STATUSES.get(status := _required(stage, "status", str), status),
            output=stage.get("output"),
            error=stage.get("error"),
            credit_usage=_optional(stage, "creditUsage", float),
            execution_attempt=_optional(stage, "executionAttempt", int),
            updated_at=_optional(stage, "updatedAt", str),
        )

    @property
    def error_text(self) -> str:
        """The error in one line: its ``message`` where it has one, else its JSON."""
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
    A run as it was when the API was asked.

    :param id: UUID of the run.
    :param status: a :class:`RunStatus`, or plain text where the API has a new one.
    :param pending_stage_count: stages that have not ended; None where the API did not say.
    :param failed_stage_count: stages that failed; None where the API did not say.
    :param cancel_requested_at: ISO 8601; None unless somebody asked to cancel the run.
    :param cancel_reason: None unless somebody gave one.
    :param total_usage: credits used so far; None where the API did not say.
    :param created_at: ISO 8601, as the API sent it; None where it did not.
    :param updated_at: ISO 8601, as the API sent it; None where it did not.
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
        """Read a run's details; raises :class:`WRProtocolError`."""
        run = _object(body, "a run")
        return cls(
            id=_required(run, "id", str),
            status=_RUN_STATUSES.get(status := _required(run, "status", str), status),
            pending_stage_count=_optional(run, "pendingStageCount", int),
            failed_stage_count=_optional(run, "failedStageCount", int),
            cancel_requested_at=_optional(run, "cancelRequestedAt", str),
            cancel_reason=_optional(run, "cancelReason", str),
            total_usage=_optional(run, "totalUsage", float),
            created_at=_optional(run, "createdAt", str),
            updated_at=_optional(run, "updatedAt", str),
            stages=_stages(run, "runStages"),
            raw=run,
        )

    @property
    def is_terminal(self) -> bool:
        """Whether the run has ended, well or not."""
        return self.status in TERMINAL

    @property
    def failed_stages(self) -> tuple[RunStage, ...]:
        """The stages that failed, in the API's order."""
        return tuple(stage for stage in self.stages if stage.status == StageStatus.FAILED)

    @property
    def active_stages(self) -> tuple[RunStage, ...]:
        """The stages that have not ended, in the API's order."""
        return tuple(stage for stage in self.stages if stage.status not in TERMINAL)

    @property
    def ending(self) -> str:
        """How the run ended, in words: its status, reason and credits, then a line for each failed stage."""
        text = f"run {printable(self.id)} ended {printable(self.status)}"
        if self.cancel_reason:
            text += f": {printable(self.cancel_reason)}"
        if self.total_usage is not None:
            text += f", {credits_text(self.total_usage)} used"
        for stage in self.failed_stages:
            attempt = stage.execution_attempt or 1
            text += f"\n  {printable(stage.module)} failed at attempt {attempt}: {stage.error_text}"
        return text

    def as_xcom(self, *, stage_outputs: bool = True) -> dict[str, Any]:
        """
        Return the API's JSON, key for key.

        :param stage_outputs: False leaves the ``output`` of each stage out.
        """
        if stage_outputs or not self.stages:
            return self.raw
        stages = [{k: v for k, v in stage.items() if k != "output"} for stage in self.raw["runStages"]]
        return {**self.raw, "runStages": stages}


@dataclass(frozen=True, slots=True)
class RunEvent:
    """
    What the stream told of a run, at one moment.

    :param run_id: UUID of the run.
    :param status: a :class:`RunStatus`, or plain text where the API has a new one.
    :param total_usage: credits used so far; None where the event did not say.
    :param pending_stage_count: stages that have not ended; None where the event did not say.
    :param failed_stage_count: stages that failed; None where the event did not say.
    :param timestamp: as the API sent it; None where it did not.
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
        """Read the data of one event; raises :class:`WRProtocolError`."""
        event = _object(data, "an event")
        output = _optional(event, "output", dict) or {}
        return cls(
            run_id=_required(event, "id", str),
            status=_RUN_STATUSES.get(status := _required(event, "status", str), status),
            total_usage=_optional(output, "totalUsage", float),
            pending_stage_count=_optional(output, "pendingStageCount", int),
            failed_stage_count=_optional(output, "failedStageCount", int),
            timestamp=event.get("timestamp"),
            raw=event,
        )

    @property
    def is_terminal(self) -> bool:
        """Whether the run has ended, well or not. The run itself may say so a moment later."""
        return self.status in TERMINAL

    @property
    def active_stages(self) -> tuple[RunStage, ...]:
        """
        The stages that had not ended (``nonTerminalStages``), without their outputs.

        Read when asked for, since a fan-out's event can hold thousands, and most events pass unseen.
        Raises :class:`WRProtocolError`.
        """
        return _stages(self.raw.get("output") or {}, "nonTerminalStages")


def credits_text(usage: float) -> str:
    """Return an amount of credits in words."""
    amount = str(usage) if isinstance(usage, int) else f"{usage:.12g}"
    return f"{amount} credit{'' if usage == 1 else 's'}"


T = TypeVar("T")


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise WRProtocolError(f"{what} should be a JSON object, and is {_kind(value)}")
    return value


def _required(parent: dict[str, Any], key: str, kind: type[T]) -> T:
    value = parent.get(key)
    if type(value) is kind:
        return value
    if value is None:
        raise WRProtocolError(f"the field {key!r} is missing")
    raise WRProtocolError(f"the field {key!r} should be {_NAMES[kind]}, and is {_kind(value)}")


def _optional(parent: dict[str, Any], key: str, kind: type[T]) -> T | None:
    value = parent.get(key)
    if value is None or type(value) is kind:
        return value
    if kind is float and type(value) is int:
        return value  # type: ignore[return-value]  # a whole number is a number
    if kind is int and type(value) is float and value.is_integer():
        return int(value)  # type: ignore[return-value]  # JavaScript has but one kind of number
    return _required(parent, key, kind)


def _stages(parent: dict[str, Any], key: str) -> tuple[RunStage, ...]:
    return tuple(RunStage.from_json(stage) for stage in _optional(parent, key, list) or ())


_NAMES: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


def _kind(value: Any) -> str:
    return _NAMES.get(type(value), type(value).__name__)
