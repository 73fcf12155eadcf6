"""Chain two runs: the results of the first become the config of a component of the second.

What a task returns reaches the next task's `component_updates` with its types: a list stays a list, and a
number a number. A template (`"{{ … }}"`) would make a text of each.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_wr.operators.wr import WRTriggerRunOperator

# The sandbox has one workflow, so it is both here, and its second run pays again, which costs nothing there.
# Put the ids of your own two workflows here.
PAY = NOTIFY = "7d0b6f1e-4a51-4c1e-9a57-0d5a2f6f0001"

# The component "Notify" of the second workflow: it sends its whole config.
COMPONENT_ID = "c0ffee00-1111-4222-8333-94445555666a"

with DAG(
    dag_id="example_wr_chain",
    schedule=None,
    # A component's config belongs to the workflow, not to the run: two runs at once would share it.
    max_active_runs=1,
    tags=["white-rabbit"],
    doc_md=__doc__,
):
    pay = WRTriggerRunOperator(
        task_id="pay",
        workflow_id=PAY,
        wait_for_completion=True,
        deferrable=True,
        timeout=300,  # seconds
    )

    @task
    def receipt(run: dict[str, Any]) -> dict[str, Any]:
        """Return the config for the next run; `run` is the API's JSON."""
        payments = [stage for stage in run["runStages"] if stage["module"] == "SEND_EVM_TRANSACTION"]
        return {
            "transactions": [payment["output"]["transactionHash"] for payment in payments],
            "credits": run["totalUsage"],
        }

    # The updates are applied just before the start, by the same task. They may hold what other tasks return,
    # which makes this task wait for those.
    WRTriggerRunOperator(
        task_id="notify",
        workflow_id=NOTIFY,
        component_updates=[{"component_id": COMPONENT_ID, "config": receipt(pay.output["run"])}],
        wait_for_completion=True,
        deferrable=True,
        timeout=300,
    )
