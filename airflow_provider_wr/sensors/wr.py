"""The sensors that wait for a run, and for an execution of a component."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import conf

from airflow_provider_wr import asset_events
from airflow_provider_wr.arguments import UNSET
from airflow_provider_wr.exceptions import WRComponentFailedError, WRError, run_ended_error
from airflow_provider_wr.links.wr import WRExecutionLink, WRRunLink
from airflow_provider_wr.sensors.wait import WaitSensor

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_wr.api.executions import ComponentExecution
    from airflow_provider_wr.api.models import Run
    from airflow_provider_wr.api.watched import Watched
    from airflow_provider_wr.connection import WRSettings
    from airflow_provider_wr.triggers.wr import WaitTrigger


class WRRunSensor(WaitSensor):
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
        more, whatever the run's status. It stops nothing: an active run keeps running. None for no limit.
    """

    template_fields: Sequence[str] = ("run_id", "wr_conn_id")
    operator_extra_links = (WRRunLink(),)

    _noun = "run"
    _statuses = ("COMPLETED", "FAILED", "CANCELED")

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
        super().__init__(
            wr_conn_id=wr_conn_id,
            deferrable=deferrable,
            start_from_trigger=start_from_trigger,
            end_from_trigger=end_from_trigger,
            allowed_statuses=allowed_statuses,
            timeout=timeout,
            max_credits=max_credits,
            **kwargs,
        )
        self.run_id = run_id
        self.stage_outputs = stage_outputs
        self._check_triggerer(start=start_from_trigger, end=end_from_trigger)

    def _watch(self) -> Watched[Run]:
        from airflow_provider_wr.api import watched

        return watched.run(self.run_id)

    def _trigger_class(self) -> type[WaitTrigger]:
        from airflow_provider_wr.triggers.wr import WRRunTrigger

        return WRRunTrigger

    @property
    def _trigger_options(self) -> dict[str, Any]:
        return {**super()._trigger_options, "stage_outputs": self.stage_outputs and self.do_xcom_push}

    def _push(self, context: Context, settings: WRSettings) -> str | None:
        outputs = self.stage_outputs and self.do_xcom_push
        return WRRunLink.push(context, settings, self.run_id, None, outputs=outputs)

    def _know(self, identifier: str, state: Any = None) -> None:
        self._run_id, self._run = identifier, state

    def _describe(self, context: Context, state: Run) -> None:
        asset_events.describe(context, self.outlets, state.id, workflow_id=None, run=state)

    def _ended_error(self, state: Run) -> WRError:
        return run_ended_error(state, retryable=False, link=self._link)

    def _xcom(self, state: Run) -> dict[str, Any]:
        return state.as_xcom(stage_outputs=self.stage_outputs)


class WRComponentExecutionSensor(WaitSensor):
    """
    Waits for an execution of a component to end, and returns it as the API's JSON.

    An execution that ended FAILED will not change, so the task fails at once and without retries. Transient errors
    do not fail the task before its timeout.

    Arguments of Airflow's ``BaseSensorOperator`` work as usual in every mode.

    :param execution_id: UUID of the execution (templated).
    :param wr_conn_id: the Airflow connection, of type ``wr`` (templated).
    :param deferrable: wait in the triggerer, on the execution's event stream, without a worker slot; otherwise it
        is read every ``poke_interval`` seconds. Default: Airflow's ``[operators] default_deferrable``.
    :param start_from_trigger: start in the triggerer, without a worker; see :class:`WRRunSensor`.
    :param end_from_trigger: end in the triggerer, too; see :class:`WRRunSensor`.
    :param allowed_statuses: the statuses that are a success: COMPLETED, FAILED or both.
    :param timeout: seconds to wait, as a number, a string or a ``timedelta``.
        Default: Airflow's ``[sensors] default_timeout``.
    :param max_credits: credits above which the task fails, without retries, as soon as it sees that the execution
        used more. Nothing is stopped. None for no limit.
    """

    template_fields: Sequence[str] = ("execution_id", "wr_conn_id")
    operator_extra_links = (WRExecutionLink(),)

    _noun = "execution"
    _statuses = ("COMPLETED", "FAILED")

    def __init__(
        self,
        *,
        execution_id: str,
        wr_conn_id: str = "wr_default",
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        start_from_trigger: bool = False,
        end_from_trigger: bool = False,
        allowed_statuses: Sequence[str] = ("COMPLETED",),
        timeout: float | str | timedelta = UNSET,
        max_credits: float | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            wr_conn_id=wr_conn_id,
            deferrable=deferrable,
            start_from_trigger=start_from_trigger,
            end_from_trigger=end_from_trigger,
            allowed_statuses=allowed_statuses,
            timeout=timeout,
            max_credits=max_credits,
            **kwargs,
        )
        self.execution_id = execution_id
        self._check_triggerer(start=start_from_trigger, end=end_from_trigger)

    def _watch(self) -> Watched[ComponentExecution]:
        from airflow_provider_wr.api import watched

        return watched.execution(self.execution_id)

    def _trigger_class(self) -> type[WaitTrigger]:
        from airflow_provider_wr.triggers.wr import WRComponentExecutionTrigger

        return WRComponentExecutionTrigger

    @property
    def _trigger_options(self) -> dict[str, Any]:
        return {**super()._trigger_options, "outputs": self.do_xcom_push}

    def _push(self, context: Context, settings: WRSettings) -> str | None:
        return WRExecutionLink.push(context, settings, self.execution_id, outputs=self.do_xcom_push)

    def _know(self, identifier: str, state: Any = None) -> None:
        """OpenLineage's facet is of runs."""

    def _describe(self, context: Context, state: ComponentExecution) -> None:
        asset_events.describe_execution(context, self.outlets, state.id, module=state.module, execution=state)

    def _ended_error(self, state: ComponentExecution) -> WRError:
        return WRComponentFailedError(state, retryable=False, link=self._link)

    def _xcom(self, state: ComponentExecution) -> dict[str, Any]:
        return state.as_xcom()
