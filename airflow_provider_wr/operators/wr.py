"""The operators: update a component, trigger a run, read a run."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow.providers.common.compat.sdk import AirflowTaskTimeout, BaseOperator, conf
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_3_PLUS

from airflow_provider_wr.lineage import KnowsRun
from airflow_provider_wr.links.wr import WRRunLink
from airflow_provider_wr.operators import shared_config
from airflow_provider_wr.operators.shared_config import SharesConfig

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_wr.durable import RunMemory
    from airflow_provider_wr.hooks.wr import WRHook
    from airflow_provider_wr.models import Run, TriggeredRun
    from airflow_provider_wr.protocol import Call

log = logging.getLogger(__name__)


class WRUpdateComponentOperator(SharesConfig, BaseOperator):
    """
    Changes a component's config, name or position; what is not given is left as it is.

    A component's config is shared by all runs of its workflow. In a DAG that also starts runs, set
    ``max_active_runs=1``, or use ``WRTriggerRunOperator(component_updates=…)`` in a pool of one slot instead.

    :param component_id: UUID of the component (templated).
    :param workflow_id: UUID of its workflow; None for the connection's (templated).
    :param wr_conn_id: the Airflow connection, of type ``wr`` (templated).
    :param config: what to merge into the component's config: a dict, or the text of a JSON object (templated).
    :param config_from_params: DAG params to put into the config with their types as they are – a template
        would make 2 into "2". A list of names, or a dict of config keys and params' names (templated).
    :param name: the name on the canvas (templated).
    :param position: ``[x, y]`` on the canvas, or its JSON (templated).
    :param allow_concurrent_updates: update also while other DAG runs are under way, and do not warn of it.
    """

    starts_runs = False

    template_fields: Sequence[str] = (
        "component_id",
        "workflow_id",
        "wr_conn_id",
        "config",
        "config_from_params",
        "name",
        "position",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"config": "json", "config_from_params": "json"}

    def __init__(
        self,
        *,
        component_id: str,
        workflow_id: str | None = None,
        wr_conn_id: str = "wr_default",
        config: Mapping[str, Any] | str | None = None,
        config_from_params: Sequence[str] | Mapping[str, str] | None = None,
        name: str | None = None,
        position: Sequence[float | str] | str | None = None,
        allow_concurrent_updates: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.component_id = component_id
        self.workflow_id = workflow_id
        self.wr_conn_id = wr_conn_id
        self.config = config
        self.config_from_params = config_from_params
        self.name = name
        self.position = position
        self.allow_concurrent_updates = allow_concurrent_updates

    def execute(self, context: Context) -> None:
        """Send the update."""
        from airflow_provider_wr import component_update
        from airflow_provider_wr.hooks.wr import WRHook

        update = {field: getattr(self, field) for field in component_update.FIELDS}
        with WRHook(self.wr_conn_id, workflow_id=self.workflow_id) as hook:
            call = component_update.build(hook.choose_workflow(), context["params"], update)
            shared_config.check_alone(context, self, hook.settings)
            hook.send(call)
        component_update.log_sent(call)


class WRTriggerRunOperator(KnowsRun, SharesConfig, BaseOperator):
    """
    Starts a run, and waits for it if asked.

    Returns the run's id. Pushes the XComs ``run_id``, ``job_id`` and ``workflow_id`` as soon as they are known
    and, when it waited, ``run``: the finished run as the API gives it, also when it did not end well.

    No run is started twice by accident; when one is started anew is on the page "When is a run started twice?".

    :param workflow_id: UUID of the workflow; None for the connection's (templated).
    :param wr_conn_id: the Airflow connection, of type ``wr`` (templated).
    :param component_updates: changes to components, applied just before the run is started: a list of dicts of
        the arguments of ``WRUpdateComponentOperator`` other than the workflow and the connection (templated).
    :param wait_for_completion: wait until the run has ended. A run that ends FAILED or CANCELED fails the task;
        its retry starts a new run.
    :param deferrable: wait in the triggerer, without a worker slot.
        Default: Airflow's ``[operators] default_deferrable``.
    :param timeout: seconds to wait for the run, which goes on when they have passed.
    :param durable: remember the run from try to try (Airflow 3.3 and later), and go on with it instead of
        starting another. Where Airflow cannot, a task with retries warns when the DAG is parsed.
    :param on_unknown_trigger: what to do when a trigger was sent and nobody can know whether it started a run:
        "fail" without retries, or "retrigger" in the next try, which may start a second run.
    :param stage_outputs: False leaves the outputs of the stages out of the XCom ``run``.
    :param allow_concurrent_updates: update also while other runs are under way, and do not warn of it: right where
        all runs set the same values.
    """

    starts_runs = True
    template_fields: Sequence[str] = ("workflow_id", "wr_conn_id", "component_updates")
    template_fields_renderers: ClassVar[dict[str, str]] = {"component_updates": "json"}
    operator_extra_links = (WRRunLink(),)

    def __init__(
        self,
        *,
        workflow_id: str | None = None,
        wr_conn_id: str = "wr_default",
        component_updates: Sequence[Mapping[str, Any]] | None = None,
        wait_for_completion: bool = False,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        timeout: float = 3600.0,
        durable: bool = True,
        on_unknown_trigger: str = "fail",
        stage_outputs: bool = True,
        allow_concurrent_updates: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if on_unknown_trigger not in ("fail", "retrigger"):
            raise ValueError(f"on_unknown_trigger should be 'fail' or 'retrigger', and is {on_unknown_trigger!r}")
        self.workflow_id = workflow_id
        self.wr_conn_id = wr_conn_id
        self.component_updates = component_updates
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        self.timeout = timeout
        self.durable = durable
        self.on_unknown_trigger = on_unknown_trigger
        self.stage_outputs = stage_outputs
        self.allow_concurrent_updates = allow_concurrent_updates
        self._goes_on: str | None = None
        if durable and self.retries:
            _check_memory(self.task_id, stacklevel=3)

    @classmethod
    def partial(cls, *, durable: bool = True, **kwargs: Any) -> Any:
        """Prepare a mapped operator, which is not made before the task runs."""
        partial = super().partial(durable=durable, **kwargs)
        if durable and partial.kwargs.get("retries"):
            _check_memory(kwargs.get("task_id"), stacklevel=2)
        return partial

    def execute(self, context: Context) -> str:
        """Start a run, or go on with the one that an earlier try started."""
        from airflow_provider_wr.durable import RunMemory
        from airflow_provider_wr.hooks.wr import WRHook

        started = time.time()
        memory = RunMemory(context, durable=self.durable)
        with WRHook(self.wr_conn_id, workflow_id=self.workflow_id) as hook:
            workflow_id = hook.choose_workflow()
            updates = self._updates(context, workflow_id)
            found = memory.find(hook, workflow_id, retrigger=self._retrigger)
            triggered = found.triggered if found else self._start(context, hook, workflow_id, updates, memory)
            link = self._announce(context, hook, triggered, workflow_id)
            if not self.wait_for_completion:
                memory.note_delivered()
                return triggered.run_id
            if found and found.run.is_terminal:
                return self._finish(context, found.run)
            if self.deferrable:
                self._defer(triggered.run_id, started + self._limit)
            run = self._wait(hook, triggered.run_id, link, until=started + self.timeout)
        return self._finish(context, run)

    def execute_complete(self, context: Context, event: dict[str, Any] | None) -> str:
        """Go on where the trigger stopped."""
        from airflow_provider_wr.exceptions import WRTimeoutError
        from airflow_provider_wr.hooks.wr import WRHook
        from airflow_provider_wr.triggers.wr import WaitEnd

        end = WaitEnd.from_event(event)
        self._run_id, self._workflow_id = end.run_id, self.workflow_id
        if isinstance(end.error, WRTimeoutError) and self._limit < self.timeout:
            raise self._timed_out(end.run_id, self._link(end.run_id))
        if end.error is not None:
            raise end.error
        with WRHook(self.wr_conn_id, workflow_id=self.workflow_id) as hook:
            run = self._read(hook, end.run_id)
            self._workflow_id = self.workflow_id or hook.settings.workflow_id
        if run is None or not run.is_terminal:
            self._defer(end.run_id, end.deadline)
        return self._finish(context, run)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume, and say what Airflow's own timeout of a wait does not: that the run goes on."""
        from airflow_provider_wr.triggers.wr import airflow_timed_out

        if airflow_timed_out(next_method, next_kwargs):
            ti = context["ti"]
            run_id = ti.xcom_pull(task_ids=ti.task_id, key="run_id", map_indexes=ti.map_index)
            self._run_id, self._workflow_id = run_id, self.workflow_id
            raise self._timed_out(run_id, self._link(run_id))
        return super().resume_execution(next_method, next_kwargs, context)

    def on_kill(self) -> None:
        """Say that the run goes on: White Rabbit has no call to cancel it."""
        if self._goes_on is not None:
            log.warning("%s", self._goes_on)

    @property
    def _limit(self) -> float:
        """Seconds that a wait in the triggerer may take: the execution timeout holds there too."""
        if self.execution_timeout is None:
            return self.timeout
        return min(self.timeout, self.execution_timeout.total_seconds())

    @property
    def _retrigger(self) -> bool:
        return self.on_unknown_trigger == "retrigger"

    def _updates(self, context: Context, workflow_id: str) -> list[Call[None]]:
        """Make all updates ready, so that a bad one is refused before the first is sent."""
        from airflow_provider_wr import component_update

        updates = self.component_updates or ()
        return [component_update.build(workflow_id, context["params"], update) for update in updates]

    def _start(
        self,
        context: Context,
        hook: WRHook,
        workflow_id: str,
        updates: Sequence[Call[None]],
        memory: RunMemory,
    ) -> TriggeredRun:
        """Apply the updates and start a run."""
        from airflow_provider_wr import component_update
        from airflow_provider_wr.exceptions import WRError, WRTriggerUnknownError

        if updates:
            shared_config.check_alone(context, self, hook.settings)
        for update in updates:
            hook.send(update)
            component_update.log_sent(update)
        memory.note_intent(workflow_id)
        try:
            triggered = hook.trigger_run(workflow_id)
        except WRTriggerUnknownError as error:
            if self._retrigger:
                # Airflow retries this one; the note of the intent stays, and the next try says what it risks.
                raise error.reason from error
            raise
        except WRError:
            memory.forget()
            raise
        memory.note_run(workflow_id, triggered)
        log.info("Run %s of workflow %s is started", triggered.run_id, workflow_id)
        return triggered

    def _announce(self, context: Context, hook: WRHook, triggered: TriggeredRun, workflow_id: str) -> str | None:
        self._run_id, self._workflow_id = triggered.run_id, workflow_id
        xcoms = {"run_id": triggered.run_id, "job_id": triggered.job_id, "workflow_id": workflow_id}
        for key, value in xcoms.items():
            context["ti"].xcom_push(key=key, value=value)
        return WRRunLink.push(context, hook.settings, triggered.run_id, workflow_id)

    def _wait(self, hook: WRHook, run_id: str, link: str | None, *, until: float) -> Run:
        """
        Wait for the run in this worker.

        :param until: Unix seconds.
        """
        from airflow_provider_wr.waiting import goes_on

        self._goes_on = f"Run {run_id} {goes_on(link)}"
        try:
            return hook.wait_for_run(run_id, timeout=until - time.time())
        except AirflowTaskTimeout:
            raise self._timed_out(run_id, link) from None
        finally:
            self._goes_on = None

    def _timed_out(self, run_id: str, link: str | None) -> BaseException:
        """Return what a wait ends in when the least of the task's two limits has passed."""
        from airflow_provider_wr.exceptions import WRTimeoutError
        from airflow_provider_wr.waiting import timed_out

        kind: type[BaseException] = WRTimeoutError if self._limit == self.timeout else AirflowTaskTimeout
        return kind(timed_out(run_id, self._limit, link))

    def _link(self, run_id: str) -> str | None:
        from airflow_provider_wr.connection import WRSettings

        return WRSettings.load(self.wr_conn_id).run_link(run_id, self.workflow_id)

    def _defer(self, run_id: str, deadline: float | None) -> NoReturn:
        from airflow_provider_wr.triggers.wr import WRRunTrigger, defer

        trigger = WRRunTrigger(run_id=run_id, wr_conn_id=self.wr_conn_id, deadline=deadline)
        defer(self, trigger)

    def _read(self, hook: WRHook, run_id: str) -> Run | None:
        """Read the run, whose outputs no event holds; None when that failed for a reason that time may mend."""
        from airflow_provider_wr.exceptions import WRError
        from airflow_provider_wr.waiting import say_looking_again, time_may_mend

        try:
            return hook.get_run(run_id)
        except WRError as error:
            if not time_may_mend(error, waited=0):
                raise
            say_looking_again(run_id, error)
            return None

    def _finish(self, context: Context, run: Run) -> str:
        from airflow_provider_wr.durable import RunMemory
        from airflow_provider_wr.exceptions import run_ended_error
        from airflow_provider_wr.models import RunStatus

        self._run = run
        context["ti"].xcom_push(key="run", value=run.as_xcom(stage_outputs=self.stage_outputs))
        if run.status != RunStatus.COMPLETED:
            raise run_ended_error(run, final=False)
        RunMemory(context, durable=self.durable).note_delivered()
        log.info("%s", run.ending)
        return run.id


