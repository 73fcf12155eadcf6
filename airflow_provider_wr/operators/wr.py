"""The operators: update a component, trigger a run, read a run."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow.providers.common.compat.sdk import AirflowTaskTimeout, BaseOperator, conf
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_3_PLUS

from airflow_provider_wr import asset_events
from airflow_provider_wr.api.sanitize import fit_text, sanitize
from airflow_provider_wr.api.text import printable
from airflow_provider_wr.arguments import (
    UNSET,
    Given,
    Prepared,
    check_choice,
    check_credits,
    check_modules,
    check_rendered,
    is_mapped,
    to_seconds,
    value_or_none,
    warn_author,
)
from airflow_provider_wr.exceptions import WRError, WRTimeoutError, WRTriggerUnknownError, no_retries
from airflow_provider_wr.links.wr import WRRunLink
from airflow_provider_wr.openlineage import OpenLineageMixin
from airflow_provider_wr.operators import shared_config
from airflow_provider_wr.operators.shared_config import SharesConfig

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_wr.api.calls import Call
    from airflow_provider_wr.api.models import Run, TriggeredRun
    from airflow_provider_wr.hooks.wr import WRHook
    from airflow_provider_wr.operators.retry_policy import RetryPolicy
    from airflow_provider_wr.operators.run_store import RunRequest, RunStore

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


class WRTriggerRunOperator(OpenLineageMixin, SharesConfig, BaseOperator):
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

    _CHECKS: ClassVar[dict[str, Callable[[Any], Any]]] = {
        "timeout": lambda value: to_seconds(value, "timeout"),
        "retry_run": lambda value: check_choice(value, "retry_run", "if_harmless", "always", "never"),
        "harmless_modules": check_modules,
        "on_unknown_trigger": lambda value: check_choice(value, "on_unknown_trigger", "fail", "retrigger"),
        "max_credits": check_credits,
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
        super().__init__(**kwargs)
        if not wait_for_completion and not is_mapped(self):
            given = {
                "deferrable": deferrable,
                "timeout": timeout,
                "stage_outputs": stage_outputs,
                "max_credits": max_credits,
            }
            # Defaults of a DAG are meant for others of its tasks, too.
            own = {name: given[name] for name in given if name not in (kwargs.get("default_args") or ())}
            _warn_of_unused(self.task_id, own)
        if deferrable is UNSET:
            deferrable = conf.getboolean("operators", "default_deferrable", fallback=False)
        self.workflow_id = value_or_none(workflow_id)
        self.wr_conn_id = wr_conn_id
        self.component_updates = value_or_none(component_updates)
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        self.timeout: float = self._CHECKS["timeout"](3600.0 if timeout is UNSET else timeout)
        self.retry_run = self._CHECKS["retry_run"](retry_run)
        self.harmless_modules = self._CHECKS["harmless_modules"](harmless_modules)
        self.durable = durable
        self.on_unknown_trigger = self._CHECKS["on_unknown_trigger"](on_unknown_trigger)
        self.on_changed_updates = self._CHECKS["on_changed_updates"](on_changed_updates)
        self.stage_outputs = stage_outputs is UNSET or stage_outputs
        self.max_credits: float | None = self._CHECKS["max_credits"](max_credits)
        self.allow_concurrent_updates = allow_concurrent_updates
        self._kill_note: str | None = None
        self._given = Given(is_mapped(self), workflow_id=workflow_id, component_updates=component_updates)
        if not is_mapped(self):
            _check_updates(self.component_updates)
        if durable and self.retries:
            _check_memory(self.task_id)

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """Prepare a mapped operator, which Airflow instantiates only when the task runs."""
        prepared = Prepared(super().partial, kwargs, "workflow_id", "component_updates")
        prepared.check(**cls._CHECKS, component_updates=_check_updates)
        if not prepared.get("wait_for_completion"):
            _warn_of_unused(kwargs.get("task_id"), kwargs)
        if prepared.get("durable", True) and prepared.get("retries"):
            _check_memory(kwargs.get("task_id"))
        return prepared.partial

    def execute(self, context: Context) -> str:
        """Start a run, or resume the one that an earlier try started."""
        with no_retries():
            return self._execute(context)

    def _execute(self, context: Context) -> str:
        from airflow_provider_wr.hooks.wr import WRHook
        from airflow_provider_wr.observability import Wait
        from airflow_provider_wr.operators import component_update
        from airflow_provider_wr.operators.run_store import RunRequest, RunStore

        started = time.time()
        check_rendered(self.wr_conn_id, "wr_conn_id")
        self._given.check(self)
        store = RunStore(context, durable=self.durable)
        with WRHook(self.wr_conn_id, workflow_id=self.workflow_id) as hook:
            workflow_id = hook.choose_workflow()
            updates = component_update.build_all(workflow_id, context["params"], self._updates)
            request = RunRequest.of(workflow_id, updates)
            found = store.find(
                hook,
                request,
                self._retry_policy(),
                on_unknown_trigger=self.on_unknown_trigger,
                on_changed_updates=self.on_changed_updates,
            )
            triggered = found.triggered if found else self._start(context, hook, request, updates, store)
            link = self._announce(context, hook, triggered, workflow_id)
            if not self.wait_for_completion:
                store.record_success()
                asset_events.describe(context, self.outlets, triggered.run_id, workflow_id=workflow_id)
                return fit_text(triggered.run_id)
            if found and found.run.is_terminal:
                Wait("run", found.run.id, workflow_id).ended(found.run)  # while nobody waited
                return self._finish(context, found.run)
            if self.deferrable:
                self._defer(triggered.run_id, started + self._limit)
            run = self._wait(hook, triggered.run_id, link, deadline=started + self.timeout)
            return self._finish(context, run)

    def execute_complete(self, context: Context, event: dict[str, Any] | None) -> str:
        """Resume after the trigger has fired."""
        with no_retries():
            return self._execute_complete(context, event)

    def _execute_complete(self, context: Context, event: dict[str, Any] | None) -> str:
        from airflow_provider_wr.hooks.wr import WRHook
        from airflow_provider_wr.triggers.wr import WaitEnd

        end = WaitEnd.from_event(event)
        self._run_id, self._workflow_id = end.run_id, self.workflow_id
        if isinstance(end.error, WRTimeoutError):
            return self._finish(context, self._final_read(end.run_id, end.error))
        if end.error is not None:
            raise end.error
        with WRHook(self.wr_conn_id, workflow_id=self.workflow_id) as hook:
            run = self._read(hook, end.run_id)
            if run is None or not run.is_terminal:
                if end.deadline is None or end.deadline > time.time():
                    self._defer(end.run_id, end.deadline)
                run = self._final_read(end.run_id)
            self._workflow_id = self.workflow_id or hook.settings.workflow_id
            return self._finish(context, run)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume. After Airflow's own timeout of the trigger, read the run once more, and raise our error."""
        from airflow_provider_wr.triggers.wr import airflow_timed_out

        if airflow_timed_out(next_method, next_kwargs):
            with no_retries():
                run_id = self._started_run(context)
                self._run_id, self._workflow_id = run_id, self.workflow_id
                return self._finish(context, self._final_read(run_id))
        return super().resume_execution(next_method, next_kwargs, context)

    def on_kill(self) -> None:
        """Log that the run keeps running: White Rabbit has no call to cancel it."""
        if self._kill_note is not None:
            log.warning("%s", self._kill_note)

    def _started_run(self, context: Context) -> Any:
        """Return the id of the run that this try started or resumed; None if it is not stored."""
        from airflow_provider_wr.operators.run_store import RunStore

        ti = context["ti"]
        run_id = ti.xcom_pull(task_ids=ti.task_id, key="run_id", map_indexes=ti.map_index)
        return run_id or RunStore(context, durable=self.durable).run_id

    @property
    def _updates(self) -> Any:
        return [] if self.component_updates is None else self.component_updates

    @property
    def _limit(self) -> float:
        """Timeout in seconds of a wait in the triggerer, which the execution timeout limits, too."""
        if self.execution_timeout is None:
            return self.timeout
        return min(self.timeout, self.execution_timeout.total_seconds())

    def _retry_policy(self) -> RetryPolicy:
        from airflow_provider_wr.connection import WRSettings
        from airflow_provider_wr.operators.retry_policy import RetryPolicy

        settings: WRSettings | None = None
        with suppress(WRError):  # a failed lookup must not hide how the run ended
            settings = WRSettings.load(self.wr_conn_id, was_found=True)
        return RetryPolicy(
            self.retry_run,
            (*self.harmless_modules, *(settings.harmless_modules if settings else ())),
            show_outputs=self.stage_outputs,
            max_credits=self.max_credits,
            link_to=lambda run: settings.run_link(run.id, self.workflow_id) if settings else None,
        )

    def _start(
        self, context: Context, hook: WRHook, request: RunRequest, updates: Sequence[Call[None]], store: RunStore
    ) -> TriggeredRun:
        """Send the updates and start a run."""
        if updates:
            shared_config.check_alone(context, self, hook.settings)
        for update in updates:
            hook.send_update(update)
        store.record_attempt(request)
        try:
            triggered = hook.trigger_run(request.workflow_id)
        except WRTriggerUnknownError as error:
            if self.on_unknown_trigger == "retrigger":
                # Retryable. The recorded attempt stays, so that the next try logs the risk.
                log.warning("%s", error.cause)
                raise error.reason from None
            store.record_doubt()
            raise
        except WRError:
            store.discard_attempt()
            raise
        # First of all, since everything else may fail: the log is always available.
        link = hook.settings.run_link(triggered.run_id, request.workflow_id)
        log.info("Started run %s%s", printable(triggered.run_id), f": {link}" if link else "")
        store.record_run(triggered)
        return triggered

    def _announce(self, context: Context, hook: WRHook, triggered: TriggeredRun, workflow_id: str) -> str | None:
        self._run_id, self._workflow_id = triggered.run_id, workflow_id
        xcoms = {"run_id": triggered.run_id, "job_id": triggered.job_id, "workflow_id": workflow_id}
        self._push(context, **xcoms)
        return WRRunLink.push(
            context,
            hook.settings,
            triggered.run_id,
            workflow_id,
            outputs=self.stage_outputs and self.do_xcom_push,
        )

    def _push(self, context: Context, **xcoms: Any) -> None:
        from airflow_provider_wr.operators.run_store import retry_store

        for key, value in xcoms.items() if self.do_xcom_push else ():
            retry_store(functools.partial(context["ti"].xcom_push, key=key, value=sanitize(value)[0]))

    def _wait(self, hook: WRHook, run_id: str, link: str | None, *, deadline: float) -> Run:
        """
        Wait for the run in this worker.

        :param deadline: Unix seconds.
        """
        from airflow_provider_wr.waiting.rules import still_running

        self._kill_note = f"Run {run_id} {still_running(link)}"
        try:
            return hook.wait_for_run(run_id, timeout=self.timeout, deadline=deadline, max_credits=self.max_credits)
        except AirflowTaskTimeout:
            return self._final_read(run_id)
        finally:
            self._kill_note = None

    def _final_read(self, run_id: str, earlier: WRTimeoutError | None = None) -> Run:
        """
        Read the run once more after a timeout, and return it if it has ended.

        :param earlier: the error of the wait; None if there is none.
        """
        from airflow_provider_wr.hooks.wr import WRHook
        from airflow_provider_wr.waiting.rules import last_known, timed_out

        try:
            with WRHook(self.wr_conn_id, workflow_id=self.workflow_id) as hook:
                return hook.wait_for_run(
                    run_id, timeout=self._limit, deadline=0, was_found=True, max_credits=self.max_credits
                )
        except WRTimeoutError as error:
            text = timed_out("the wait", self._limit, last_known(error, earlier))
        raise (WRTimeoutError if self._limit == self.timeout else AirflowTaskTimeout)(text)

    def _defer(self, run_id: str, deadline: float | None) -> NoReturn:
        from airflow_provider_wr.triggers.wr import WRRunTrigger, defer

        trigger = WRRunTrigger(
            run_id=run_id,
            wr_conn_id=self.wr_conn_id,
            deadline=deadline,
            max_credits=self.max_credits,
            workflow_id=self._workflow_id,
        )
        defer(self, trigger)

    def _read(self, hook: WRHook, run_id: str) -> Run | None:
        """Read the run, since events do not contain outputs; None after a transient error."""
        from airflow_provider_wr.connection import WRSettings
        from airflow_provider_wr.waiting.rules import is_transient, log_retry

        try:
            hook.settings = WRSettings.load(self.wr_conn_id, was_found=True)  # by the worker that deferred
            return hook.get_run(run_id)
        except WRError as error:
            if not is_transient(error, elapsed=0):
                raise
            log_retry(f"run {run_id}", error)
            return None

    def _finish(self, context: Context, run: Run) -> str:
        from airflow_provider_wr.operators.run_store import RunStore

        self._run = run
        self._push(context, run=run.as_xcom(stage_outputs=self.stage_outputs))
        if (error := self._retry_policy().error(run)) is not None:
            raise error
        RunStore(context, durable=self.durable).record_success()
        asset_events.describe(context, self.outlets, run.id, workflow_id=self._workflow_id, run=run)
        log.info("%s", run.ending)
        return run.id


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


def _warn_of_unused(task_id: str | None, given: Mapping[str, Any]) -> None:
    """Warn of arguments that have no effect on a task that does not wait."""
    names = [
        name
        for name in ("timeout", "stage_outputs", "max_credits")
        if given.get(name) is not None and given[name] is not UNSET
    ]
    if given.get("deferrable", UNSET) is True:
        names.insert(0, "deferrable")
    if names:
        warn_author(
            f"{task_id} does not wait for its run, and makes no use of {', '.join(names)}: "
            "set wait_for_completion=True, or wait in a WRRunSensor"
        )


def _check_memory(task_id: str | None) -> None:
    if not AIRFLOW_V_3_3_PLUS:
        warn_author(
            f"{task_id} cannot remember its run across tries, so a retry starts another: "
            "Airflow can do so from 3.3 on; set retries=0, or durable=False to accept it"
        )
