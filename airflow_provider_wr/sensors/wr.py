"""The sensor that waits for a run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

# Not the module, which Airflow replaces by a wrapper with another stacklevel.
from warnings import warn_explicit

from airflow.providers.common.compat.sdk import (
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)

from airflow_provider_wr import asset_events
from airflow_provider_wr.api.ids import check_run_id
from airflow_provider_wr.arguments import UNSET, Prepared, check_credits, check_rendered, to_seconds, warn_author
from airflow_provider_wr.exceptions import (
    WRConnectionError,
    WRError,
    WRRunEndedError,
    WRTimeoutError,
    no_retries,
    not_retried,
    run_ended_error,
)
from airflow_provider_wr.links.wr import WRRunLink
from airflow_provider_wr.openlineage import OpenLineageMixin
from airflow_provider_wr.sensors import in_triggerer

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from airflow.triggers.base import StartTriggerArgs

    from airflow_provider_wr.api.models import Run
    from airflow_provider_wr.connection import WRSettings
    from airflow_provider_wr.observability import Wait

log = logging.getLogger(__name__)


class WRRunSensor(OpenLineageMixin, BaseSensorOperator):
    """
    Waits for a run to end, and returns the API's JSON of it.

    A run that ended FAILED or CANCELED will not change, so it fails the task at once and without retries. Outages
    of the API do not fail the task before its timeout.

    All arguments of Airflow's ``BaseSensorOperator`` work as documented there, in every mode.

    :param run_id: UUID of the run (templated).
    :param wr_conn_id: the Airflow connection, of type ``wr`` (templated).
    :param deferrable: wait in the triggerer, on the run's event stream, without a worker slot. Otherwise the run
        is read every ``poke_interval`` seconds. Default: Airflow's ``[operators] default_deferrable``.
    :param start_from_trigger: start in the triggerer, without a worker (Airflow 3.3 and later). If that could
        make a difference, a warning says why, and the sensor starts in a worker and defers.
    :param end_from_trigger: also end in the triggerer if the run's status is allowed (Airflow 3.3 and later). If
        that could make a difference, a warning says why, and the sensor ends in a worker.
    :param allowed_statuses: the terminal statuses that count as success.
    :param stage_outputs: False leaves the outputs of the stages out of the result.
    :param timeout: seconds to wait, as a number, a numeric string or a ``timedelta``.
        Default: Airflow's ``[sensors] default_timeout``.
    :param max_credits: credits above which the task fails, without retries, as soon as it sees that the run used
        more, whatever the run's status. It stops nothing: an active run goes on. None for no limit.
    """

    template_fields: Sequence[str] = ("run_id", "wr_conn_id")
    operator_extra_links = (WRRunLink(),)

    # Airflow reads the properties below before the constructor has finished.
    _start_requested = _end_requested = _made = False

    #: The wait by poking, for monitoring; None while the triggerer waits, which reports for itself.
    _wait: Wait | None = None

    def __init__(
        self,
        *,
        run_id: str,
        wr_conn_id: str = "wr_default",
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        start_from_trigger: bool = False,
        end_from_trigger: bool = False,
        allowed_statuses: Sequence[str] = ("COMPLETED",),
        stage_outputs: bool = True,
        timeout: float | str | timedelta = UNSET,
        max_credits: float | str | None = None,
        **kwargs: Any,
    ) -> None:
        if timeout is not UNSET:
            kwargs["timeout"] = _check_timeout(timeout)
        super().__init__(**kwargs)
        self.run_id = run_id
        self.wr_conn_id = wr_conn_id
        self.deferrable = deferrable or start_from_trigger or end_from_trigger
        self.allowed_statuses = _check_statuses(allowed_statuses)
        self.stage_outputs = stage_outputs
        self.max_credits = check_credits(max_credits)
        self._found: Run | WRError | None = None
        self._link: str | None = None
        self._kill_note: str | None = None
        self._start_requested = start_from_trigger
        self._end_requested = end_from_trigger
        self._warned: set[str] = set()
        self._ends_in_triggerer()
        self._triggerer_args()
        self._made = True

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """Prepare a mapped sensor, which Airflow cannot start in the triggerer."""
        prepared = Prepared(super().partial, kwargs)
        prepared.check(timeout=_check_timeout, allowed_statuses=_check_statuses, max_credits=check_credits)
        if prepared.get("start_from_trigger"):
            reason = "Airflow cannot do so for a mapped task"
            warn_author(_needs_worker("start", kwargs.get("task_id"), reason))
            prepared.set("start_from_trigger", False)
            prepared.set("deferrable", True)
        if prepared.get("end_from_trigger"):
            try:
                in_triggerer.check_mapped_end(cls, prepared.arguments, WRRunSensor)
            except in_triggerer.NeedsWorker as why:
                # Keep the argument: each instance handles it in its worker.
                warn_author(_needs_worker("end", kwargs.get("task_id"), str(why)))
        return prepared.partial

    def resolve_template_files(self) -> None:
        """Check again what may run in the triggerer: Airflow calls this after reading the whole DAG file."""
        super().resolve_template_files()
        self._ends_in_triggerer()
        self._triggerer_args()

    def execute(self, context: Context) -> dict[str, Any]:
        """Wait, in any mode, and return the run."""
        from airflow_provider_wr.observability import Wait

        with no_retries():
            check_rendered(self.wr_conn_id, "wr_conn_id")
            self._run_id = check_run_id(self.run_id)
        first_poke = self._first_poke(context)
        self._connection_was_found = first_poke is not None
        self._started = first_poke or time.time()
        self._wait = Wait("run", self.run_id, started_at=self._started)
        return self._poke_until_done(context, begins=first_poke is None)

    def execute_complete(self, context: Context, event: dict[str, Any] | None) -> dict[str, Any]:
        """Resume after the trigger has fired."""
        from airflow_provider_wr.triggers.wr import WaitEnd

        end = WaitEnd.from_event(event)
        self._connection_was_found = True
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

        self._run_id = self.run_id
        if airflow_timed_out(next_method, next_kwargs):
            self._connection_was_found = True
            self._started = time.time() - self._limit
            return self._final_read(context)
        # Not BaseSensorOperator's, which skips for every error under soft_fail, also for "could not ask".
        return super(BaseSensorOperator, self).resume_execution(next_method, next_kwargs, context)

    def poke(self, context: Context) -> PokeReturnValue:
        """Check whether the run has ended; if not, and if deferrable, defer."""
        found, self._found = self._found, None
        if isinstance(found, Exception):
            with no_retries():
                raise found
        run = found or self._read()
        if run is not None and run.is_terminal and self._wait is not None:
            self._wait.ended(run)
        if run is not None:
            self._check_credits(run)
        if run is not None and run.is_terminal:
            result = self._result(run)
            asset_events.describe(context, self.outlets, run.id, workflow_id=None, run=run)
            return PokeReturnValue(is_done=True, xcom_value=result)
        if self.deferrable:
            if time.time() >= self._started + self._limit:
                raise self._timed_out(self._limit, self._known.text(self._link))
            self._defer()
        return PokeReturnValue(is_done=False)

    def on_kill(self) -> None:
        """Log that the run keeps running: White Rabbit has no call to cancel it."""
        if self._kill_note is not None:
            log.warning("Run %s %s", self.run_id, self._kill_note)

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

    def _poke_until_done(self, context: Context, *, begins: bool = False) -> dict[str, Any]:
        from airflow_provider_wr.waiting.progress import Progress
        from airflow_provider_wr.waiting.rules import LastKnown

        self._progress = Progress()
        self._known = LastKnown(f"run {self.run_id}", from_the_start=not self._connection_was_found)
        end: BaseException | None
        try:
            self._push_link(context)
            if begins:
                log.info("Waiting for run %s%s", self.run_id, f": {self._link}" if self._link else "")
            return cast("dict[str, Any]", super().execute(context))
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
        """Report a wait by poking that ends in an error, unless the error is how the run has ended."""
        if self._wait is not None and not isinstance(error, WRRunEndedError):
            self._wait.failed(type(error).__name__)

    def _push_link(self, context: Context) -> None:
        from airflow_provider_wr.waiting.rules import still_running

        with suppress(WRConnectionError):  # the read will report a failed lookup
            outputs = self.stage_outputs and self.do_xcom_push
            self._link = WRRunLink.push(context, self._settings(), self.run_id, None, outputs=outputs)
        self._kill_note = still_running(self._link)

    def _settings(self) -> WRSettings:
        from airflow_provider_wr.connection import WRSettings

        settings = WRSettings.load(self.wr_conn_id, was_found=self._connection_was_found)
        self._connection_was_found = True
        return settings

    def _read(self) -> Run | None:
        """Read the run; None after a transient error."""
        from airflow_provider_wr.api import watched
        from airflow_provider_wr.hooks.wr import WRHook
        from airflow_provider_wr.waiting.rules import FINAL_READ_TIMEOUT, is_transient, log_retry

        try:
            with WRHook(self.wr_conn_id) as hook:
                hook.settings = self._settings()
                if self._wait is not None:
                    self._wait.workflow_id = hook.settings.workflow_id
                # One request, within the time that is left: the next poke retries.
                left = self._started + self.timeout - time.time()
                run = hook.read_once(watched.run(self.run_id), within=max(left, FINAL_READ_TIMEOUT))
        except WRError as error:
            self._known.record_error(error)
            if not is_transient(error, elapsed=time.time() - self._started):
                raise
            log_retry(f"run {self.run_id}", error)
            return None
        self._known.record_state(run)
        self._progress.update(run)
        return run

    def _check_credits(self, run: Run) -> None:
        from airflow_provider_wr.waiting import credit_limit
        from airflow_provider_wr.waiting.rules import still_running

        if not credit_limit.exceeds(run, self.max_credits):
            return
        self._run = run
        if run.is_terminal:
            raise not_retried(credit_limit.ended_error(run, self.max_credits, self._link))
        note = still_running(self._link)
        raise not_retried(credit_limit.running_error(f"run {self.run_id}", run, self.max_credits, note))

    def _final_read(self, context: Context, earlier: WRTimeoutError | None = None) -> dict[str, Any]:
        """
        Read the run once more after a timeout, and return it if it has ended.

        :param earlier: the error of the wait; None if there is none.
        """
        from airflow_provider_wr.hooks.wr import WRHook
        from airflow_provider_wr.waiting.rules import last_known

        self._wait = None  # the hook reports this one

        try:
            with no_retries(), WRHook(self.wr_conn_id) as hook:
                self._found = hook.wait_for_run(
                    self.run_id, timeout=self._limit, deadline=0, was_found=True, max_credits=self.max_credits
                )
        except WRTimeoutError as error:
            self._push_link(context)
            raise self._timed_out(self._limit, last_known(error, earlier)) from None
        return self._poke_until_done(context)

    def _result(self, run: Run) -> dict[str, Any]:
        self._run = run
        if run.status not in self.allowed_statuses:
            raise not_retried(run_ended_error(run, retryable=False, link=self._link))
        log.info("%s", run.ending)
        return run.as_xcom(stage_outputs=self.stage_outputs)

    def _defer(self) -> None:
        from airflow_provider_wr.triggers.wr import WRRunTrigger, defer

        defer(
            self,
            WRRunTrigger(
                run_id=self.run_id,
                wr_conn_id=self.wr_conn_id,
                deadline=self._started + self._limit,
                **self._trigger_options,
            ),
        )

    def _ends_in_triggerer(self) -> bool:
        if not self._end_requested:
            return False
        try:
            in_triggerer.check_end(self, WRRunSensor)
        except in_triggerer.NeedsWorker as reason:
            self._warn("end", reason)
            return False
        return True

    def _triggerer_args(self) -> StartTriggerArgs | None:
        """Return what Airflow starts in the triggerer; None if the sensor starts in a worker."""
        if not self._start_requested:
            return None

        from airflow.triggers.base import StartTriggerArgs

        from airflow_provider_wr.triggers.wr import CLASSPATH, GRACE

        try:
            templates = in_triggerer.check_start(self, WRRunSensor)
        except in_triggerer.NeedsWorker as reason:
            self._warn("start", reason)
            return None
        # Airflow's own limit is the lower of this timeout and the execution timeout.
        timeout = self._limit + GRACE
        execution_timeout = self.execution_timeout.total_seconds() if self.execution_timeout else timeout
        return StartTriggerArgs(
            trigger_cls=CLASSPATH,
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
            "stage_outputs": self.stage_outputs and self.do_xcom_push,
            "max_credits": self.max_credits,
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
    return to_seconds(value, "timeout")


def _check_statuses(value: Sequence[str]) -> tuple[str, ...]:
    if not value or not set(value) <= {"COMPLETED", "FAILED", "CANCELED"}:
        raise ValueError(f"allowed_statuses should be some of COMPLETED, FAILED and CANCELED, not {list(value)}")
    return tuple(value)


def _needs_worker(what: str, task_id: str | None, reason: str) -> str:
    return f"{task_id} cannot {what} in the triggerer, and does so in a worker: {reason}"
