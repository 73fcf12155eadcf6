"""
The operators: update a component, trigger a run, read a run. One that runs a component is in :mod:`.component`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_wr import asset_events
from airflow_provider_wr.api.sanitize import fit_text
from airflow_provider_wr.arguments import (
    UNSET,
    Given,
    Prepared,
    check_choice,
    check_rendered,
    is_mapped,
    value_or_none,
)
from airflow_provider_wr.exceptions import no_retries
from airflow_provider_wr.links.wr import WRRunLink
from airflow_provider_wr.openlineage import OpenLineageMixin
from airflow_provider_wr.operators import shared_config
from airflow_provider_wr.operators.component import WRExecuteComponentOperator
from airflow_provider_wr.operators.shared_config import SharesConfig
from airflow_provider_wr.operators.start import StartOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_wr.api.calls import Call
    from airflow_provider_wr.api.models import Run, TriggeredRun
    from airflow_provider_wr.api.watched import Watched
    from airflow_provider_wr.connection import WRSettings
    from airflow_provider_wr.hooks.wr import WRHook
    from airflow_provider_wr.operators.request import RunRequest
    from airflow_provider_wr.operators.run_store import RunStore
    from airflow_provider_wr.triggers.wr import WaitTrigger

__all__ = ["WRExecuteComponentOperator", "WRGetRunOperator", "WRTriggerRunOperator", "WRUpdateComponentOperator"]

log = logging.getLogger(__name__)


class WRUpdateComponentOperator(SharesConfig, BaseOperator):
    """
    Updates a component's config, name or position. Arguments that are left out change nothing.

    A component's config is shared by all runs of its workflow. In a DAG that also starts runs, set
    ``max_active_runs=1``, or use ``WRTriggerRunOperator(component_updates=…)`` in a pool of one slot instead.

    :param component_id: UUID of the component (templated).
    :param workflow_id: UUID of its workflow; None for the connection's (templated).
    :param wr_conn_id: the Airflow connection, of type ``wr`` (templated).
    :param config: merged into the component's config: a dict, or a JSON object as a string (templated).
    :param config_from_params: DAG params to add to the config with their types, while a template would turn 2 into
        "2". A list of names, or a dict of config keys to param names (templated).
    :param name: the name on the canvas (templated).
    :param position: ``[x, y]`` on the canvas, or its JSON (templated).
    :param allow_concurrent_updates: allow updates while other DAG runs are active, without a warning.
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
        workflow_id: str | None = UNSET,
        wr_conn_id: str = "wr_default",
        config: Mapping[str, Any] | str | None = UNSET,
        config_from_params: Sequence[str] | Mapping[str, str] | None = UNSET,
        name: str | None = UNSET,
        position: Sequence[float | str] | str | None = UNSET,
        allow_concurrent_updates: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.component_id = component_id
        self.workflow_id = value_or_none(workflow_id)
        self.wr_conn_id = wr_conn_id
        self.config = value_or_none(config)
        self.config_from_params = value_or_none(config_from_params)
        self.name = value_or_none(name)
        self.position = value_or_none(position)
        self.allow_concurrent_updates = allow_concurrent_updates
        mapped = is_mapped(self)
        self._given = Given(mapped, workflow_id=workflow_id)
        self._change = Given(
            mapped,
            component_id=component_id,
            config=config,
            config_from_params=config_from_params,
            name=name,
            position=position,
        )
        if not mapped:
            from airflow_provider_wr.operators import component_update

            component_update.check(self._change.values(self))

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """Prepare a mapped operator."""
        optional = ("workflow_id", "config", "config_from_params", "name", "position")
        return Prepared(super().partial, kwargs, *optional).partial

    def execute(self, context: Context) -> None:
        """Send the update."""
        from airflow_provider_wr.hooks.wr import WRHook
        from airflow_provider_wr.operators import component_update

        with no_retries():
            check_rendered(self.wr_conn_id, "wr_conn_id")
            self._given.check(self)
            with WRHook(self.wr_conn_id, workflow_id=self.workflow_id) as hook:
                update = self._change.values(self)
                call = component_update.build(hook.choose_workflow(), context["params"], update)
                shared_config.check_alone(context, self, hook.settings)
                hook.send_update(call)


