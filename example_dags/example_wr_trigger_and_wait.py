"""Update, trigger and wait in one task.

The update is applied just before the trigger, by the same task, so that nothing comes between the two.
But the config of a component is shared by all runs of its workflow. When several DAGs, or several runs of
one, set different values, let them take turns: create a pool of one slot that includes deferred tasks,
and give it to every task like the one below with `pool="…"`.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import DAG, Param, task

from airflow_provider_wr.operators.wr import WRTriggerRunOperator

# The component "Suppliers" of the sandbox's workflow: it pays each supplier in a stage of its own.
COMPONENT_ID = "c0ffee00-1111-4222-8333-944455556668"

with DAG(
    dag_id="example_wr_trigger_and_wait",
    schedule=None,
    max_active_runs=1,  # enough here, where no other DAG updates this component
    params={
        "componentId": Param(COMPONENT_ID, type="string", description="The component to update"),
    },
    tags=["white-rabbit"],
    doc_md=__doc__,
):
    pay_suppliers = WRTriggerRunOperator(
        task_id="pay_suppliers",
        component_updates=[
            {"component_id": "{{ params.componentId }}", "config": {"count": 3, "seconds": 2}},
        ],
        wait_for_completion=True,
        deferrable=True,
        timeout=300,  # seconds
    )

    @task
    def list_payments(run: dict[str, Any]) -> list[str]:
        """Return the hash of every transaction that the run sent."""
        payments = [stage for stage in run["runStages"] if stage["module"] == "SEND_EVM_TRANSACTION"]
        return [payment["output"]["transactionHash"] for payment in payments]

    # The task's own result is the run's id; the finished run is in its XCom "run".
    list_payments(pay_suppliers.output["run"])
