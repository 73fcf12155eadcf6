"""The trigger that waits for a run, and its event."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from types import NoneType
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from airflow_provider_wr import exceptions, observability
from airflow_provider_wr.api import watched
from airflow_provider_wr.api.sanitize import sanitize
from airflow_provider_wr.api.text import printable
from airflow_provider_wr.late_import import import_late
from airflow_provider_wr.links.wr import WRExecutionLink, WRRunLink
from airflow_provider_wr.waiting import credit_limit
from airflow_provider_wr.waiting.rules import still_running

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator

    from airflow_provider_wr.api.executions import ComponentExecution
    from airflow_provider_wr.api.models import Run
    from airflow_provider_wr.api.watched import State, Watched


log = logging.getLogger(__name__)

#: Seconds between the trigger's own timeout and Airflow's, for the trigger to report its own.
GRACE = 60

#: Airflow's own errors for a trigger that timed out, of versions 3 and 2.11.
_AIRFLOWS_TIMEOUTS = ("Trigger timeout", "Trigger/execution timeout")


class WaitTrigger(BaseTrigger):
    """
    What both triggers share.

    They only watch, so they may run twice or move to another triggerer. The event contains an id or an error, and
    no outputs: see :class:`WaitEnd`.

    :cvar noun: what is waited for, in words.
    :cvar classpath: where Airflow finds the class.
    """

    noun: ClassVar[str]
    classpath: ClassVar[str]
    _link_class: ClassVar[type[WRRunLink | WRExecutionLink]]

    #: Of a run.
    workflow_id: str | None = None

    def __init__(
        self,
        *,
        wr_conn_id: str = "wr_default",
        deadline: float | None = None,
        grace: float | None = None,
        end_from_trigger: bool = False,
        allowed_statuses: Sequence[str] = ("COMPLETED",),
        max_credits: float | None = None,
        confirm_end: bool = True,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.wr_conn_id = wr_conn_id
        self.deadline = deadline
        self.grace = grace
        self.end_from_trigger = end_from_trigger
        self.allowed_statuses = tuple(allowed_statuses)
        self.max_credits = max_credits
        self.confirm_end = confirm_end
        self._hook: Any = None

    @property
    def id(self) -> str:
        """The id of what is waited for."""
        identifier: str = getattr(self, f"{self.noun}_id")
        return identifier

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments. None of them is secret."""
        return self.classpath, {
            f"{self.noun}_id": self.id,
            "wr_conn_id": self.wr_conn_id,
            "deadline": self.deadline,
            "grace": self.grace,
            "end_from_trigger": self.end_from_trigger,
            "allowed_statuses": list(self.allowed_statuses),
            "max_credits": self.max_credits,
            "confirm_end": self.confirm_end,
        }

    def _watch(self) -> Watched[Any]:
        """Return what to wait for; raises :class:`WRValidationError` for an invalid id."""
        raise NotImplementedError

    def _xcom(self, state: Any) -> Any:
        """Return the result of a task that ends here. Called in a thread: it takes some ms per MiB."""
        raise NotImplementedError

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and yield one event."""
        hooks = await import_late("airflow_provider_wr.hooks.wr")  # it takes some hundred milliseconds
        deadline = self._deadline()
        state: State | None = None
        error: exceptions.WRError | None = None
        observability.set_dag(getattr(getattr(self, "task_instance", None), "dag_id", None))
        if self.grace is not None:
            await self._announce()
        try:
            async with hooks.WRAsyncHook(self.wr_conn_id, workflow_id=self.workflow_id) as self._hook:
                state = await self._hook.wait_for(
                    self._watch(),
                    timeout=None,
                    deadline=deadline,
                    was_found=self.deadline is not None,  # by the worker that deferred
                    max_credits=self.max_credits,
                    on_event=None if self._needs_end else _raise_at_end,
                )
        except _EndReported:
            pass
        except exceptions.WRError as failure:
            # Any other exception is a bug of ours: Airflow fails the task with its traceback.
            error = failure
        if self.end_from_trigger and state is not None and self._succeeds(state):
            yield await self._success(state)
        else:
            yield TriggerEvent(WaitEnd(self.id, deadline, error, noun=self.noun).to_event())

    @property
    def _needs_end(self) -> bool:
        """Whether to read the end, and not leave that to the worker that resumes."""
        return self.confirm_end or self.end_from_trigger or observability.is_on()

    def _succeeds(self, state: State) -> bool:
        return state.status in self.allowed_statuses and not credit_limit.exceeds(state, self.max_credits)

    async def _success(self, state: Any) -> TriggerEvent:
        """Store the task's XComs, and return the event that ends it."""
        from airflow.triggers.base import TaskSuccessEvent

        # Before the XComs: a line just before the event may reach Airflow's supervisor after it has closed the
        # task's log (seen on 3.3.2). Storing an XCom waits for the supervisor.
        log.info("%s", state.ending)
        # Not in the event: Airflow logs events, and would encode the XComs twice (seen on 3.3.2).
        await self._push({"return_value": await asyncio.to_thread(self._xcom, state), **self._link_xcoms})
        return TaskSuccessEvent()

    async def _announce(self) -> None:
        """Let the button and the page work while the task waits, where no worker has pushed their XComs."""
        try:
            await self._push(self._link_xcoms)
        except Exception as error:  # the wait is worth more than its page
            log.warning("The %s's page cannot be shown yet: %s", self.noun, printable(str(error)))

    async def _push(self, xcoms: dict[str, Any]) -> None:
        from airflow.sdk.execution_time.xcom import XCom

        ti: Any = self.task_instance
        place = {name: getattr(ti, name) for name in ("dag_id", "task_id", "run_id", "map_index")}
        for key, value in xcoms.items():
            await sync_to_async(XCom.set)(key, value, **place)

    @property
    def _link_xcoms(self) -> dict[str, Any]:
        link, outputs = self._link, self._shows_outputs
        return self._link_class.xcoms(self.task_instance, link, self.id, outputs=outputs)

    @property
    def _shows_outputs(self) -> bool:
        """Whether the page may show outputs."""
        raise NotImplementedError

    @property
    def _link(self) -> str | None:
        link: str | None = self._hook and self._hook.link_to(self._watch())
        return link

    def _deadline(self) -> float | None:
        timeout_after: datetime | None = getattr(self, "timeout_after", None)
        if self.deadline is not None or self.grace is None or timeout_after is None:
            return self.deadline
        return timeout_after.replace(tzinfo=timeout_after.tzinfo or timezone.utc).timestamp() - self.grace

    async def on_kill(self) -> None:
        """Log that what is waited for keeps running: White Rabbit has no call to cancel it."""
        log.warning("%s %s %s", self.noun.capitalize(), self.id, still_running(self._link))


