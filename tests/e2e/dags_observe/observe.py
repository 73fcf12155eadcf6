"""The waits of test_observe.py: the same run in each mode, and what is started and does not end well."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Asset

from airflow_provider_wr.operators.wr import WRExecuteComponentOperator, WRTriggerRunOperator
from airflow_provider_wr.sensors.wr import WRRunSensor

PAYMENTS = Asset("x-white-rabbit://payments")
BALANCES = Asset("x-white-rabbit://balances")

SENSORS: dict[str, dict[str, Any]] = {
    "poke": {"poke_interval": 1, "outlets": [BALANCES]},
    "reschedule": {"mode": "reschedule", "poke_interval": 10},
    "deferred": {"deferrable": True},
    "start_from_trigger": {"start_from_trigger": True},
    "start_and_end_from_trigger": {"start_from_trigger": True, "end_from_trigger": True},
}

with DAG("observe", schedule=None):
    start = WRTriggerRunOperator(task_id="start", wr_conn_id="wr_observe")
    for mode, how in SENSORS.items():
        WRRunSensor(task_id=mode, run_id=start.output, wr_conn_id="wr_observe", **how)
    for mode, how in {
        "operator_in_worker": {},
        "operator_deferred": {"deferrable": True, "outlets": [PAYMENTS]},
    }.items():
        WRTriggerRunOperator(task_id=mode, wr_conn_id="wr_observe", wait_for_completion=True, **how)

    WRExecuteComponentOperator(task_id="component", module="RANDOM_UUID", wr_conn_id="wr_observe", wait_ms=0)

with DAG("observe_doubt", schedule=None):
    WRTriggerRunOperator(task_id="pay", wr_conn_id="wr_doubt", wait_for_completion=True)
