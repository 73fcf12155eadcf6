"""The state of runs and stages, and their JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

if TYPE_CHECKING:
    from airflow_provider_wr.sandbox.workflow import Component

RunStatus = Literal["CREATED", "EXECUTING", "COMPLETED", "FAILED", "CANCELED"]
StageStatus = Literal["CREATED", "RUNNING", "COMPLETED", "FAILED", "CANCELED"]
TERMINAL = frozenset({"COMPLETED", "FAILED", "CANCELED"})


def now() -> str:
    """Return the current time in the API's format: ISO 8601, UTC, milliseconds."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def new_id() -> str:
    return str(uuid4())


@dataclass
class Stage:
    """One execution of a component within a run."""

    component: Component
    id: str = field(default_factory=new_id)
    status: StageStatus = "CREATED"
    output: Any = None
    error: Any = None
    credit_usage: int = 0
    attempt: int = 1
    event_id: str | None = None
    dispatched_at: str | None = None
    updated_at: str = field(default_factory=now)

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL

    def dispatch(self, attempt: int) -> None:
        """Begin an attempt (1 = first)."""
        self.status = "RUNNING"
        self.attempt = attempt
        self.event_id = new_id()
        self.dispatched_at = self.updated_at = now()

    def complete(self, output: Any) -> None:
        self.output = output
        self._end("COMPLETED", self.component.credits)

    def fail(self, error: Any) -> None:
        self.error = error
        self._end("FAILED", self.component.credits)

    def cancel(self) -> None:
        self._end("CANCELED", 0)

    def _end(self, status: StageStatus, credit_usage: int) -> None:
        self.status = status
        self.credit_usage = credit_usage
        self.updated_at = now()

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "module": self.component.module,
            "status": self.status,
            "output": self.output,
            "error": self.error,
            "creditUsage": self.credit_usage,
            "executionAttempt": self.attempt,
            "executionEventId": self.event_id,
            "executionDispatchedAt": self.dispatched_at,
            "updatedAt": self.updated_at,
        }

    def as_event_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "module": self.component.module,
            "status": self.status,
            "executionEventId": self.event_id,
            "executionAttempt": self.attempt,
        }


@dataclass
class Run:
    """One execution of a workflow."""

    workflow_id: str
    job_id: str
    stages: list[Stage]
    id: str = field(default_factory=new_id)
    status: RunStatus = "CREATED"
    cancel_requested_at: str | None = None
    cancel_reason: str | None = None
    created_at: str = field(default_factory=now)
    updated_at: str = field(default_factory=now)

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL

    def request_cancel(self, reason: str) -> None:
        self.cancel_requested_at = now()
        self.cancel_reason = reason

    def end(self, status: RunStatus) -> None:
        """End the run, and cancel its open stages."""
        for stage in self.stages:
            if not stage.is_terminal:
                stage.cancel()
        self.status = status

    def summary(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "status": self.status,
            "workflowId": self.workflow_id,
            "createdAt": self.created_at,
        }

    def detail(self) -> dict[str, Any]:
        """The answer to `GET …/executions/{runId}`."""
        return {
            "id": self.id,
            "status": self.status,
            **self._totals(),
            "cancelRequestedAt": self.cancel_requested_at,
            "cancelReason": self.cancel_reason,
            "createdAt": self.created_at,
            "updatedAt": self.updated_at,
            "runStages": [stage.as_json() for stage in self.stages],
        }

    def event(self) -> dict[str, Any]:
        """The data of one stream event; the cancel fields are left out until they are set."""
        output = {
            **self._totals(),
            "nonTerminalStages": [stage.as_event_json() for stage in self.stages if not stage.is_terminal],
        }
        if self.cancel_requested_at:
            output |= {"cancelRequestedAt": self.cancel_requested_at, "cancelReason": self.cancel_reason}
        return {"id": self.id, "status": self.status, "output": output, "timestamp": self.updated_at}

    def _totals(self) -> dict[str, int]:
        return {
            "totalUsage": sum(stage.credit_usage for stage in self.stages),
            "pendingStageCount": sum(not stage.is_terminal for stage in self.stages),
            "failedStageCount": sum(stage.status == "FAILED" for stage in self.stages),
        }
