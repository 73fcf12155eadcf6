"""Fan out over a component: look up the balances of many accounts at once, and add them up.

Executions share no config, unlike the runs of a workflow. So they may all run at the same time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from airflow.providers.common.compat.sdk import DAG, Param, task

from airflow_provider_wr.operators.wr import WRExecuteComponentOperator

with DAG(
    dag_id="example_wr_component_fan_out",
    schedule=None,
    params={
        "addresses": Param(
            [f"0x{number:040x}" for number in range(20)],
            type="array",
            items={"type": "string"},
            description="Accounts to look up",
        ),
    },
    tags=["white-rabbit"],
    doc_md=__doc__,
):

    @task
    def inputs(params: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the input of each execution."""
        return [{"address": address} for address in params["addresses"]]

    # One mapped task per account. White Rabbit limits how much of a workspace runs at the same time: a limit here
    # keeps the DAG below it.
    balance = WRExecuteComponentOperator.partial(
        task_id="balance",
        module="GET_EVM_ACCOUNT_BALANCE",
        wait_ms=5000,  # most have ended by then, and need no second request
        deferrable=True,
        timeout=120,  # seconds
        retries=2,
        max_active_tis_per_dagrun=10,
    ).expand(input=inputs())

    @task
    def total(outputs: Iterable[dict[str, Any]]) -> int:
        """Return the sum of all balances, in wei."""
        return sum(int(output["balance"]) for output in outputs)

    total(balance.output)
