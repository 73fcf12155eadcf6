"""The payments of the tests: a DAG for each way to wait. Each task notes in a file that it has ended."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Param, task

from airflow_provider_wr.operators.wr import WRTriggerRunOperator

# Of the sandbox's workflow: "Suppliers", which makes as many payments as its config says, and "Notify".
SUPPLIERS = "c0ffee00-1111-4222-8333-944455556668"
NOTIFY = "c0ffee00-1111-4222-8333-94445555666a"
WORKFLOW_ID = "7d0b6f1e-4a51-4c1e-9a57-0d5a2f6f0001"


def note(how: str) -> Callable[[Any], None]:
    """Return a callback that notes how a task has ended: a line for each time."""

    def call(context: Any) -> None:
        ti = context["ti"]
        notes = Path(os.environ["AIRFLOW_HOME"], "ends", ti.dag_id, ti.run_id)
        notes.mkdir(parents=True, exist_ok=True)
        with (notes / f"{ti.task_id}.{ti.map_index}").open("a") as file:
            print(how, file=file)

    return call


COMMON: dict[str, Any] = {
    "wr_conn_id": "{{ params.conn_id }}",
    # Enough for what takes a minute. An outage costs a task one try after the other.
    "retries": 5,
    "retry_delay": timedelta(seconds=10),
    "on_success_callback": note("success"),
    "on_failure_callback": note("failed"),
}
PAY: dict[str, Any] = {**COMMON, "task_id": "pay", "wait_for_completion": True, "timeout": 900}
PARAMS = {"conn_id": Param("wr_default", type="string"), "count": Param(1, type="integer")}
UPDATES = [{"component_id": SUPPLIERS, "config_from_params": ["count"]}]

with DAG("in_worker", schedule=None, params=PARAMS):
    WRTriggerRunOperator(
        **PAY,
        component_updates=[{"component_id": NOTIFY, "config": {"to": "{{ run_id }}"}}],
        allow_concurrent_updates=True,  # each DAG run has a sandbox of its own
    )

with DAG("deferred", schedule=None, params=PARAMS):
    WRTriggerRunOperator(**PAY, deferrable=True)

with DAG("without_retries", schedule=None, params=PARAMS, max_active_runs=100):
    WRTriggerRunOperator(**{**PAY, "retries": 0}, deferrable=True)

with DAG("mapped", schedule=None, params=PARAMS, max_active_tasks=1000):

    @task
    def workflows(params: dict[str, Any]) -> list[str]:
        """Return the workflow, as often as there shall be runs."""
        return [WORKFLOW_ID] * int(params["count"])

    WRTriggerRunOperator.partial(**PAY, deferrable=True).expand(workflow_id=workflows())

with DAG("in_turn", schedule=None, params=PARAMS, max_active_runs=100):
    WRTriggerRunOperator(**PAY, deferrable=True, component_updates=UPDATES, pool="wr_one_at_a_time")

with DAG("guarded", schedule=None, params=PARAMS, max_active_runs=100):
    WRTriggerRunOperator(**{**PAY, "retries": 0}, deferrable=True, component_updates=UPDATES)
