"""Frozen dataclasses for executions of components, read as leniently as runs; see :mod:`.models`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from airflow_provider_wr.api import fields
from airflow_provider_wr.api.models import RunStage, credits_text, error_text, fit_for_xcom
from airflow_provider_wr.api.sanitize import sanitize
from airflow_provider_wr.api.text import printable


class ExecutionStatus(str, Enum):
    """The documented statuses of an execution. There is no way to cancel one."""

    CREATED = "CREATED"
    EXECUTING = "EXECUTING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"

    __str__ = str.__str__


_STATUSES = {status.value: status for status in ExecutionStatus}

#: An execution with one of these statuses will never change again.
TERMINAL: frozenset[str] = frozenset({ExecutionStatus.COMPLETED, ExecutionStatus.FAILED})


class _HasStatus:
    """Common to executions and their events: a status, and no stages."""

    __slots__ = ()

    status: ExecutionStatus | str

    @property
    def is_terminal(self) -> bool:
        """Whether the execution has ended, well or not."""
        return self.status in TERMINAL

    @property
    def pending_stage_count(self) -> None:
        """None: an execution has no stages."""

    @property
    def active_stages(self) -> tuple[RunStage, ...]:
        """Empty: an execution has no stages."""
        return ()


@dataclass(frozen=True, slots=True)
class ExecutionCallback:
    """
    The state of an execution's callback. The API returns neither its secret nor the values of its headers.

    :param url: the receiver; None without a callback.
    :param signed: whether it is signed; None if the API left it out.
    :param signature_algorithm: such as ``hmac-sha256-v1``; None if it is not signed.
    :param header_names: the names of its additional headers.
    :param delivered_at: ISO 8601; None until it was delivered.
    :param last_attempt_at: ISO 8601; None before the first attempt.
    :param attempt_count: number of attempts; None if the API left it out.
    :param last_error: any JSON; None unless the last attempt failed.
    """

    url: str | None
    signed: bool | None
    signature_algorithm: str | None
    header_names: tuple[str, ...]
    delivered_at: str | None
    last_attempt_at: str | None
    attempt_count: int | None
    last_error: Any

    @classmethod
    def _read(cls, callback: Mapping[str, Any]) -> ExecutionCallback:
        return cls(
            url=fields.text(callback, "url"),
            signed=fields.flag(callback, "signed"),
            signature_algorithm=fields.text(callback, "signatureAlgorithm"),
            header_names=fields.strings(callback, "headerNames"),
            delivered_at=fields.text(callback, "deliveredAt"),
            last_attempt_at=fields.text(callback, "lastAttemptAt"),
            attempt_count=fields.whole(callback, "attemptCount"),
            last_error=callback.get("lastError"),
        )


@dataclass(frozen=True, slots=True)
class ComponentExecution(_HasStatus):
    """
    The state of an execution of a component when it was read.

    :param id: UUID of the execution.
    :param module: the component, such as ``RANDOM_UUID``; empty if the API left it out.
    :param status: an :class:`ExecutionStatus`, or a string for an unknown one.
    :param completed: the API's flag, or derived from the status if it left it out. ``is_terminal`` depends only
        on the status.
    :param output: any JSON; None until the execution has one.
    :param error: any JSON; None unless the execution failed.
    :param total_usage: credits used so far; None if the API left it out.
    :param callback: None if the API left it out.
    :param created_at: ISO 8601, as the API sent it; None if it left it out.
    :param updated_at: ISO 8601, as the API sent it; None if it left it out.
    :param raw: the JSON as it came, with every field.
    """

    id: str
    module: str
    status: ExecutionStatus | str
    completed: bool
    output: Any
    error: Any
    total_usage: float | None
    callback: ExecutionCallback | None
    created_at: str | None
    updated_at: str | None
    raw: dict[str, Any] = field(compare=False, repr=False)

    @classmethod
    def from_json(cls, body: Any) -> ComponentExecution:
        """Read an execution's record; raises :class:`WRProtocolError` if the id or the status is missing."""
        record = fields.the_object(body, "an execution")
        return cls._read(record, fields.the_status(record, _STATUSES))

    @classmethod
    def started(cls, body: Any) -> ComponentExecution:
        """
        Read the answer to the call that starts one; raises :class:`WRProtocolError` if the id is missing.

        Nothing else may fail here: an execution was started, and its id must not be lost. Without a status, it
        counts as active.
        """
        record = fields.the_object(body, "the answer")
        has_status = type(record.get("status")) is str
        return cls._read(record, fields.the_status(record, _STATUSES) if has_status else "")

    @classmethod
    def _read(cls, record: dict[str, Any], status: ExecutionStatus | str) -> ComponentExecution:
        completed, callback = fields.flag(record, "completed"), record.get("callback")
        return cls(
            id=fields.the_id(record),
            module=fields.text(record, "module") or "",
            status=status,
            completed=status in TERMINAL if completed is None else completed,
            output=record.get("output"),
            error=record.get("error"),
            total_usage=fields.number(record, "totalUsage"),
            callback=ExecutionCallback._read(callback) if isinstance(callback, dict) else None,
            created_at=fields.text(record, "createdAt"),
            updated_at=fields.text(record, "updatedAt"),
            raw=record,
        )

    @property
    def ending(self) -> str:
        """How the execution ended: its status and credits, then a line for its error."""
        text = f"execution {printable(self.id)} ended {printable(self.status)}"
        if self.total_usage is not None:
            text += f", {credits_text(self.total_usage)} used"
        if self.error is not None:
            text += f"\n  {self.label}: {self.error_text}"
        return text

    @property
    def error_text(self) -> str:
        """The error in one line: its ``message`` if it has one, else its JSON; empty without an error."""
        return "" if self.error is None else error_text(self.error)

    @property
    def kept_error(self) -> Any:
        """The error, sanitized for Airflow."""
        return sanitize(self.error)[0]

    @property
    def label(self) -> str:
        """The component's module in one line, for messages."""
        return printable(self.module) or "a component without a module"

    def as_xcom(self) -> dict[str, Any]:
        """Return the API's JSON, sanitized for Airflow; changes are logged."""
        xcom: dict[str, Any] = fit_for_xcom(self.raw, f"Execution {self.id}")
        return xcom


@dataclass(frozen=True, slots=True)
class ExecutionEvent(_HasStatus):
    """
    One event of an execution's stream.

    :param execution_id: UUID of the execution.
    :param status: an :class:`ExecutionStatus`, or a string for an unknown one.
    :param output: any JSON; None until the execution has one.
    :param error: any JSON; None unless the execution failed.
    :param timestamp: as the API sent it; None if it left it out.
    :param raw: the JSON as it came, with every field.
    """

    execution_id: str
    status: ExecutionStatus | str
    output: Any
    error: Any
    timestamp: Any
    raw: dict[str, Any] = field(hash=False, repr=False)

    @classmethod
    def from_json(cls, data: Any) -> ExecutionEvent:
        """Read the data of one event; raises :class:`WRProtocolError` if the id or the status is missing."""
        event = fields.the_object(data, "an event")
        return cls(
            execution_id=fields.the_id(event),
            status=fields.the_status(event, _STATUSES),
            output=event.get("output"),
            error=event.get("error"),
            timestamp=event.get("timestamp"),
            raw=event,
        )

    @property
    def total_usage(self) -> None:
        """None: events do not contain it."""
