"""The waits of test_two_triggerers.py: some in each mode that uses a triggerer."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Param

from airflow_provider_wr.operators.wr import WRTriggerRunOperator
from airflow_provider_wr.sensors.wr import WRRunSensor

EACH = 6

# A second try would be detected.
COMMON: dict[str, Any] = {"wr_conn_id": "{{ params.conn_id }}", "retries": 1}

PARAMS = {"conn_id": Param("wr_default", type="string"), "run_ids": Param([""] * EACH, type="array")}

with DAG("many_waits", schedule=None, params=PARAMS):
    for number in range(EACH):
        run_id = f"{{{{ params.run_ids[{number}] }}}}"
        WRTriggerRunOperator(task_id=f"operator_{number}", wait_for_completion=True, deferrable=True, **COMMON)
        WRRunSensor(task_id=f"deferred_{number}", run_id=run_id, deferrable=True, **COMMON)
        WRRunSensor(
            task_id=f"from_trigger_{number}",
            run_id=run_id,
            start_from_trigger=True,
            end_from_trigger=True,
            **COMMON,
        )