class WRTriggerRunOperator(SharesConfig, StartOperator):
    """
    Starts a run, and waits for it if asked.

    Returns the run's id. Pushes the XComs ``run_id``, ``job_id`` and ``workflow_id`` as soon as they are known
    and, if it waited, ``run``: the API's JSON of the finished run, also if it failed.

    No run is started twice by accident; the page "When is a run started twice?" has the details. Invalid arguments
    fail the task before anything is sent, and without retries.

    :param workflow_id: UUID of the workflow; None for the connection's (templated). A template that renders to an
        empty value is an error.
    :param wr_conn_id: the Airflow connection, of type ``wr`` (templated).
    :param component_updates: component updates to send just before the run is started: a list of dicts of the
        arguments of ``WRUpdateComponentOperator``, without workflow and connection (templated). None for none; a
        template that renders to an empty value is an error.
    :param wait_for_completion: wait until the run has ended. A run that ends FAILED or CANCELED fails the task.
    :param deferrable: wait in the triggerer, without a worker slot.
        Default: Airflow's ``[operators] default_deferrable``.
    :param timeout: seconds to wait for the run, as a number, a numeric string or a ``timedelta``. The run keeps
        running after a timeout. Default: 3600.
    :param retry_run: whether a retry of the task may start a new run after one that did not complete:
        "if_harmless" only if no stage that may have side effects was dispatched, "always", or "never". Otherwise
        the task fails without retries.
    :param harmless_modules: modules without side effects, in addition to those that only read (``GET_*``) and
        those of White Rabbit's own engine; ``*`` is a wildcard. The connection's extra ``harmless_modules`` adds
        more. None for none.
    :param durable: remember the run across tries (Airflow 3.3 and later), and resume it instead of starting a new
        one. On earlier versions, a task with retries warns when the DAG is parsed.
    :param on_unknown_trigger: what to do if a trigger was sent but its outcome is unknown: "fail" without
        retries, or "retrigger" in the next try, which may start a second run.
    :param on_changed_updates: what to do if the updates changed since an earlier try started a run: "fail",
        "resume" that run with its own values, or "restart", which starts a new one.
    :param stage_outputs: False leaves the outputs of the stages out of the XCom ``run`` and of errors.
        Default: True. Like ``deferrable``, ``timeout`` and ``max_credits`` it is for a task that waits: one that
        does not warns.
    :param max_credits: credits above which the task fails, without retries, as soon as it sees that the run used
        more, whatever the run's status. Nothing is stopped: an active run keeps running. Clear the task with a
        higher limit to wait for the same run again. None for no limit.
    :param allow_concurrent_updates: allow updates while other runs are active, without a warning. Use it if all
        runs set the same values.
    """

    starts_runs = True
    template_fields: Sequence[str] = ("workflow_id", "wr_conn_id", "component_updates")
    template_fields_renderers: ClassVar[dict[str, str]] = {"component_updates": "json"}
    operator_extra_links = (WRRunLink(),)

    _noun = "run"
    _sensor = "WRRunSensor"
    _waits_by_default = False

    _CHECKS: ClassVar[dict[str, Callable[[Any], Any]]] = {
        **StartOperator._CHECKS,
        "on_changed_updates": lambda value: check_choice(value, "on_changed_updates", "fail", "resume", "restart"),
    }

    def __init__(
        self,
        *,
        workflow_id: str | None = UNSET,
        wr_conn_id: str = "wr_default",
        component_updates: Sequence[Mapping[str, Any]] | None = UNSET,
        wait_for_completion: bool = False,
        deferrable: bool = UNSET,
        timeout: float | str | timedelta = UNSET,
        retry_run: str = "if_harmless",
        harmless_modules: Sequence[str] | None = None,
        durable: bool = True,
        on_unknown_trigger: str = "fail",
        on_changed_updates: str = "fail",
        stage_outputs: bool = UNSET,
        max_credits: float | str | None = None,
        allow_concurrent_updates: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            wr_conn_id=wr_conn_id,
            wait_for_completion=wait_for_completion,
            deferrable=deferrable,
            timeout=timeout,
            retry_run=retry_run,
            harmless_modules=harmless_modules,
            durable=durable,
            on_unknown_trigger=on_unknown_trigger,
            max_credits=max_credits,
            stage_outputs=stage_outputs,
            **kwargs,
        )
        self.workflow_id = value_or_none(workflow_id)
        self.component_updates = value_or_none(component_updates)
        self.on_changed_updates = self._CHECKS["on_changed_updates"](on_changed_updates)
        self.allow_concurrent_updates = allow_concurrent_updates
        self._given = Given(is_mapped(self), workflow_id=workflow_id, component_updates=component_updates)
        if not is_mapped(self):
            _check_updates(self.component_updates)

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """Prepare a mapped operator, which is not created before the task runs."""
        prepared = Prepared(super().partial, kwargs, "workflow_id", "component_updates")
        return cls._prepare(prepared, kwargs, component_updates=_check_updates)

    def _execute(self, context: Context) -> Any:
        from airflow_provider_wr.observability import Wait
        from airflow_provider_wr.operators import component_update
        from airflow_provider_wr.operators.request import RunRequest

        started = time.time()
        check_rendered(self.wr_conn_id, "wr_conn_id")
        self._given.check(self)
        store = self._store(context)
        with self._hook() as hook:
            workflow_id = hook.choose_workflow()
            updates = component_update.build_all(workflow_id, context["params"], self._updates)
            request = RunRequest.of(workflow_id, updates)
            found = store.find(
                hook,
                request,
                self._retry_policy(),
                on_unknown_trigger=self.on_unknown_trigger,
                on_changed=self.on_changed_updates,
            )
            if found:
                run_id, job_id = found.facts["run_id"], found.facts["job_id"]
            else:
                triggered = self._start(context, hook, request, updates, store)
                run_id, job_id = triggered.run_id, triggered.job_id
            self._run_id, self._workflow_id = run_id, workflow_id
            self._push(context, run_id=run_id, job_id=job_id, workflow_id=workflow_id)
            outputs = self.stage_outputs and self.do_xcom_push
            link = self._push_link(
                lambda: WRRunLink.push(context, hook.settings, run_id, workflow_id, outputs=outputs)
            )
            if not self.wait_for_completion:
                asset_events.describe(context, self.outlets, run_id, workflow_id=workflow_id)
                store.record_success()
                return fit_text(run_id)
            if found and found.state.is_terminal:
                Wait("run", run_id, workflow_id).ended(found.state)  # while nobody waited
                return self._finish(context, found.state)
            if self.deferrable:
                self._defer(run_id, started + self._limit)
            run = self._wait(hook, run_id, link, deadline=started + self.timeout)
            return self._finish(context, run)

    @property
    def _updates(self) -> Any:
        return [] if self.component_updates is None else self.component_updates

    def _start(
        self, context: Context, hook: WRHook, request: RunRequest, updates: Sequence[Call[None]], store: RunStore
    ) -> TriggeredRun:
        """Send the updates and start a run."""
        if updates:
            shared_config.check_alone(context, self, hook.settings)
        for update in updates:
            hook.send_update(update)
        triggered = self._start_once(store, request, lambda: hook.trigger_run(request.workflow_id))
        self._log_start(hook, triggered.run_id)
        store.record_start(run_id=triggered.run_id, job_id=triggered.job_id)
        return triggered

    def _hook(self) -> WRHook:
        from airflow_provider_wr.hooks.wr import WRHook

        return WRHook(self.wr_conn_id, workflow_id=self.workflow_id)

    def _kind(self) -> type[RunRequest]:
        from airflow_provider_wr.operators.request import RunRequest

        return RunRequest

    def _watch(self, identifier: str) -> Watched[Run]:
        from airflow_provider_wr.api import watched

        return watched.run(identifier)

    def _url(self, settings: WRSettings, identifier: str) -> str | None:
        return settings.run_link(identifier, self.workflow_id)

    def _trigger(self, identifier: str, deadline: float | None, *, confirm_end: bool) -> WaitTrigger:
        from airflow_provider_wr.triggers.wr import WRRunTrigger

        return WRRunTrigger(
            run_id=identifier,
            wr_conn_id=self.wr_conn_id,
            deadline=deadline,
            max_credits=self.max_credits,
            confirm_end=confirm_end,
            workflow_id=self._workflow_id,
        )

    def _know(self, identifier: str, state: Any = None) -> None:
        self._run_id, self._run = identifier, state
        self._workflow_id = self._workflow_id or self.workflow_id

    def _read(self, hook: WRHook, identifier: str) -> Any:
        run = super()._read(hook, identifier)
        if run is not None:
            self._workflow_id = self.workflow_id or hook.settings.workflow_id
        return run

    def _xcom(self, state: Run) -> dict[str, Any]:
        return state.as_xcom(stage_outputs=self.stage_outputs)

    def _result(self, context: Context, state: Run) -> str:
        asset_events.describe(context, self.outlets, state.id, workflow_id=self._workflow_id, run=state)
        return state.id


class WRGetRunOperator(OpenLineageMixin, BaseOperator):
    """
    Reads the current state of a run, finished or not, and returns the API's JSON.

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
        from airflow_provider_wr.waiting.progress import progress_line

        with no_retries(), WRHook(check_rendered(self.wr_conn_id, "wr_conn_id")) as hook:
            run = self._run = hook.get_run(self.run_id)
            self._run_id = run.id
            outputs = self.stage_outputs and self.do_xcom_push
            WRRunLink.push(context, hook.settings, run.id, None, outputs=outputs)
        asset_events.describe(context, self.outlets, run.id, workflow_id=None, run=run)
        log.info("Run %s: %s", run.id, progress_line(run))
        return run.as_xcom(stage_outputs=self.stage_outputs)


def _check_updates(updates: Any) -> None:
    if updates is not None:
        from airflow_provider_wr.operators.component_update import check_all

        check_all(updates)
