"""Fan out: start one run for each value of a DAG param, wait for all of them, and add up their results.

A component's config is shared by all runs of its workflow, and a stage reads it when it starts. So the runs
take turns, and each of them is sure to find the value that was meant for it. (Runs of different workflows
need no turns: map `workflow_id` instead.)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from airflow.providers.common.compat.sdk import DAG, Param, task

from airflow_provider_wr.operators.wr import WRTriggerRunOperator

# The component "Suppliers" of the sandbox's workflow: it pays each supplier in a stage of its own.
COMPONENT_ID = "c0ffee00-1111-4222-8333-944455556668"

with DAG(
    dag_id="example_wr_fan_out",
    schedule=None,
    max_active_runs=1,  # with the limit below: one White Rabbit run at a time
    params={
        "suppliers": Param(
            [1, 2, 3],
            type="array",
            items={"type": "integer", "minimum": 1},
            description="How many suppliers each run pays",
        ),
    },
    tags=["white-rabbit"],
    doc_md=__doc__,
):

    @task
    def updates(params: dict[str, Any]) -> list[list[dict[str, Any]]]:
        """Return the component updates of each run. `params` are the DAG's: Airflow gives them by this name."""
        return [[{"component_id": COMPONENT_ID, "config": {"count": count}}] for count in params["suppliers"]]

    # One mapped task per run: it updates the component, starts the run and waits for it. The task waits in a
    # worker, since only from Airflow 3.3 on does this limit count a deferred task: there, add `deferrable=True`.
    # Where other DAGs update the component too, give all of these tasks a pool of one slot instead.
    pay = WRTriggerRunOperator.partial(
        task_id="pay",
        wait_for_completion=True,
        timeout=300,  # seconds
        max_active_tis_per_dagrun=1,
    ).expand(component_updates=updates())

    @task
    def total(runs: Iterable[dict[str, Any]]) -> dict[str, Any]:
        """Return what all runs paid and cost. They come in the order of the param's values."""
        runs = list(runs)
        paid = [[stage["module"] for stage in run["runStages"]].count("SEND_EVM_TRANSACTION") for run in runs]
        return {"paid": paid, "credits": sum(run["totalUsage"] for run in runs)}

    # The XCom "run" of a mapped task is the list of all its runs.
    total(pay.output["run"])
