"""Tasks whose runs have a page, or are seen elsewhere in Airflow."""

from __future__ import annotations

from airflow.sdk import DAG, Asset, Param, task

from airflow_provider_wr.operators.wr import WRGetRunOperator, WRTriggerRunOperator
from airflow_provider_wr.sensors.wr import WRRunSensor

with DAG("page_of_a_wait", schedule=None):
    WRTriggerRunOperator(task_id="pay", wait_for_completion=True, deferrable=True)

with DAG("page_in_triggerer", schedule=None, params={"run_id": Param("", type="string")}):
    WRRunSensor(
        task_id="wait", run_id="{{ params.run_id }}", start_from_trigger=True, end_from_trigger=True, timeout=120
    )

with DAG("page_of_mapped", schedule=None, params={"run_ids": Param([], type="array")}):

    @task
    def list_runs(params: dict[str, list[str]]) -> list[str]:
        return params["run_ids"]

    WRGetRunOperator.partial(task_id="get").expand(run_id=list_runs())

with DAG("seen_asset", schedule=None):
    WRTriggerRunOperator(
        task_id="pay_suppliers",
        wait_for_completion=True,
        deferrable=True,
        outlets=[Asset("x-white-rabbit://supplier-payments")],
    )

with DAG("seen_limit", schedule=None):
    WRTriggerRunOperator(
        task_id="pay_suppliers",
        wait_for_completion=True,
        deferrable=True,
        max_credits=1,
        retries=3,
    )
