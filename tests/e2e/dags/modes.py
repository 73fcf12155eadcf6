"""The waits of test_modes.py: a DAG for each outcome, and in it a task for each mode of waiting."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param, task

from airflow_provider_wr.operators.wr import WRTriggerRunOperator
from airflow_provider_wr.sensors.wr import WRRunSensor

SENSORS: dict[str, dict[str, Any]] = {
    "poke": {"poke_interval": 2},
    "reschedule": {"mode": "reschedule", "poke_interval": 12},
    "deferred": {"deferrable": True},
    "start_from_trigger": {"start_from_trigger": True},
    "start_and_end_from_trigger": {"start_from_trigger": True, "end_from_trigger": True},
}

OPERATORS: dict[str, dict[str, Any]] = {
    "operator_in_worker": {},
    "operator_deferred": {"deferrable": True},
}

OUTCOMES: dict[str, dict[str, Any]] = {
    "completed": {},
    "failed": {},
    "canceled": {},
    "canceled_allowed": {"allowed_statuses": ("COMPLETED", "CANCELED")},
    "timeout": {"timeout": 10},
    "timeout_soft_fail": {"timeout": 10, "soft_fail": True},
    "unreachable": {},
}

SENSORS_ONLY = ("canceled_allowed", "timeout_soft_fail")

COMMON: dict[str, Any] = {
    "wr_conn_id": "{{ params.conn_id }}",
    "retries": 1,
    "retry_delay": timedelta(seconds=1),
}


@task
def read(runs: dict[str, Any]) -> dict[str, str]:
    """Return the status of each run, and of what is not a run its type."""
    return {mode: run["status"] if isinstance(run, dict) else type(run).__name__ for mode, run in runs.items()}


for outcome, options in OUTCOMES.items():
    with DAG(outcome, schedule=None, params={"conn_id": Param("wr_default", type="string")}):
        trigger = WRTriggerRunOperator(task_id="trigger", **COMMON)
        sensors = {
            mode: WRRunSensor(task_id=mode, run_id=trigger.output, **COMMON, **how, **options)
            for mode, how in SENSORS.items()
        }
        if outcome not in SENSORS_ONLY:
            for mode, how in OPERATORS.items():
                WRTriggerRunOperator(task_id=mode, wait_for_completion=True, **COMMON, **how, **options)
        if outcome == "completed":
            read({mode: sensor.output for mode, sensor in sensors.items()})