class WRGetRunOperator(KnowsRun, BaseOperator):
    """
    Reads a run as it is now, finished or not, and returns it as the API gives it, key for key.

    :param run_id: UUID of the run (templated).
    :param wr_conn_id: the Airflow connection, of type ``wr`` (templated).
    :param stage_outputs: False leaves the outputs of the stages out of the result.
    """

    template_fields: Sequence[str] = ("run_id", "wr_conn_id")
    operator_extra_links = (WRRunLink(),)

    def __init__(
        self, *, run_id: str, wr_conn_id: str = "wr_default", stage_outputs: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.run_id = run_id
        self.wr_conn_id = wr_conn_id
        self.stage_outputs = stage_outputs

    def execute(self, context: Context) -> dict[str, Any]:
        """Read the run."""
        from airflow_provider_wr.hooks.wr import WRHook
        from airflow_provider_wr.waiting import progress_line

        with WRHook(self.wr_conn_id) as hook:
            run = self._run = hook.get_run(self.run_id)
            self._run_id = run.id
            WRRunLink.push(context, hook.settings, run.id, None)
        log.info("Run %s: %s", run.id, progress_line(run))
        return run.as_xcom(stage_outputs=self.stage_outputs)


def _check_memory(task_id: str | None, *, stacklevel: int) -> None:
    if not AIRFLOW_V_3_3_PLUS:
        warnings.warn(
            f"{task_id} cannot remember its run from try to try, and a retry starts another: "
            "Airflow can do so from 3.3 on; say retries=0, or durable=False to accept it",
            UserWarning,
            stacklevel=stacklevel,  # to which Airflow adds 2, for a wrapper of its own
        )
