"""What both sensors share: waiting in a worker, in the triggerer, or from one to the other."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

# Not the module, which Airflow replaces by a wrapper with another stacklevel.
from warnings import warn_explicit

from airflow.providers.common.compat.sdk import (
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseSensorOperator,
    PokeReturnValue,
)

from airflow_provider_wr.arguments import UNSET, Prepared, check_credits, check_rendered, to_seconds, warn_author
from airflow_provider_wr.exceptions import (
    WRComponentFailedError,
    WRConnectionError,
    WRError,
    WRRunEndedError,
    WRTimeoutError,
    no_retries,
    not_retried,
)
from airflow_provider_wr.openlineage import OpenLineageMixin
from airflow_provider_wr.sensors import in_triggerer

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from airflow.triggers.base import StartTriggerArgs

    from airflow_provider_wr.api.watched import Watched
    from airflow_provider_wr.connection import WRSettings
    from airflow_provider_wr.observability import Wait
    from airflow_provider_wr.triggers.wr import WaitTrigger

log = logging.getLogger(__name__)


class WaitSensor(OpenLineageMixin, BaseSensorOperator):
    """
    Waits for something to end.

    :cvar _noun: what it waits for, in words. Its id is the field ``<noun>_id``.
    :cvar _statuses: the statuses that ``allowed_statuses`` may name.
    """

    _noun: ClassVar[str]
    _statuses: ClassVar[Sequence[str]]

    # Airflow reads the properties below before the constructor has finished.
    _start_requested = _end_requested = _made = False

    #: Whether the trigger reads the end before it fires. True once a worker has resumed, so that a stream that
    #: keeps reporting an end does not wake one again and again.
    _confirm_end = False

    #: The wait by poking, for monitoring; None while the triggerer waits, which reports for itself.
    _wait: Wait | None = None

    def __init__(
        self,
        *,
        wr_conn_id: str,
        deferrable: bool,
        start_from_trigger: bool,
        end_from_trigger: bool,
        allowed_statuses: Sequence[str],
        timeout: float | str | timedelta,
        max_credits: float | str | None,
        **kwargs: Any,
    ) -> None:
        if timeout is not UNSET:
            kwargs["timeout"] = _check_timeout(timeout)
        super().__init__(**kwargs)
        self.wr_conn_id = wr_conn_id
        self.deferrable = deferrable or start_from_trigger or end_from_trigger
        self.allowed_statuses = self._check_statuses(allowed_statuses)
        self.max_credits = check_credits(max_credits)
        self._found: Any = None
        self._link: str | None = None
        self._kill_note: str | None = None
        self._warned: set[str] = set()

    def _check_triggerer(self, *, start: bool, end: bool) -> None:
        """Check what may run in the triggerer: the last thing that a constructor does, once all fields are set."""
        self._start_requested, self._end_requested = start, end
        self._ends_in_triggerer()
        self._triggerer_args()
        self._made = True

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """Prepare a mapped sensor, which Airflow cannot start in the triggerer."""
        prepared = Prepared(super().partial, kwargs)
        prepared.check(timeout=_check_timeout, allowed_statuses=cls._check_statuses, max_credits=check_credits)
        if prepared.get("start_from_trigger"):
            reason = "Airflow cannot do so for a mapped task"
            warn_author(_needs_worker("start", kwargs.get("task_id"), reason))
            prepared.set("start_from_trigger", False)
            prepared.set("deferrable", True)
        if prepared.get("end_from_trigger"):
            try:
                in_triggerer.check_mapped_end(cls, prepared.arguments, cls._ours())
            except in_triggerer.NeedsWorker as why:
                # Keep the argument: each instance handles it in its worker.
                warn_author(_needs_worker("end", kwargs.get("task_id"), str(why)))
        return prepared.partial

    @classmethod
    def _ours(cls) -> type:
        """Return the class of this package that the sensor is, or is derived from."""
        return next(kind for kind in cls.__mro__ if "_noun" in vars(kind))

    @classmethod
    def _check_statuses(cls, value: Sequence[str]) -> tuple[str, ...]:
        if not value or not set(value) <= set(cls._statuses):
            *others, last = cls._statuses
            named = f"{', '.join(others)} and {last}"
            raise ValueError(f"allowed_statuses should be some of {named}, not {list(value)}")
        return tuple(value)

    # --- what each of them does in its own way

    def _watch(self) -> Watched[Any]:
        """Return what to wait for; raises :class:`WRValidationError` for an invalid id."""
        raise NotImplementedError

    def _trigger_class(self) -> type[WaitTrigger]:
        raise NotImplementedError

    def _push(self, context: Context, settings: WRSettings) -> str | None:
        """Push the link, and return its URL; None without one."""
        raise NotImplementedError

    def _know(self, identifier: str, state: Any = None) -> None:
        """Take what is known, for OpenLineage."""
        raise NotImplementedError

    def _describe(self, context: Context, state: Any) -> None:
        """Add what ended well to the task's asset events."""
        raise NotImplementedError

    def _ended_error(self, state: Any) -> WRError:
        """Return the error for what ended in a status that is not allowed."""
        raise NotImplementedError

    def _xcom(self, state: Any) -> Any:
        """Return the result."""
        raise NotImplementedError

    # --- what they share

    @property
    def _id(self) -> str:
        identifier: str = getattr(self, f"{self._noun}_id")
        return identifier

    def resolve_template_files(self) -> None:
        """Check again what may run in the triggerer: Airflow calls this after reading the whole DAG file."""
        super().resolve_template_files()
        self._ends_in_triggerer()
        self._triggerer_args()

    def execute(self, context: Context) -> Any:
        """Wait, in any mode, and return the end."""
        from airflow_provider_wr.observability import Wait

        with no_retries():
            check_rendered(self.wr_conn_id, "wr_conn_id")
            self._know(self._watch().id)
        first_poke = self._first_poke(context)
        self._connection_was_found = first_poke is not None
        self._started = first_poke or time.time()
        self._wait = Wait(self._noun, self._id, started_at=self._started)
        return self._poke_until_done(context, begins=first_poke is None)

    def execute_complete(self, context: Context, event: dict[str, Any] | None) -> Any:
        """Resume after the trigger has fired."""
        from airflow_provider_wr.triggers.wr import WaitEnd

        end = WaitEnd.from_event(event)
        self._connection_was_found = self._confirm_end = True
        self._started = (
            context["ti"].start_date.timestamp() if end.deadline is None else end.deadline - self._limit
        )
        if isinstance(end.error, WRTimeoutError):
            return self._final_read(context, end.error)
        self._found = end.error
        return self._poke_until_done(context)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume. ``soft_fail`` skips for the same errors as without deferring."""
        from airflow_provider_wr.triggers.wr import airflow_timed_out

        self._know(self._id)
        if airflow_timed_out(next_method, next_kwargs):
            self._connection_was_found = True
            self._started = time.time() - self._limit
            return self._final_read(context)
        # Not BaseSensorOperator's, which skips for every error under soft_fail, also for "could not ask".
        return super(BaseSensorOperator, self).resume_execution(next_method, next_kwargs, context)

    def poke(self, context: Context) -> PokeReturnValue:
        """Check whether it has ended; if not, and if deferrable, defer."""
        found, self._found = self._found, None
        if isinstance(found, Exception):
            with no_retries():
                raise found
        state = found or self._read()
        if state is not None and state.is_terminal and self._wait is not None:
            self._wait.ended(state)
        if state is not None:
            self._check_credits(state)
        if state is not None and state.is_terminal:
            result = self._result(state)
            self._describe(context, state)
            return PokeReturnValue(is_done=True, xcom_value=result)
        if self.deferrable:
            if time.time() >= self._started + self._limit:
                raise self._timed_out(self._limit, self._known.text(self._link))
            self._defer()
        return PokeReturnValue(is_done=False)

    def on_kill(self) -> None:
        """Log that it keeps running: White Rabbit has no call to cancel it."""
        if self._kill_note is not None:
            log.warning("%s %s %s", self._noun.capitalize(), self._id, self._kill_note)

    def _first_poke(self, context: Context) -> float | None:
        """Return the time of the first rescheduled poke in Unix seconds; None if this is the first poke."""
        # Unknown on Airflow 2.11, where each poke counts as the first.
        get_date = getattr(context["ti"], "get_first_reschedule_date", None)
        first = get_date(context) if get_date is not None and self.reschedule else None
        return first.timestamp() if first is not None else None

    def _get_next_poke_interval(
        self, started_at: datetime | float, run_duration: Callable[[], float], poke_count: int
    ) -> float:
        """Return Airflow's interval, extended by ``Retry-After`` and capped at the next read that is due."""
        from airflow_provider_wr.waiting.rules import cap_pause

        seconds = super()._get_next_poke_interval(started_at, run_duration, poke_count)
        error = self._known.error
        elapsed = time.time() - self._started
        return cap_pause(
            max(seconds, (error and error.retry_after) or 0.0),
            error,
            elapsed=elapsed,
            left=max(0.05, min(self.timeout - elapsed, self.timeout - run_duration())),
        )

    def _poke_until_done(self, context: Context, *, begins: bool = False) -> Any:
        from airflow_provider_wr.waiting.progress import Progress
        from airflow_provider_wr.waiting.rules import LastKnown

        self._progress = Progress()
        self._known = LastKnown(f"{self._noun} {self._id}", from_the_start=not self._connection_was_found)
        end: BaseException | None
        try:
            self._push_link(context)
            if begins:
                log.info("Waiting for %s %s%s", self._noun, self._id, f": {self._link}" if self._link else "")
            return super().execute(context)
        except (AirflowSensorTimeout, AirflowTaskTimeout) as timeout:
            end = timeout
        except AirflowSkipException as skip:
            # Airflow does not log the error for which it skips. After a timeout, there is none.
            end = skip.__cause__
            if end is not None and not isinstance(end, (AirflowSensorTimeout, AirflowTaskTimeout)):
                self._report_failure(end)
                log.warning("%s", end)
                raise
        except WRError as error:
            self._report_failure(error)
            raise
        if isinstance(end, AirflowTaskTimeout):
            return self._final_read(context)
        self._report_failure(WRTimeoutError(""))
        raise self._timed_out(self.timeout, self._known.text(self._link))  # the last poke was the final read

    def _report_failure(self, error: BaseException) -> None:
        """Report a wait by poking that ends in an error, unless the error is how what it waits for has ended."""
        if self._wait is not None and not isinstance(error, (WRRunEndedError, WRComponentFailedError)):
            self._wait.failed(type(error).__name__)

    def _push_link(self, context: Context) -> None:
        from airflow_provider_wr.waiting.rules import still_running

        with suppress(WRConnectionError):  # the read will report a failed lookup
            self._link = self._push(context, self._settings())
        self._kill_note = still_running(self._link)

    def _settings(self) -> WRSettings:
        from airflow_provider_wr.connection import WRSettings

        settings = WRSettings.load(self.wr_conn_id, was_found=self._connection_was_found)
        self._connection_was_found = True
        return settings

    def _read(self) -> Any:
        """Read it; None after a transient error."""
        from airflow_provider_wr.hooks.wr import WRHook
        from airflow_provider_wr.waiting.rules import FINAL_READ_TIMEOUT, is_transient, log_retry

        try:
            with WRHook(self.wr_conn_id) as hook:
                hook.settings = self._settings()
                if self._wait is not None:
                    self._wait.workflow_id = hook.settings.workflow_id
                # One request, within the time that is left: the next poke retries.
                left = self._started + self.timeout - time.time()
                state = hook.read_once(self._watch(), within=max(left, FINAL_READ_TIMEOUT))
        except WRError as error:
            self._known.record_error(error)
            if not is_transient(error, elapsed=time.time() - self._started):
                raise
            log_retry(f"{self._noun} {self._id}", error)
            return None
        self._known.record_state(state)
        self._progress.update(state)
        return state

    def _check_credits(self, state: Any) -> None:
        from airflow_provider_wr.waiting import credit_limit
        from airflow_provider_wr.waiting.rules import still_running

        if not credit_limit.exceeds(state, self.max_credits):
            return
        self._know(self._id, state)
        if state.is_terminal:
            raise not_retried(credit_limit.ended_error(state, self.max_credits, self._link))
        note = still_running(self._link)
        raise not_retried(credit_limit.running_error(f"{self._noun} {self._id}", state, self.max_credits, note))

    def _final_read(self, context: Context, earlier: WRTimeoutError | None = None) -> Any:
        """
        Read once more after a timeout, and return the result if it has ended.

        :param earlier: the error of the wait; None if there is none.
        """
        from airflow_provider_wr.hooks.wr import WRHook
        from airflow_provider_wr.waiting.rules import last_known

        self._wait = None  # the hook reports this one
        try:
            with no_retries(), WRHook(self.wr_conn_id) as hook:
                self._found = hook.wait_for(
                    self._watch(), timeout=self._limit, deadline=0, was_found=True, max_credits=self.max_credits
                )
        except WRTimeoutError as error:
            self._push_link(context)
            raise self._timed_out(self._limit, last_known(error, earlier)) from None
        return self._poke_until_done(context)

    def _result(self, state: Any) -> Any:
        self._know(self._id, state)
        if state.status not in self.allowed_statuses:
            raise not_retried(self._ended_error(state))
        log.info("%s", state.ending)
        return self._xcom(state)

    def _defer(self) -> None:
        from airflow_provider_wr.triggers.wr import defer

        self._wait = None  # the trigger reports its own
        arguments: dict[str, Any] = {
            f"{self._noun}_id": self._id,
            "wr_conn_id": self.wr_conn_id,
            "deadline": self._started + self._limit,
            **self._trigger_options,
        }
        defer(self, self._trigger_class()(**arguments))

    def _ends_in_triggerer(self) -> bool:
        if not self._end_requested:
            return False
        try:
            in_triggerer.check_end(self, self._ours())
        except in_triggerer.NeedsWorker as reason:
            self._warn("end", reason)
            return False
        return True

    def _triggerer_args(self) -> StartTriggerArgs | None:
        """Return what Airflow starts in the triggerer; None if the sensor starts in a worker."""
        if not self._start_requested:
            return None

        from airflow.triggers.base import StartTriggerArgs

        from airflow_provider_wr.triggers.wr import GRACE

        try:
            templates = in_triggerer.check_start(self, self._ours())
        except in_triggerer.NeedsWorker as reason:
            self._warn("start", reason)
            return None
        # Airflow's own limit is the lower of this timeout and the execution timeout.
        timeout = self._limit + GRACE
        execution_timeout = self.execution_timeout.total_seconds() if self.execution_timeout else timeout
        return StartTriggerArgs(
            trigger_cls=self._trigger_class().classpath,
            trigger_kwargs={
                **templates,
                "grace": min(timeout, execution_timeout) - self._limit,
                **self._trigger_options,
            },
            next_method="execute_complete",
            timeout=timedelta(seconds=timeout),
        )

    # Airflow reads these after it has read the DAG file, and when it runs the task.
    end_from_trigger = in_triggerer.InstanceProperty(_ends_in_triggerer, False)
    start_from_trigger = in_triggerer.InstanceProperty(lambda self: self._triggerer_args() is not None, False)
    start_trigger_args = in_triggerer.InstanceProperty(_triggerer_args, None)

    def _warn(self, what: str, reason: in_triggerer.NeedsWorker) -> None:
        if what in self._warned:
            return
        self._warned.add(what)
        text = _needs_worker(what, self.task_id, str(reason))
        if self._made:
            # No line of the DAG file is running any more.
            where = self.dag.fileloc if self.has_dag() else __file__  # type: ignore[no-untyped-call]
            warn_explicit(text, UserWarning, where, lineno=1)
        else:
            warn_author(text)

    @property
    def _trigger_options(self) -> dict[str, Any]:
        return {
            "end_from_trigger": self.end_from_trigger,
            "allowed_statuses": list(self.allowed_statuses),
            "max_credits": self.max_credits,
            "confirm_end": self._confirm_end,
        }

    @property
    def _limit(self) -> float:
        """Timeout in seconds of a wait in the triggerer, which the execution timeout limits, too."""
        if self.execution_timeout is None:
            return self.timeout
        return min(self.timeout, self.execution_timeout.total_seconds())

    def _timed_out(self, limit: float, known: str) -> BaseException:
        """Return the exception for a timeout of ``limit`` seconds; ``known`` goes into its message."""
        from airflow_provider_wr.waiting.rules import timed_out

        self._kill_note = None
        kind: type[BaseException] = AirflowSensorTimeout if limit == self.timeout else AirflowTaskTimeout
        return (AirflowSkipException if self.soft_fail else kind)(timed_out("Sensor has", limit, known))


def _check_timeout(value: Any) -> float:
    """Return ``timeout`` in seconds; raises ``ValueError`` if it is none."""
    return to_seconds(value, "timeout")


def _needs_worker(what: str, task_id: str | None, reason: str) -> str:
    return f"{task_id} cannot {what} in the triggerer, and does so in a worker: {reason}"