class WRRunTrigger(WaitTrigger):
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
    :param confirm_end: read the run when its stream reports the end, before the trigger fires. False leaves that
        to whoever resumes, and saves a request; it has no effect where the trigger itself needs that read: with
        ``end_from_trigger``, metrics or traces.
    :param workflow_id: UUID of the run's workflow, for monitoring and the link; None for the connection's.
    """

    noun = "run"
    classpath = "airflow_provider_wr.triggers.wr.WRRunTrigger"
    _link_class = WRRunLink

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
        confirm_end: bool = True,
        workflow_id: str | None = None,
    ) -> None:
        super().__init__(
            wr_conn_id=wr_conn_id,
            deadline=deadline,
            grace=grace,
            end_from_trigger=end_from_trigger,
            allowed_statuses=allowed_statuses,
            max_credits=max_credits,
            confirm_end=confirm_end,
        )
        self.run_id = run_id
        self.stage_outputs = stage_outputs
        self.workflow_id = workflow_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments. None of them is secret."""
        classpath, arguments = super().serialize()
        return classpath, {
            **arguments,
            "stage_outputs": self.stage_outputs,
            "workflow_id": self.workflow_id,
        }

    @property
    def _shows_outputs(self) -> bool:
        return self.stage_outputs

    def _watch(self) -> Watched[Run]:
        return watched.run(self.run_id)

    def _xcom(self, state: Run) -> dict[str, Any]:
        return state.as_xcom(stage_outputs=self.stage_outputs)


