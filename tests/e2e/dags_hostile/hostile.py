"""The waits of test_hostile_answers.py: healthy ones, and one in each mode for each hostile answer."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Param

from airflow_provider_wr.operators.wr import WRTriggerRunOperator
from airflow_provider_wr.sensors.wr import WRRunSensor

COMMON: dict[str, Any] = {"wr_conn_id": "wr_hostile", "retries": 0}

with DAG("healthy", schedule=None):
    for number in range(20):
        WRRunSensor(task_id=f"wait_{number}", run_id=f"healthy.{number}", deferrable=True, **COMMON)

with DAG(
    "hostile",
    schedule=None,
    params={"case": Param("none", type="string"), "workflow_id": Param("none", type="string")},
):
    WRRunSensor(task_id="poke", run_id="{{ params.case }}.1", poke_interval=1, **COMMON)
    WRRunSensor(task_id="deferred", run_id="{{ params.case }}.2", deferrable=True, **COMMON)
    WRRunSensor(
        task_id="from_trigger",
        run_id="{{ params.case }}.3",
        start_from_trigger=True,
        end_from_trigger=True,
        **COMMON,
    )
    WRTriggerRunOperator(
        task_id="operator",
        workflow_id="{{ params.workflow_id }}",
        wait_for_completion=True,
        deferrable=True,
        **COMMON,
    )
