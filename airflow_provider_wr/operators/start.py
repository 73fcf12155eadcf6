"""What all operators share that start something once – a run, or an execution of a component – and wait for it."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeVar

from airflow.providers.common.compat.sdk import AirflowTaskTimeout, BaseOperator, conf
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_3_PLUS

from airflow_provider_wr.api.sanitize import sanitize
from airflow_provider_wr.api.text import printable
from airflow_provider_wr.arguments import (
    UNSET,
    Prepared,
    check_choice,
    check_credits,
    check_modules,
    is_mapped,
    to_seconds,
    warn_author,
)
from airflow_provider_wr.exceptions import WRError, WRTimeoutError, WRTriggerUnknownError, no_retries
from airflow_provider_wr.openlineage import OpenLineageMixin

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_wr.api.watched import Watched
    from airflow_provider_wr.connection import WRSettings
    from airflow_provider_wr.hooks.wr import WRHook
    from airflow_provider_wr.operators.request import Request
    from airflow_provider_wr.operators.retry_policy import RetryPolicy
    from airflow_provider_wr.operators.run_store import RunStore
    from airflow_provider_wr.triggers.wr import WaitTrigger

T = TypeVar("T")

log = logging.getLogger(__name__)


class StartOperator(OpenLineageMixin, BaseOperator):
    """
    Starts something, or resumes what an earlier try started, and waits for it.

    :cvar _noun: what it starts, in words. Its id is the XCom ``<noun>_id``, its end the XCom ``<noun>``.
    :cvar _sensor: the sensor that waits for it.
    :cvar _waits_by_default: the default of ``wait_for_completion``.
    :param stage_outputs: for what has stages.
    """

    _noun: ClassVar[str]
    _sensor: ClassVar[str]
    _waits_by_default: ClassVar[bool]

    _CHECKS: ClassVar[dict[str, Callable[[Any], Any]]] = {
        "timeout": lambda value: to_seconds(value, "timeout"),
        "retry_run": lambda value: check_choice(value, "retry_run", "if_harmless", "always", "never"),
        "harmless_modules": check_modules,
        "on_unknown_trigger": lambda value: check_choice(value, "on_unknown_trigger", "fail", "retrigger"),
        "max_credits": check_credits,
    }

    def __init__(
        self,
        *,
        wr_conn_id: str,
        wait_for_completion: bool,
        deferrable: bool,
        timeout: float | str | timedelta,
        retry_run: str,
        harmless_modules: Sequence[str] | None,
        durable: bool,
        on_unknown_trigger: str,
        max_credits: float | str | None,
        stage_outputs: bool = UNSET,
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
            self._warn_of_unused(self.task_id, own)
        if deferrable is UNSET:
            deferrable = conf.getboolean("operators", "default_deferrable", fallback=False)
        self.wr_conn_id = wr_conn_id
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        self.timeout: float = self._CHECKS["timeout"](3600.0 if timeout is UNSET else timeout)
        self.retry_run = self._CHECKS["retry_run"](retry_run)
        self.harmless_modules = self._CHECKS["harmless_modules"](harmless_modules)
        self.durable = durable
        self.on_unknown_trigger = self._CHECKS["on_unknown_trigger"](on_unknown_trigger)
        self.max_credits: float | None = self._CHECKS["max_credits"](max_credits)
        self.stage_outputs = stage_outputs is UNSET or stage_outputs
        self._kill_note: str | None = None
        if durable and self.retries:
            self._check_memory(self.task_id)

    @classmethod
    def _prepare(cls, prepared: Prepared, given: Mapping[str, Any], **checks: Callable[[Any], Any]) -> Any:
        """Check the arguments of a mapped operator, which is not created before the task runs."""
        prepared.check(**cls._CHECKS, **checks)
        if not prepared.get("wait_for_completion", cls._waits_by_default):
            cls._warn_of_unused(given.get("task_id"), given)
        if prepared.get("durable", True) and prepared.get("retries"):
            cls._check_memory(given.get("task_id"))
        return prepared.partial

    # --- what each of them does in its own way

    def _execute(self, context: Context) -> Any:
        raise NotImplementedError

    def _kind(self) -> type[Request[Any]]:
        """Return what it starts, as the task remembers it."""
        raise NotImplementedError

    def _watch(self, identifier: str) -> Watched[Any]:
        raise NotImplementedError

    def _url(self, settings: WRSettings, identifier: str) -> str | None:
        """Return the URL of its page; None without one."""
        raise NotImplementedError

    def _trigger(self, identifier: str, deadline: float | None, *, confirm_end: bool) -> WaitTrigger:
        raise NotImplementedError

    def _know(self, identifier: str, state: Any = None) -> None:
        """Take what is known, for OpenLineage."""
        raise NotImplementedError

    def _xcom(self, state: Any) -> Any:
        """Return the end of what was started, for its XCom."""
        raise NotImplementedError

    def _result(self, context: Context, state: Any) -> Any:
        """Return what the task returns for what ended well."""
        raise NotImplementedError

    def _hook(self) -> WRHook:
        from airflow_provider_wr.hooks.wr import WRHook

        return WRHook(self.wr_conn_id)

    # --- what they share

    def execute(self, context: Context) -> Any:
        """Start it, or resume what an earlier try started."""
        with no_retries():
            return self._execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any] | None) -> Any:
        """Resume after the trigger has fired."""
        with no_retries():
            return self._execute_complete(context, event)

    def _execute_complete(self, context: Context, event: dict[str, Any] | None) -> Any:
        from airflow_provider_wr.triggers.wr import WaitEnd

        end = WaitEnd.from_event(event)
        self._know(end.id)
        if isinstance(end.error, WRTimeoutError):
            return self._finish(context, self._final_read(end.id, end.error))
        if end.error is not None:
            raise end.error
        with self._hook() as hook:
            state = self._read(hook, end.id)
            if state is None or not state.is_terminal:
                if end.deadline is None or end.deadline > time.time():
                    self._defer(end.id, end.deadline, confirm_end=True)
                state = self._final_read(end.id)
            return self._finish(context, state)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume. After Airflow's own timeout of the trigger, read once more, and raise our error."""
        from airflow_provider_wr.triggers.wr import airflow_timed_out

        if airflow_timed_out(next_method, next_kwargs):
            with no_retries():
                identifier = self._started_id(context)
                self._know(identifier)
                return self._finish(context, self._final_read(identifier))
        return super().resume_execution(next_method, next_kwargs, context)

    def on_kill(self) -> None:
        """Log that what was started keeps running: White Rabbit has no call to cancel it."""
        if self._kill_note is not None:
            log.warning("%s", self._kill_note)

    def _store(self, context: Context) -> RunStore:
        from airflow_provider_wr.operators.run_store import RunStore

        return RunStore(context, durable=self.durable, kind=self._kind())

    def _started_id(self, context: Context) -> Any:
        """Return the id of what this try started or resumed; None if it is not stored."""
        ti = context["ti"]
        key = f"{self._noun}_id"
        identifier = ti.xcom_pull(task_ids=ti.task_id, key=key, map_indexes=ti.map_index)
        return identifier or self._store(context).started_id

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
        with suppress(WRError):  # a failed lookup must not hide how it ended
            settings = WRSettings.load(self.wr_conn_id, was_found=True)
        return RetryPolicy(
            self.retry_run,
            (*self.harmless_modules, *(settings.harmless_modules if settings else ())),
            show_outputs=self.stage_outputs,
            max_credits=self.max_credits,
            link_to=lambda ended: self._url(settings, ended.id) if settings else None,
        )

    def _start_once(self, store: RunStore, request: Request[Any], start: Callable[[], T]) -> T:
        """Send the one request that must not be sent twice, between the records of it."""
        store.record_attempt(request)
        try:
            return start()
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

    def _log_start(self, hook: WRHook, identifier: str) -> None:
        # First of all, since everything else may fail: the log is always available.
        link = self._url(hook.settings, identifier)
        log.info("Started %s %s%s", self._noun, printable(identifier), f": {link}" if link else "")

    def _push(self, context: Context, **xcoms: Any) -> None:
        from airflow_provider_wr.operators.run_store import retry_store

        for key, value in xcoms.items() if self.do_xcom_push else ():
            retry_store(functools.partial(context["ti"].xcom_push, key=key, value=sanitize(value)[0]))

    def _push_link(self, push: Callable[[], str | None]) -> str | None:
        """Push the link, with retries: a task that failed here might start another. Returns the URL."""
        from airflow_provider_wr.operators.run_store import retry_store

        link: str | None = retry_store(push)
        return link

    def _wait(self, hook: WRHook, identifier: str, link: str | None, *, deadline: float) -> Any:
        """
        Wait in this worker.

        :param deadline: Unix seconds.
        """
        from airflow_provider_wr.waiting.rules import still_running

        watched = self._watch(identifier)
        self._kill_note = f"{self._noun.capitalize()} {identifier} {still_running(link)}"
        try:
            return hook.wait_for(watched, timeout=self.timeout, deadline=deadline, max_credits=self.max_credits)
        except AirflowTaskTimeout:
            return self._final_read(identifier)
        finally:
            self._kill_note = None

    def _final_read(self, identifier: str, before: WRTimeoutError | None = None) -> Any:
        """
        Return what was started if it has ended, now that the shorter of the task's two timeouts has passed.

        :param before: the error of the wait; None without one.
        """
        from airflow_provider_wr.waiting.rules import last_known, timed_out

        try:
            with self._hook() as hook:
                return hook.wait_for(
                    self._watch(identifier),
                    timeout=self._limit,
                    deadline=0,
                    was_found=True,
                    max_credits=self.max_credits,
                )
        except WRTimeoutError as error:
            text = timed_out("the wait", self._limit, last_known(error, before))
        raise (WRTimeoutError if self._limit == self.timeout else AirflowTaskTimeout)(text)

    def _defer(self, identifier: str, deadline: float | None, *, confirm_end: bool = False) -> NoReturn:
        """
        Wait in the triggerer.

        :param deadline: Unix seconds; None for none.
        :param confirm_end: whether the trigger reads the end before it fires. True once a worker has resumed in
            vain, so that a stream that keeps reporting an end does not wake one again and again.
        """
        from airflow_provider_wr.triggers.wr import defer

        defer(self, self._trigger(identifier, deadline, confirm_end=confirm_end))

    def _read(self, hook: WRHook, identifier: str) -> Any:
        """Read it again, since the event has no outputs; None if that failed transiently."""
        from airflow_provider_wr.connection import WRSettings
        from airflow_provider_wr.waiting.rules import is_transient, log_retry

        watched = self._watch(identifier)
        try:
            hook.settings = WRSettings.load(self.wr_conn_id, was_found=True)  # by the worker that deferred
            return hook.send(watched.read)
        except WRError as error:
            if not is_transient(error, elapsed=0):
                raise
            log_retry(watched, error)
            return None

    def _finish(self, context: Context, state: Any) -> Any:
        self._know(state.id, state)
        self._push(context, **{self._noun: self._xcom(state)})
        if (error := self._retry_policy().error(state)) is not None:
            raise error
        result = self._result(context, state)
        # Last: from here on, a clear starts another.
        self._store(context).record_success()
        log.info("%s", state.ending)
        return result

    @classmethod
    def _warn_of_unused(cls, task_id: str | None, given: Mapping[str, Any]) -> None:
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
                f"{task_id} does not wait for its {cls._noun}, and makes no use of {', '.join(names)}: "
                f"set wait_for_completion=True, or wait in a {cls._sensor}"
            )

    @classmethod
    def _check_memory(cls, task_id: str | None) -> None:
        if not AIRFLOW_V_3_3_PLUS:
            warn_author(
                f"{task_id} cannot remember its {cls._noun} across tries, so a retry starts another: "
                "Airflow can do so from 3.3 on; set retries=0, or durable=False to accept it"
            )
