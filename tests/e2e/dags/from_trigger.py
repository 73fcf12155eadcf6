"""The sensors of test_from_trigger.py: all ways to name the run, of which Airflow's triggerer can render some."""

from __future__ import annotations

import os

from airflow.sdk import DAG, Asset, Param

from airflow_provider_wr.operators.wr import WRTriggerRunOperator
from airflow_provider_wr.sensors.wr import WRRunSensor

with DAG("from_trigger", schedule=None, params={"conn_id": Param("wr_default", type="string")}):
    trigger = WRTriggerRunOperator(task_id="trigger", wr_conn_id="{{ params.conn_id }}")
    run_ids = {
        "output": trigger.output,
        "output_by_key": trigger.output["run_id"],
        "pull": "{{ ti.xcom_pull('trigger') }}",
        "pull_by_key": "{{ ti.xcom_pull(task_ids='trigger', key='run_id') }}",
        "literal": os.environ["WR_E2E_RUN_ID"],
        # The triggerer cannot render this one.
        "pull_from_list": "{{ ti.xcom_pull(task_ids=['trigger'])[0] }}",
    }
    for task_id, run_id in run_ids.items():
        trigger >> WRRunSensor(
            task_id=task_id,
            run_id=run_id,
            wr_conn_id=os.environ["WR_E2E_CONN_ID"] if task_id == "literal" else "{{ params.conn_id }}",
            start_from_trigger=True,
            timeout=120,
        )
    trigger >> WRRunSensor(
        task_id="with_outlet",
        run_id=trigger.output,
        wr_conn_id="{{ params.conn_id }}",
        start_from_trigger=True,
        end_from_trigger=True,
        outlets=[Asset("x-white-rabbit://e2e")],
        timeout=120,
    )
    trigger >> WRRunSensor.partial(
        task_id="mapped", wr_conn_id="{{ params.conn_id }}", start_from_trigger=True, timeout=120
    ).expand(run_id=[trigger.output])