class WRComponentExecutionTrigger(WaitTrigger):
    """
    Waits until an execution of a component has ended, on its event stream; as :class:`WRRunTrigger` for a run.

    :param execution_id: UUID of the execution.
    :param wr_conn_id: the Airflow connection, of type ``wr``.
    :param deadline: Unix seconds at which the wait ends in a ``WRTimeoutError``; None for none. Absolute, so that
        it survives a move to another triggerer.
    :param grace: for a trigger without a deadline that Airflow itself starts: the wait ends this many seconds
        before Airflow's timeout. None for no deadline.
    :param end_from_trigger: end the task here if the execution's status is allowed, with the execution as its
        result.
    :param allowed_statuses: the terminal statuses that end the task here; a worker handles others.
    :param max_credits: credits above which the wait ends in a ``WRCreditLimitError``; None for none.
    :param confirm_end: read the execution when its stream reports the end; as for a run.
    :param outputs: whether the execution's page inside Airflow may show its output.
    """

    noun = "execution"
    classpath = "airflow_provider_wr.triggers.wr.WRComponentExecutionTrigger"
    _link_class = WRExecutionLink

    def __init__(
        self,
        *,
        execution_id: str,
        wr_conn_id: str = "wr_default",
        deadline: float | None = None,
        grace: float | None = None,
        end_from_trigger: bool = False,
        allowed_statuses: Sequence[str] = ("COMPLETED",),
        max_credits: float | None = None,
        confirm_end: bool = True,
        outputs: bool = True,
    ) -> None:
        super().__init__(
            wr_conn_id=wr_conn_id,
            deadline=deadline,
            grace=grace,
            end_from_trigger=end_from_trigger,
            allowed_statuses=allowed_statuses,
            max_credits=max_credits,
            confirm_end=confirm_end,
        )
        self.execution_id = execution_id
        self.outputs = outputs

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments. None of them is secret."""
        classpath, arguments = super().serialize()
        return classpath, {**arguments, "outputs": self.outputs}

    @property
    def _shows_outputs(self) -> bool:
        return self.outputs

    def _watch(self) -> Watched[ComponentExecution]:
        return watched.execution(self.execution_id)

    def _xcom(self, state: ComponentExecution) -> dict[str, Any]:
        return state.as_xcom()


class _EndReported(Exception):
    """An event has reported the end."""


def _raise_at_end(event: State) -> None:
    if event.is_terminal:
        raise _EndReported


def defer(task: BaseOperator, trigger: WaitTrigger) -> NoReturn:
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
    The payload of the event: how the wait ended.

    :param id: UUID of what was waited for: the event's ``run_id`` or ``execution_id``.
    :param deadline: the trigger's.
    :param error: the error of the wait, as in a worker; None if the run or the execution has ended, or its stream
        says so.
    :param noun: what was waited for: "run" or "execution".
    """

    id: str
    deadline: float | None
    error: exceptions.WRError | None
    noun: str = "run"

    def to_event(self) -> dict[str, Any]:
        """Return the payload of the event."""
        error = None
        if self.error is not None:
            facts = {fact: getattr(self.error, fact) for fact in _FACTS if hasattr(self.error, fact)}
            error = {"class": type(self.error).__name__, **facts}
        event, _ = sanitize({f"{self.noun}_id": self.id, "deadline": self.deadline, "error": error})
        return event  # type: ignore[no-any-return]

    @classmethod
    def from_event(cls, event: Any) -> WaitEnd:
        """Read the payload of an event; raises ``WRProtocolError`` if it is not one of ours."""
        try:
            noun = "execution" if "execution_id" in event else "run"
            identifier, deadline, error = event[f"{noun}_id"], event["deadline"], event["error"]
            if not isinstance(identifier, str) or not isinstance(deadline, (int, float, NoneType)):
                raise TypeError
            return cls(identifier, deadline, None if error is None else _error(**error), noun)
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
