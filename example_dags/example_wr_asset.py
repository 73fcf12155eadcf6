"""Update an asset when a run completes, which starts another DAG that reads the run's results.

Two DAGs, which may as well be in two files: the first one pays, the second one books the payments. Both must
be switched on; trigger the first.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

# On Airflow 2.11, which calls assets datasets, this Asset is its Dataset.
from airflow.providers.common.compat.sdk import DAG, Asset, task

from airflow_provider_wr.operators.wr import WRTriggerRunOperator

PAYMENTS = Asset("x-white-rabbit://supplier-payments")

with DAG(
    dag_id="example_wr_asset_producer",
    schedule=None,
    tags=["white-rabbit"],
    doc_md=__doc__,
):
    pay = WRTriggerRunOperator(
        task_id="pay",
        wait_for_completion=True,
        deferrable=True,
        timeout=300,  # seconds
    )

    @task(outlets=[PAYMENTS])
    def publish(run: dict[str, Any], outlet_events: Any) -> None:
        """Update the asset, and tell with the update what the run gave: a little, since Airflow's database
        keeps it. After a run that did not complete this task does not run, and the asset stays as it is."""
        payments = [stage for stage in run["runStages"] if stage["module"] == "SEND_EVM_TRANSACTION"]
        outlet_events[PAYMENTS].extra = {
            "runId": run["id"],
            "transactions": [payment["output"]["transactionHash"] for payment in payments],
            "credits": run["totalUsage"],
        }

    publish(pay.output["run"])

with DAG(
    dag_id="example_wr_asset_consumer",
    schedule=[PAYMENTS],
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),  # Airflow 2.11 wants one of every DAG with a schedule
    tags=["white-rabbit"],
    doc_md=__doc__,
):

    @task
    def book_payments(**context: Any) -> list[dict[str, Any]]:
        """Return what each update told. It may be several: Airflow starts one DAG run for all that wait."""
        updates = context.get("triggering_asset_events", context.get("triggering_dataset_events"))
        return [event.extra for events in updates.values() for event in events]

    book_payments()
