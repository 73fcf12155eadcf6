"""Run one component without a workflow: look up a balance, and start the payment workflow only if it suffices.

The balance is one call, so it needs no workflow. The payment is several steps, which White Rabbit keeps together:
that is what a workflow is for.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import DAG, Param, task

from airflow_provider_wr.operators.wr import WRExecuteComponentOperator, WRTriggerRunOperator

with DAG(
    dag_id="example_wr_component",
    schedule=None,
    max_active_runs=1,  # or two DAG runs could spend the same balance
    params={
        "address": Param(
            "0x52908400098527886E0F7030069857D2E4169EE7", type="string", description="Account that pays"
        ),
        "least": Param(10**18, type="integer", description="Smallest balance to pay from, in wei"),
    },
    tags=["white-rabbit"],
    doc_md=__doc__,
):
    # Reads, and changes nothing: a retry may run it again, and does so by itself.
    balance = WRExecuteComponentOperator(
        task_id="balance",
        module="GET_EVM_ACCOUNT_BALANCE",
        input_from_params=["address"],
        validate=True,  # check the input against White Rabbit's catalogue before it is sent
        retries=2,
    )

    @task.branch
    def enough(output: dict[str, Any], params: dict[str, Any]) -> str:
        """Choose the next task by the component's output."""
        return "pay" if int(output["balance"]) >= params["least"] else "refill"

    pay = WRTriggerRunOperator(task_id="pay", wait_for_completion=True, timeout=600)

    @task
    def refill(params: dict[str, Any]) -> None:
        """Stand in for whatever fills the account."""
        print(f"Too little on {params['address']}: refill it")

    enough(balance.output) >> [pay, refill()]
