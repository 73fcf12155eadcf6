"""Real errors, warnings and log lines of the provider, to compare with those in the docs."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_wr.cli import ledger
from airflow_provider_wr.exceptions import WRError
from airflow_provider_wr.hooks.wr import WRHook
from airflow_provider_wr.models import Run
from airflow_provider_wr.operators.request import RunRequest
from airflow_provider_wr.operators.retry_policy import RetryPolicy
from airflow_provider_wr.operators.run_store import RunStore
from airflow_provider_wr.operators.shared_config import warn_of_overlap
from airflow_provider_wr.operators.wr import WRTriggerRunOperator
from airflow_provider_wr.sensors.wr import WRRunSensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_wr.sandbox.server import Sandbox

QUOTE = "c0ffee00-1111-4222-8333-944455556666"


def generalize(text: str) -> str:
    """Normalize the parts of a text that vary."""
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<id>", text)
    text = re.sub(r"http://127\.0\.0\.1:\d+", "<sandbox>", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+(\+00:00|Z)", "<time>", text)
    text = re.sub(r"0x[0-9a-f]+…?", "<hash>", text)
    return text.strip()


def error(call: Callable[[WRHook], Any]) -> str:
    """Return how Airflow shows the error that a call raises."""
    with WRHook() as hook, pytest.raises(WRError) as raised:
        call(hook)
    return f"{type(raised.value).__name__}: {raised.value}"


def missing_input(sandbox: Sandbox) -> str:
    return error(lambda hook: hook.validate_component("GET_EVM_ACCOUNT_BALANCE"))


def failed_run(sandbox: Sandbox) -> str:
    with WRHook() as hook:
        hook.update_component(QUOTE, config={"apiUrl": "https://example.com/quote"})
        hook.update_component(sandbox.components["Suppliers"], config={"count": 2})
        hook.update_component(sandbox.components["Notify"], config={"failWith": "no route to the mail server"})
        run = hook.wait_for_run(hook.trigger_run().run_id)
    ended = RetryPolicy("if_harmless").error(run)
    return f"{type(ended).__name__}: {ended}"


def unknown(sandbox: Sandbox) -> str:
    sandbox.control.fault("trigger", reset=True, obey=True)
    return error(lambda hook: hook.trigger_run())


def refused_key(sandbox: Sandbox) -> str:
    sandbox.control.rotate_key("ws_new")
    return error(lambda hook: hook.trigger_run())


def timed_out(sandbox: Sandbox) -> str:
    def wait(hook: WRHook) -> None:
        hook.update_component(QUOTE, config={"seconds": 60})
        run_id = hook.trigger_run().run_id
        hook.wait_for_run(run_id, timeout=0.2)

    return error(wait).replace("after 0.2 s", "after 3600 s")


def over_limit(sandbox: Sandbox) -> str:
    def wait(hook: WRHook) -> None:
        hook.update_component(sandbox.components["Suppliers"], config={"hold": True})
        hook.wait_for_run(hook.trigger_run().run_id, max_credits=1)

    return error(wait)


def listed(sandbox: Sandbox) -> str:
    unknown = ledger.Place("pay_suppliers", "manual__1", "pay", -1)
    chain = ledger.Place("chain", "manual__1", "wait", -1)
    facts = {"run_id": None, "workflow_id": sandbox.workflow_id, "at": "2026-11-26T09:00:04+00:00"}
    runs = [("2026-11-26", 14, unknown), ("2026-11-26", 14, unknown), ("2026-11-25", 15.5, chain)]
    now = datetime(2026, 11, 26, 12, tzinfo=timezone.utc)
    report = ledger.make(
        [ledger.StateRow(unknown, "wr_run", facts, "failed")],
        [
            ledger.XComRow(
                place,
                "run",
                {"id": str(number), "status": "COMPLETED", "totalUsage": credits, "updatedAt": f"{day}T09:00:00Z"},
                now,
            )
            for number, (day, credits, place) in enumerate(runs)
        ],
        since=now - timedelta(days=30),
    )
    return ledger.text(report)


class _Store(dict[str, Any]):
    def set(self, key: str, value: Any) -> None:
        self[key] = value


class _TaskInstance:
    max_tries = 1


def resumed(sandbox: Sandbox) -> str:
    store = RunStore({"ti": _TaskInstance(), "task_state_store": _Store()}, durable=True)  # type: ignore[arg-type]
    wanted = RunRequest.of(sandbox.workflow_id, [])
    with WRHook() as hook, logged("airflow_provider_wr.operators.run_store") as lines:
        hook.update_component(QUOTE, config={"seconds": 60})
        store.record_attempt(wanted)
        triggered = hook.trigger_run()
        store.record_start(run_id=triggered.run_id, job_id=triggered.job_id)
        store.find(hook, wanted, RetryPolicy("never"), on_unknown_trigger="fail", on_changed="fail")
    return "\n".join(lines)


def changed(sandbox: Sandbox) -> str:
    stages = [{"id": str(n), "module": "X", "status": "COMPLETED", "output": {"balance": n}} for n in range(3)]
    balance = {"id": "3", "module": "X", "status": "COMPLETED", "output": {"balance": 20 * 10**18}}
    run = Run.from_json({"id": QUOTE, "status": "COMPLETED", "runStages": [*stages, balance]})
    with logged("airflow_provider_wr.api.models") as lines:
        run.as_xcom(stage_outputs=True)
    return "\n".join(lines)


def cannot_start(sandbox: Sandbox) -> str:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        WRRunSensor.partial(task_id="wait", start_from_trigger=True).expand(run_id=["9e4c7b1a"])
    return "\n".join(str(warning.message) for warning in caught if warning.category is UserWarning)


def may_overlap(sandbox: Sandbox) -> str:
    with warnings.catch_warnings(record=True) as caught, DAG("pay_suppliers", schedule=None):
        warnings.simplefilter("ignore")  # such as an event loop that another test left
        warnings.simplefilter("always", UserWarning)
        warn_of_overlap(
            WRTriggerRunOperator(task_id="pay", component_updates=[{"component_id": QUOTE, "name": "x"}])
        )
    return "\n".join(str(warning.message) for warning in caught)


def updated(sandbox: Sandbox) -> str:
    with WRHook() as hook, logged("airflow_provider_wr.hooks.wr") as lines:
        hook.update_component(QUOTE, config={"count": 3})
    return "\n".join(lines)


@contextmanager
def logged(name: str) -> Iterator[list[str]]:
    """Collect the messages of a logger."""
    lines: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    logger, handler = logging.getLogger(name), Handler()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


#: The function that produces a text, by the text's beginning.
SAYINGS: dict[str, Callable[[Sandbox], str]] = {
    "WRRunFailedError: ": failed_run,
    "WRTriggerUnknownError: ": unknown,
    "WRAuthError: ": refused_key,
    "WRTimeoutError: ": timed_out,
    "WRCreditLimitError: ": over_limit,
    "Triggers whose outcome is unknown": listed,
    "Run 9e4c7b1a-1111-4222-8333-944455556666, in its XCom": changed,
    "Run ": resumed,
    "wait cannot start": cannot_start,
    "Task pay of DAG": may_overlap,
    "Updated component": updated,
    "WRValidationError: input.address is missing": missing_input,
}
