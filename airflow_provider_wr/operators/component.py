"""
The operator that runs a component without a workflow; DAGs import it from :mod:`airflow_provider_wr.operators.wr`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_wr import asset_events
from airflow_provider_wr.api.limits import MAX_ATTEMPTS, MAX_WAIT_MS, check_whole
from airflow_provider_wr.api.sanitize import fit_text
from airflow_provider_wr.arguments import (
    UNSET,
    Given,
    Prepared,
    check_choice,
    check_rendered,
    is_literal,
    is_mapped,
    value_or_none,
)
from airflow_provider_wr.links.wr import WRExecutionLink
from airflow_provider_wr.masking import MaskedField, mask_callback
from airflow_provider_wr.operators.start import StartOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_wr.api.calls import Call
    from airflow_provider_wr.api.executions import ComponentExecution
    from airflow_provider_wr.api.watched import Watched
    from airflow_provider_wr.connection import WRSettings
    from airflow_provider_wr.hooks.wr import WRHook
    from airflow_provider_wr.operators.request import ExecutionRequest
    from airflow_provider_wr.operators.run_store import RunStore
    from airflow_provider_wr.triggers.wr import WaitTrigger

log = logging.getLogger(__name__)


class WRExecuteComponentOperator(StartOperator):
    """
    Runs one component without a workflow, and waits for it.

    Returns the component's output. Pushes the XCom ``execution_id`` as soon as it is known, and ``execution``: the
    finished execution, as the API's JSON, also if it failed. Without waiting, it returns the execution's id.

    No execution is started twice by accident, by the same rules as for runs: see the page "When is a run started
    twice?". Invalid arguments are rejected before anything is sent, and not retried.

    :param module: the component, such as ``RANDOM_UUID`` (templated).
    :param input: its inputs: a dict, or a JSON object as a string; None for none (templated).
    :param config: its config: a dict, or a JSON object as a string; None for none (templated).
    :param input_from_params: DAG params to copy into the input with their types intact: a list of names, or a dict
        of keys to names of params (templated).
    :param config_from_params: the same for the config (templated).
    :param wr_conn_id: the Airflow connection, of type ``wr`` (templated).
    :param validate: check the input and the config against the catalogue of components before anything is sent. A
        catalogue that cannot be read is a warning.
    :param attempts: how often the server tries the component, 1 to 3, with pauses that grow. Each may have an
        effect.
    :param wait_ms: milliseconds, 0 to 15000, for which the server holds its answer: a short execution has ended by
        then. Until the answer comes nobody knows the execution's id, so a long wait is a long time for doubt.
    :param callback_url: a public HTTPS URL that gets one POST when the execution has ended; None for none
        (templated).
    :param callback_secret: signs the callback; None for no signature (templated). Masked wherever Airflow shows
        it.
    :param callback_headers: added to the callback; None for none (templated). Values of 8 characters or more are
        masked as well.
    :param wait_for_completion: wait until the execution has ended. One that ends FAILED fails the task.
    :param deferrable: wait in the triggerer, without a worker slot.
        Default: Airflow's ``[operators] default_deferrable``.
    :param timeout: seconds to wait, as a number, a string or a ``timedelta``. The execution keeps running after
        them. Default: 3600.
    :param retry_run: whether a retry of the task may start a new execution after one that FAILED: "if_harmless"
        only if the component has no side effects, "always", or "never". Otherwise, the task fails without retries.
    :param harmless_modules: components without side effects, in addition to those that only read (``GET_*``);
        ``*`` is a wildcard. The connection's extra ``harmless_modules`` adds more. None for none.
    :param durable: remember the execution across tries, and resume it instead of starting another (Airflow 3.3 and
        later). Earlier versions of Airflow cannot: a task with retries warns when the DAG is parsed.
    :param on_unknown_trigger: what to do if the request was sent and it is unknown whether it started an
        execution: "fail" without retries, or "retrigger" in the next try, which may start a second one.
    :param on_changed_input: what to do if an earlier try started an execution with another module, input or
        config: "fail", "resume" that execution with its own values, or "restart", which starts a new one.
    :param max_credits: credits above which the task fails, without retries, as soon as it sees that the execution
        used more. Nothing is stopped. None for no limit.
    """

    template_fields: Sequence[str] = (
        "module",
        "input",
        "config",
        "input_from_params",
        "config_from_params",
        "wr_conn_id",
        "callback_url",
        "callback_secret",
        "callback_headers",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "input": "json",
        "config": "json",
        "input_from_params": "json",
        "config_from_params": "json",
    }
    operator_extra_links = (WRExecutionLink(),)

    callback_secret = MaskedField()
    callback_headers = MaskedField()

    _noun = "execution"
    _sensor = "WRComponentExecutionSensor"
    _waits_by_default = True

    _OPTIONAL = (
        *("input", "config", "input_from_params", "config_from_params"),
        *("callback_url", "callback_secret", "callback_headers"),
    )
    _CHECKS: ClassVar[dict[str, Callable[[Any], Any]]] = {
        **StartOperator._CHECKS,
        "on_changed_input": lambda value: check_choice(value, "on_changed_input", "fail", "resume", "restart"),
        "attempts": lambda value: check_whole(value, "attempts", 1, MAX_ATTEMPTS),
        "wait_ms": lambda value: check_whole(value, "wait_ms", 0, MAX_WAIT_MS),
    }

    def __init__(
        self,
        *,
        module: str,
        input: Mapping[str, Any] | str | None = UNSET,
        config: Mapping[str, Any] | str | None = UNSET,
        input_from_params: Sequence[str] | Mapping[str, str] | None = UNSET,
        config_from_params: Sequence[str] | Mapping[str, str] | None = UNSET,
        wr_conn_id: str = "wr_default",
        validate: bool = False,
        attempts: int = 1,
        wait_ms: int = 0,
        callback_url: str | None = UNSET,
        callback_secret: str | None = UNSET,
        callback_headers: Mapping[str, str] | None = UNSET,
        wait_for_completion: bool = True,
        deferrable: bool = UNSET,
        timeout: float | str | timedelta = UNSET,
        retry_run: str = "if_harmless",
        harmless_modules: Sequence[str] | None = None,
        durable: bool = True,
        on_unknown_trigger: str = "fail",
        on_changed_input: str = "fail",
        max_credits: float | str | None = None,
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
            **kwargs,
        )
        self.module = module
        self.input = value_or_none(input)
        self.config = value_or_none(config)
        self.input_from_params = value_or_none(input_from_params)
        self.config_from_params = value_or_none(config_from_params)
        self.validate = validate
        self.attempts = self._CHECKS["attempts"](attempts)
        self.wait_ms = self._CHECKS["wait_ms"](wait_ms)
        self.callback_url = value_or_none(callback_url)
        kind = WRExecuteComponentOperator
        kind.callback_secret.keep(self, value_or_none(callback_secret))
        kind.callback_headers.keep(self, value_or_none(callback_headers))
        self.on_changed_input = self._CHECKS["on_changed_input"](on_changed_input)
        self._given = Given(
            is_mapped(self),
            module=module,
            input=input,
            config=config,
            input_from_params=input_from_params,
            config_from_params=config_from_params,
            callback_url=callback_url,
            callback_secret=callback_secret,
            callback_headers=callback_headers,
        )
        if not is_mapped(self):
            self._check_literals()

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """Prepare a mapped operator, which is not created before the task runs."""
        return cls._prepare(Prepared(super().partial, kwargs, *cls._OPTIONAL), kwargs)

    def _check_literals(self) -> None:
        """Reject, when the DAG is parsed, what is invalid whatever it renders to."""
        given = self._given.values(self)
        if is_literal(given) and not {"input_from_params", "config_from_params"} & given.keys():
            self._call({})

    def _execute(self, context: Context) -> Any:
        from airflow_provider_wr.observability import Wait
        from airflow_provider_wr.operators.request import ExecutionRequest

        started = time.time()
        check_rendered(self.wr_conn_id, "wr_conn_id")
        self._given.check(self)
        mask_callback(self.callback_secret, self.callback_headers)
        call = self._call(context["params"])
        store = self._store(context)
        with self._hook() as hook:
            request = ExecutionRequest.of(call)
            found = store.find(
                hook,
                request,
                self._retry_policy(),
                on_unknown_trigger=self.on_unknown_trigger,
                on_changed=self.on_changed_input,
            )
            execution: ComponentExecution = found.state if found else self._start(hook, request, call, store)
            self._know(execution.id, execution)
            self._push(context, execution_id=execution.id)
            link = self._push_link(
                lambda: WRExecutionLink.push(context, hook.settings, execution.id, outputs=self.do_xcom_push)
            )
            if not self.wait_for_completion:
                asset_events.describe_execution(context, self.outlets, execution.id, module=self.module)
                store.record_success()
                return fit_text(execution.id)
            if execution.is_terminal:
                Wait("execution", execution.id).ended(execution)  # within wait_ms, or while nobody waited
                return self._finish(context, execution)
            if self.deferrable:
                self._defer(execution.id, started + self._limit)
            return self._finish(context, self._wait(hook, execution.id, link, deadline=started + self.timeout))

    def _call(self, params: Mapping[str, Any]) -> Call[ComponentExecution]:
        """Return the call that starts the execution."""
        from airflow_provider_wr.api.calls import execute_component
        from airflow_provider_wr.operators.objects import build_object

        given = self._given.values(self)
        return execute_component(
            self.module,
            build_object(given, "input", params),
            build_object(given, "config", params),
            attempts=self.attempts,
            wait_ms=self.wait_ms,
            callback_url=self.callback_url,
            callback_secret=self.callback_secret,
            callback_headers=self.callback_headers,
        )

    def _start(
        self, hook: WRHook, request: ExecutionRequest, call: Call[ComponentExecution], store: RunStore
    ) -> ComponentExecution:
        """Start the execution, once all that can be checked is checked."""
        if self.validate:
            hook.validate_call(call)
        execution = self._start_once(store, request, lambda: hook.send_execution(call, self.module))
        self._log_start(hook, execution.id)
        store.record_start(execution_id=execution.id)
        return execution

    def _kind(self) -> type[ExecutionRequest]:
        from airflow_provider_wr.operators.request import ExecutionRequest

        return ExecutionRequest

    def _watch(self, identifier: str) -> Watched[ComponentExecution]:
        from airflow_provider_wr.api import watched

        return watched.execution(identifier)

    def _url(self, settings: WRSettings, identifier: str) -> str | None:
        return settings.execution_link(identifier)

    def _trigger(self, identifier: str, deadline: float | None, *, confirm_end: bool) -> WaitTrigger:
        from airflow_provider_wr.triggers.wr import WRComponentExecutionTrigger

        return WRComponentExecutionTrigger(
            execution_id=identifier,
            wr_conn_id=self.wr_conn_id,
            deadline=deadline,
            max_credits=self.max_credits,
            confirm_end=confirm_end,
            outputs=self.do_xcom_push,
        )

    def _know(self, identifier: str, state: Any = None) -> None:
        """OpenLineage's facet is of runs."""

    def _xcom(self, state: ComponentExecution) -> dict[str, Any]:
        return state.as_xcom()

    def _result(self, context: Context, state: ComponentExecution) -> Any:
        from airflow_provider_wr.api.models import fit_for_xcom

        asset_events.describe_execution(context, self.outlets, state.id, module=state.module, execution=state)
        return fit_for_xcom(state.output, f"Execution {state.id}")
