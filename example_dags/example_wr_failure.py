"""Handle a run that fails: a branch reports which stages failed and what the run cost.

The param `failWith` decides how the run ends. When it fails, `pay` fails and names the failed stages, `report`
runs, `book_payments` does not, and the DAG run ends as failed. Where a failed run should not fail the DAG run,
wait with `WRRunSensor(allowed_statuses=("COMPLETED", "FAILED", "CANCELED"))` and branch on `run["status"]`.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import DAG, Param, task

from airflow_provider_wr.operators.wr import WRTriggerRunOperator, WRUpdateComponentOperator

# The component "Payment" of the sandbox's workflow: it fails when its config says so.
COMPONENT_ID = "c0ffee00-1111-4222-8333-944455556669"

with DAG(
    dag_id="example_wr_failure",
    schedule=None,
    # A component's config belongs to the workflow, not to the run: two runs at once would share it.
    max_active_runs=1,
    params={
        "failWith": Param(
            "insufficient funds",
            type=["null", "string"],
            description="The error that every payment ends in; none: the run completes",
        ),
    },
    tags=["white-rabbit"],
    doc_md=__doc__,
):
    pay = WRTriggerRunOperator(
        task_id="pay",
        # Copies the param with its type. Null stays null; a template would send the string "None".
        component_updates=[{"component_id": COMPONENT_ID, "config_from_params": ["failWith"]}],
        wait_for_completion=True,
        deferrable=True,
        timeout=300,  # seconds
    )

    @task
    def book_payments(run: dict[str, Any]) -> list[str]:
        """Return the hashes of the payments; only after a run that COMPLETED."""
        payments = [stage for stage in run["runStages"] if stage["module"] == "SEND_EVM_TRANSACTION"]
        return [payment["output"]["transactionHash"] for payment in payments]

    @task(trigger_rule="one_failed")
    def report(ti: Any) -> dict[str, Any] | None:
        """Return how the run ended, its failed stages and the credits it used; None when that is not known."""
        # The run is there also when it did not end well. Where it is not, the task failed for another reason:
        # White Rabbit could not be asked, or time ran out. The log of the task says which.
        run = ti.xcom_pull(task_ids="pay", key="run")
        if run is None:
            return None
        failed = [stage for stage in run["runStages"] if stage["status"] == "FAILED"]
        return {
            "status": run["status"],
            "credits": run["totalUsage"],
            "failed": [{"module": stage["module"], "error": stage["error"]} for stage in failed],
        }

    # All runs share the component: whatever happened, let no other run fail for it.
    fix = WRUpdateComponentOperator(
        task_id="fix",
        component_id=COMPONENT_ID,
        config={"failWith": None},
        trigger_rule="all_done",
    )

    book_payments(pay.output["run"])
    pay >> [report(), fix]
