"""Ask a person before a payment: what the approver sees is what is sent, and nothing is sent before.

Airflow's own `ApprovalOperator` waits for the answer, which a person gives in Airflow's UI, under "Required
Actions". It needs Airflow 3.1. From 3.3 on it takes neither a worker nor a triggerer while it waits.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, Param, task

from airflow_provider_wr.operators.wr import WRTriggerRunOperator

# The component "Suppliers" of the sandbox's workflow: it pays each supplier in a stage of its own.
COMPONENT_ID = "c0ffee00-1111-4222-8333-944455556668"

with DAG(
    dag_id="example_wr_approval",
    schedule=None,
    params={
        "suppliers": Param(3, type="integer", minimum=1, maximum=20, description="How many suppliers to pay"),
        "reference": Param("November", type="string", maxLength=80, description="What the payment is for"),
    },
    tags=["white-rabbit"],
    doc_md=__doc__,
):

    @task
    def prepare(params: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the updates. Both tasks below use this one value, so the approver sees exactly what is sent."""
        config = {"count": params["suppliers"], "reference": params["reference"]}
        return [{"component_id": COMPONENT_ID, "config": config}]

    updates = prepare()

    # `tojson` writes whatever a param holds in one line of a code block, so no text can pass for a part of the
    # question. There are no `defaults`: no answer is no approval, and the task fails when its time has passed.
    # To say who may answer, add `assigned_users`.
    approve = ApprovalOperator(
        task_id="approve",
        subject="Pay {{ params.suppliers }} suppliers?",
        body=(
            "After you approve, this is set on White Rabbit's workflow, and a run is started with it:\n\n"
            "```json\n{{ ti.xcom_pull(task_ids='prepare') | tojson(indent=2) }}\n```\n\n"
            "It cannot be canceled."
        ),
        response_timeout=timedelta(hours=24),
    )

    # The updates are sent in this task, after the approval, and their run ends in it. So any number of DAG runs
    # may wait for an approval at the same time, while their payments take turns. The task waits in a worker: only
    # from Airflow 3.3 on does this limit count a deferred task. There, add `deferrable=True`. Where other DAGs
    # update the component too, give all of these tasks a pool of one slot instead.
    pay = WRTriggerRunOperator(
        task_id="pay",
        component_updates=updates,
        wait_for_completion=True,
        timeout=600,  # seconds
        max_active_tis_per_dag=1,
    )

    updates >> approve >> pay
