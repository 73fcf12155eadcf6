"""The trigger that waits for a run, and its event."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from importlib import import_module
from types import NoneType
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from airflow_provider_wr import exceptions, observability
from airflow_provider_wr.api.sanitize import sanitize
from airflow_provider_wr.api.text import printable
from airflow_provider_wr.links.wr import WRRunLink
from airflow_provider_wr.waiting import credit_limit
from airflow_provider_wr.waiting.rules import still_running

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator

    from airflow_provider_wr.api.models import Run


log = logging.getLogger(__name__)

CLASSPATH = "airflow_provider_wr.triggers.wr.WRRunTrigger"

#: Seconds between the trigger's own timeout and Airflow's, for the trigger to report its own.
GRACE = 60

#: Airflow's own errors for a trigger that timed out, of versions 3 and 2.11.
_AIRFLOWS_TIMEOUTS = ("Trigger timeout", "Trigger/execution timeout")


class WRRunTrigger(BaseTrigger):
    """
    Waits until a run has ended, on its event stream.

    It only watches the run, so it may run twice or move to another triggerer. Its event contains the run's id or
    an error, and no outputs: see :class:`WaitEnd`.

    :param run_id: UUID of the run.
    :param wr_conn_id: the Airflow connection, of type ``wr``.
    :param deadline: Unix seconds at which the wait ends in a ``WRTimeoutError``; None for none. Absolute, so that
        it survives a move to another triggerer.
    :param grace: for a trigger without a deadline that Airflow itself starts: the wait ends this many seconds
        before Airflow's timeout. None for no deadline.
    :param end_from_trigger: end the task here if the run's status is allowed, with the run as its result.
    :param allowed_statuses: the terminal statuses that end the task here; a worker handles others.
    :param stage_outputs: False leaves the outputs of the stages out of the result.
    :param max_credits: credits above which the wait ends in a ``WRCreditLimitError``; None for none.
    :param workflow_id: UUID of the run's workflow, for monitoring and the link; None for the connection's.
    """

    def __init__(
        self,
        *,
        run_id: str,
        wr_conn_id: str = "wr_default",
        deadline: float | None = None,
        grace: float | None = None,
        end_from_trigger: bool = False,
        allowed_statuses: Sequence[str] = ("COMPLETED",),
        stage_outputs: bool = True,
        max_credits: float | None = None,
        workflow_id: str | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.run_id = run_id
        self.wr_conn_id = wr_conn_id
        self.deadline = deadline
        self.grace = grace
        self.end_from_trigger = end_from_trigger
        self.allowed_statuses = tuple(allowed_statuses)
        self.stage_outputs = stage_outputs
        self.max_credits = max_credits
        self.workflow_id = workflow_id
        self._hook: Any = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments. None of them is secret."""
        return CLASSPATH, {
            "run_id": self.run_id,
            "wr_conn_id": self.wr_conn_id,
            "deadline": self.deadline,
            "grace": self.grace,
            "end_from_trigger": self.end_from_trigger,
            "allowed_statuses": list(self.allowed_statuses),
            "stage_outputs": self.stage_outputs,
            "max_credits": self.max_credits,
            "workflow_id": self.workflow_id,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait for the run, and yield one event."""
        hooks = await load_hooks()
        deadline = self._deadline()
        error: exceptions.WRError | None = None
        observability.set_dag(getattr(getattr(self, "task_instance", None), "dag_id", None))
        if self.grace is not None:
            await self._announce()
        try:
            async with hooks.WRAsyncHook(self.wr_conn_id, workflow_id=self.workflow_id) as self._hook:
                run = await self._hook.wait_for_run(
                    self.run_id,
                    timeout=None,
                    deadline=deadline,
                    was_found=self.deadline is not None,  # by the worker that deferred
                    max_credits=self.max_credits,
                )
        except exceptions.WRError as failure:
            # Any other exception is a bug of ours: Airflow fails the task with its traceback.
            error = failure
        if self.end_from_trigger and error is None and self._succeeds(run):
            yield await self._success(run)
        else:
            yield TriggerEvent(WaitEnd(self.run_id, deadline, error).to_event())

    def _succeeds(self, run: Run) -> bool:
        return run.status in self.allowed_statuses and not credit_limit.exceeds(run, self.max_credits)

    async def _success(self, run: Run) -> TriggerEvent:
        """Store the task's XComs, and return the event that ends it."""
        from airflow.triggers.base import TaskSuccessEvent

        # Before the XComs: a line just before the event may reach Airflow's supervisor after it has closed the
        # task's log (seen on 3.3.2). Storing an XCom waits for the supervisor.
        log.info("%s", run.ending)
        # Not in the event: Airflow logs events, and would encode the XComs twice (seen on 3.3.2).
        xcom = await asyncio.to_thread(run.as_xcom, stage_outputs=self.stage_outputs)  # takes some ms per MiB
        await self._push({"return_value": xcom, **self._link_xcoms})
        return TaskSuccessEvent()

    async def _announce(self) -> None:
        """Let the button and the run's page work while the task waits, where no worker has pushed their XComs."""
        try:
            await self._push(self._link_xcoms)
        except Exception as error:  # the wait is worth more than its page
            log.warning("The run's page cannot be shown yet: %s", printable(str(error)))

    async def _push(self, xcoms: dict[str, Any]) -> None:
        from airflow.sdk.execution_time.xcom import XCom

        ti: Any = self.task_instance
        place = {name: getattr(ti, name) for name in ("dag_id", "task_id", "run_id", "map_index")}
        for key, value in xcoms.items():
            await sync_to_async(XCom.set)(key, value, **place)

    @property
    def _link_xcoms(self) -> dict[str, Any]:
        return WRRunLink.xcoms(self.task_instance, self._link, self.run_id, outputs=self.stage_outputs)

    @property
    def _link(self) -> str | None:
        link: str | None = self._hook and self._hook.run_link(self.run_id)
        return link

    def _deadline(self) -> float | None:
        timeout_after: datetime | None = getattr(self, "timeout_after", None)
        if self.deadline is not None or self.grace is None or timeout_after is None:
            return self.deadline
        return timeout_after.replace(tzinfo=timeout_after.tzinfo or timezone.utc).timestamp() - self.grace

    async def on_kill(self) -> None:
        """Log that the run keeps running: White Rabbit has no call to cancel it."""
        log.warning("Run %s %s", self.run_id, still_running(self._link))


async def load_hooks() -> Any:
    """Import the hooks in a thread, since it takes some hundred milliseconds."""
    global _loaded
    if _loaded is None:
        _loaded = await asyncio.to_thread(import_module, "airflow_provider_wr.hooks.wr")
    return _loaded


_loaded: Any = None


def defer(task: BaseOperator, trigger: WRRunTrigger) -> NoReturn:
    """
    Defer a task; it resumes in ``execute_complete``.

    Airflow's own timeout comes shortly after the trigger's, as a fallback if no triggerer is alive. The event
    contains everything that the task needs to resume, since ``dag.test()`` loses other arguments of ``defer``.
    """
    left = None if trigger.deadline is None else max(0.0, trigger.deadline - time.time())
    task.defer(
        trigger=trigger,
        method_name="execute_complete",
        timeout=None if left is None else timedelta(seconds=left + GRACE),
    )


def airflow_timed_out(next_method: str, next_kwargs: dict[str, Any] | None) -> bool:
    """Return whether the arguments of ``resume_execution`` mean that Airflow's own timeout has passed."""
    return next_method == "__fail__" and (next_kwargs or {}).get("error") in _AIRFLOWS_TIMEOUTS


@dataclass(frozen=True, slots=True)
class WaitEnd:
    """
    How a wait in the triggerer ended: the payload of the trigger's event.

    :param run_id: UUID of the run.
    :param deadline: the trigger's.
    :param error: the error that a wait in a worker would have raised; None if the run has ended, well or not.
    """

    run_id: str
    deadline: float | None
    error: exceptions.WRError | None

    def to_event(self) -> dict[str, Any]:
        """Return the payload of the event."""
        error = None
        if self.error is not None:
            facts = {fact: getattr(self.error, fact) for fact in _FACTS if hasattr(self.error, fact)}
            error = {"class": type(self.error).__name__, **facts}
        event, _ = sanitize({"run_id": self.run_id, "deadline": self.deadline, "error": error})
        return event  # type: ignore[no-any-return]

    @classmethod
    def from_event(cls, event: Any) -> WaitEnd:
        """Read the payload of an event; raises ``WRProtocolError`` if it is not from this trigger."""
        try:
            run_id, deadline, error = event["run_id"], event["deadline"], event["error"]
            if not isinstance(run_id, str) or not isinstance(deadline, (int, float, NoneType)):
                raise TypeError
            return cls(run_id, deadline, None if error is None else _error(**error))
        except (KeyError, TypeError):
            shown = printable(repr(event))
            raise exceptions.WRProtocolError(f"the wait ended with an unexpected event: {shown}") from None


def _error(message: str, **facts: Any) -> exceptions.WRError:
    return _KINDS[facts.pop("class")](message, **facts)


#: The errors that a wait can end in.
_KINDS = {
    kind.__name__: kind
    for kind in (
        exceptions.WRError,
        exceptions.WRAuthError,
        exceptions.WRConnectionError,
        exceptions.WRCreditLimitError,
        exceptions.WRNotFoundError,
        exceptions.WRProtocolError,
        exceptions.WRRateLimitError,
        exceptions.WRServerError,
        exceptions.WRTimeoutError,
        exceptions.WRValidationError,
    )
}
#: The attributes of an error that go into an event. Not the API's body, which may be large and contain anything.
_FACTS = (
    *("message", "method", "path", "status_code", "errors", "retry_after", "conn_id", "last_status", "last_known"),
    *("credits", "max_credits"),
)
