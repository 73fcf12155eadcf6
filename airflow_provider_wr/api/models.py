"""
What the API tells of a run, read into frozen values.

Field names are the API's, in Python's spelling. A run's ``id`` and ``status`` must be there, or
:class:`~airflow_provider_wr.exceptions.WRProtocolError` is raised; every other field is read as far as can be,
and is None where it cannot. Statuses that the API's documentation does not list are kept as plain text. ``raw``
has all as it came.
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

#: Groups of stages that a text lists: a fan-out has hundreds of stages that say the same.
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

    :param id: UUID of the stage; empty where the API did not say.
    :param module: what the stage does, such as ``HTTP_REQUEST``; empty where the API did not say.
    :param status: a :class:`StageStatus`, or plain text where the API has a new one or none.
    :param output: any JSON; None until the stage has one, and in a stream's events.
    :param error: any JSON; None unless the stage failed.
    :param credit_usage: credits; None where the API did not say.
    :param execution_attempt: 1 is the first; None where the API did not say.
    :param updated_at: ISO 8601, as the API sent it; None where it did not.
    :param dispatched_at: when its last attempt began, as the API sent it (``executionDispatchedAt``); None where
        it did not.
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
        """Read one of ``runStages`` or ``nonTerminalStages``; raises :class:`WRProtocolError` for no object."""
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
        """What to call the stage: its module, in one line."""
        return printable(self.module) or "a stage without a module"

    @property
    def attempt_text(self) -> str:
        """The attempt in words, from the second on."""
        attempt = self.execution_attempt or 1
        return f" (attempt {attempt})" if attempt > 1 else ""

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
        """Read a run's details; raises :class:`WRProtocolError` where the id or the status is not there."""
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
        # The stages of a run that was read: most reads of a run need none of its thousands.
        if name != "stages":
            raise AttributeError(name)
        stages = tuple(RunStage._read(stage, key) for key, stage in fields.objects(self.raw, "runStages"))
        object.__setattr__(self, "stages", stages)
        return stages

    @property
    def stages_known(self) -> bool:
        """Whether the API gave a list of the run's stages, and the status of each could be read."""
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
        """How the run ended, in words: its status, reason and credits, then a line for each failed stage."""
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
        Return the API's JSON, key for key, as far as Airflow can keep it: the log says what was changed.

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
    What the stream said about a run at one moment.

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
        """Read the data of one event; raises :class:`WRProtocolError` where the id or the status is not there."""
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
        """Whether the run has ended, well or not. The run itself may say so a moment later."""
        return self.status in TERMINAL

    @property
    def active_stages(self) -> tuple[RunStage, ...]:
        """
        The stages that had not ended (``nonTerminalStages``), without their outputs.

        Read when asked for, since a fan-out's event can hold thousands, and most events pass unseen.
        """
        listed = fields.objects(_output(self.raw), "nonTerminalStages")
        return tuple(RunStage._read(stage, key) for key, stage in listed)


def grouped(stages: Iterable[tuple[str, str]], most: int = MAX_GROUPS) -> list[str]:
    """
    Return stages in words, those that are alike as one: ``X ×60: insufficient funds``.

    :param stages: a label and what to say of it, for each.
    :param most: how many to return; of more the number is given.
    """
    groups = Counter(stages)
    lines = [f"{label}{f' ×{count}' if count > 1 else ''}{words}" for (label, words), count in groups.items()]
    return [*lines[:most], f"and {len(lines) - most} more"] if len(lines) > most else lines


def credits_text(usage: float) -> str:
    """Return an amount of credits in words."""
    amount = str(usage) if isinstance(usage, int) else f"{usage:.12g}"
    return f"{amount} credit{'' if usage == 1 else 's'}"


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise WRProtocolError(f"{what} should be a JSON object, and is {fields.kind(value)}")
    return value


def _output(event: Mapping[str, Any]) -> Mapping[str, Any]:
    output = event.get("output")
    if isinstance(output, dict):
        return output
    if output is not None:
        fields.say_odd("output", "an object", output)
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
    return WRProtocolError(f"the field {key!r} should be a text, and is {fields.kind(value)}")
