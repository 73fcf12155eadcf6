"""What a run and its stages are at any moment, the JSON the API shows of them, and the feed of its events."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4
from weakref import WeakSet

from airflow_provider_wr.sandbox import drift

if TYPE_CHECKING:
    from airflow_provider_wr.sandbox.workflow import Component

RunStatus = Literal["CREATED", "EXECUTING", "COMPLETED", "FAILED", "CANCELED"]
StageStatus = Literal["CREATED", "RUNNING", "COMPLETED", "FAILED", "CANCELED"]
TERMINAL = frozenset({"COMPLETED", "FAILED", "CANCELED"})


def now() -> str:
    """Return the time as the API writes it: ISO 8601, UTC, milliseconds."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _new_id() -> str:
    return str(uuid4())


@dataclass
class Stage:
    """One execution of a component within a run."""

    component: Component
    id: str = field(default_factory=_new_id)
    status: StageStatus = "CREATED"
    output: Any = None
    error: dict[str, str] | None = None
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
        self.event_id = _new_id()
        self.dispatched_at = self.updated_at = now()

    def complete(self, output: Any) -> None:
        self.output = output
        self._end("COMPLETED", self.component.credits)

    def fail(self, message: str) -> None:
        self.error = {"message": message}
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
    id: str = field(default_factory=_new_id)
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
        """Finish the run; what has not ended yet never will."""
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


@dataclass(frozen=True)
class Published:
    """One event, in each form encoded once for all subscribers."""

    event: dict[str, Any]
    is_terminal: bool

    @cached_property
    def data(self) -> str:
        return json.dumps(self.event, ensure_ascii=False, separators=(",", ":"))

    @cached_property
    def drifted(self) -> str:
        return drift.text(drift.event(self.event))


Subscription = asyncio.Queue["Published | None"]
"""Events in the order they were published; None says that the server closes the stream."""


class Feed:
    """The events of one run, without replay: a subscriber sees what is published after it subscribed.

    It must be used on the event loop.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        # A subscription lasts as long as its queue is referenced: a client that leaves drops it.
        self._subscriptions: WeakSet[Subscription] = WeakSet()
        self._scheduled = False

    def subscribe(self) -> Subscription:
        subscription: Subscription = asyncio.Queue()
        self._subscriptions.add(subscription)
        return subscription

    def changed(self) -> None:
        """Publish the run's state in the loop's next turn.

        Changes made in one turn become one event: a thousand stages which start together are not a
        thousand events of a thousand stages each.
        """
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._publish)

    def close(self) -> None:
        for subscription in self._subscriptions:
            subscription.put_nowait(None)

    def _publish(self) -> None:
        self._scheduled = False
        if not self._subscriptions:
            return
        published = Published(self._run.event(), self._run.is_terminal)
        for subscription in self._subscriptions:
            subscription.put_nowait(published)
