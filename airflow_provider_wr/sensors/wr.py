"""The sensor that waits for a run."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from airflow.providers.common.compat.sdk import (
    AirflowSensorTimeout,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)

from airflow_provider_wr.links.wr import WRRunLink

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_wr.models import Run
    from airflow_provider_wr.triggers.wr import WaitEnd

log = logging.getLogger(__name__)


class WRRunSensor(BaseSensorOperator):
    """
    Waits for a run to end, and returns it as the API gives it, key for key.

    A run that ended FAILED or CANCELED will not change, so it fails the task at once and without retries.
    Trouble on the way to the API fails nothing while there is time left.

    Every argument of Airflow's ``BaseSensorOperator`` does here what it does there, in every mode.

    :param run_id: UUID of the run (templated).
    :param wr_conn_id: the Airflow connection, of type ``wr`` (templated).
    :param deferrable: wait in the triggerer, on the run's stream of events, without a worker slot; otherwise
        the run is read every ``poke_interval`` seconds. Default: Airflow's ``[operators] default_deferrable``.
    :param allowed_statuses: the endings that are a success.
    :param stage_outputs: False leaves the outputs of the stages out of the result.
    """

    template_fields: Sequence[str] = ("run_id", "wr_conn_id")
    operator_extra_links = (WRRunLink(),)

    def __init__(
        self,
        *,
        run_id: str,
        wr_conn_id: str = "wr_default",
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        allowed_statuses: Sequence[str] = ("COMPLETED",),
        stage_outputs: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not allowed_statuses or not set(allowed_statuses) <= {"COMPLETED", "FAILED", "CANCELED"}:
            raise ValueError(
                "allowed_statuses should be some of COMPLETED, FAILED and CANCELED, "
                f"and is {list(allowed_statuses)}"
            )
        self.run_id = run_id
        self.wr_conn_id = wr_conn_id
        self.deferrable = deferrable
        self.allowed_statuses = tuple(allowed_statuses)
        self.stage_outputs = stage_outputs
        self._wait_end: WaitEnd | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Wait, in whatever mode, and return the run."""
        from airflow_provider_wr.connection import WRSettings
        from airflow_provider_wr.protocol import check_uuid

        check_uuid(self.run_id, "run_id")
        WRRunLink.push(context, WRSettings.load(self.wr_conn_id), self.run_id, None)
        started = context["ti"].get_first_reschedule_date(context) if self.reschedule else None
        self._started = started.timestamp() if started else time.time()
        return self._poke_until_done(context)

    def execute_complete(self, context: Context, event: dict[str, Any] | None) -> dict[str, Any]:
        """Go on where the trigger stopped."""
        from airflow_provider_wr.triggers.wr import WaitEnd

        self._wait_end = WaitEnd.from_event(event)
        self._started = (self._wait_end.deadline or time.time()) - self.timeout
        return self._poke_until_done(context)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume as a poked sensor would go on: only what skips there skips here."""
        if next_method == "execute_complete":
            # A sensor's own way turns every error into a skip under soft_fail, "could not ask" included.
            return super(BaseSensorOperator, self).resume_execution(next_method, next_kwargs, context)
        return super().resume_execution(next_method, next_kwargs, context)

    def poke(self, context: Context) -> PokeReturnValue:
        """Look whether the run has ended; if not, and if deferrable, hand the wait over to the triggerer."""
        from airflow_provider_wr.exceptions import WRTimeoutError

        if self._wait_end is not None and (error := self._wait_end.error) is not None:
            self._wait_end = None
            if isinstance(error, WRTimeoutError):
                raise AirflowSensorTimeout(self._timed_out()) from error
            raise error
        run = self._read()
        if run is not None and run.is_terminal:
            return PokeReturnValue(is_done=True, xcom_value=self._result(run))
        if self.deferrable:
            self._defer()
        return PokeReturnValue(is_done=False)

    def _poke_until_done(self, context: Context) -> dict[str, Any]:
        from airflow_provider_wr.waiting import Progress

        self._progress = Progress()
        try:
            return cast("dict[str, Any]", super().execute(context))
        except AirflowSensorTimeout as error:
            raise AirflowSensorTimeout(self._timed_out()) from error

    def _read(self) -> Run | None:
        """Read the run; None when that failed for a reason that time may mend."""
        from airflow_provider_wr.exceptions import WRError
        from airflow_provider_wr.hooks.wr import WRHook
        from airflow_provider_wr.waiting import time_may_mend

        try:
            with WRHook(self.wr_conn_id) as hook:
                run = hook.get_run(self.run_id)
        except WRError as error:
            if not time_may_mend(error, waited=time.time() - self._started):
                raise
            log.warning("Run %s: %s; looking again", self.run_id, error)
            return None
        self._progress.see(run)
        return run

    def _result(self, run: Run) -> dict[str, Any]:
        from airflow_provider_wr.exceptions import run_ended_error

        if run.status not in self.allowed_statuses:
            raise run_ended_error(run, final=True)
        log.info("%s", run.ending)
        return run.as_xcom(stage_outputs=self.stage_outputs)

    def _defer(self) -> None:
        from airflow_provider_wr.triggers.wr import WRRunTrigger, defer

        deadline = self._started + self.timeout
        trigger = WRRunTrigger(run_id=self.run_id, wr_conn_id=self.wr_conn_id, deadline=deadline)
        defer(self, trigger)

    def _timed_out(self) -> str:
        return (
            f"Sensor has timed out after {self.timeout:.12g} s; run {self.run_id} goes on: "
            "White Rabbit has no call to cancel it"
        )
