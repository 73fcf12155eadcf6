"""The payment of test_behind_a_proxy.py: only its task uses a proxy."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param

from airflow_provider_wr.operators.wr import WRTriggerRunOperator

# The component "Notify" of the sandbox's workflow.
COMPONENT_ID = "c0ffee00-1111-4222-8333-94445555666a"


def use_proxy(context: Any) -> None:
    """Set the proxy in the environment of the task's process."""
    for name in ("http_proxy", "no_proxy"):
        value = context["params"]["proxy"] if name == "http_proxy" else ""
        os.environ.update({name: value, name.upper(): value})


with DAG(
    "behind_a_proxy",
    schedule=None,
    params={"conn_id": Param("wr_default", type="string"), "proxy": Param("", type="string")},
):
    WRTriggerRunOperator(
        task_id="pay",
        wr_conn_id="{{ params.conn_id }}",
        component_updates=[{"component_id": COMPONENT_ID, "config": {"to": "{{ run_id }}"}}],
        allow_concurrent_updates=True,  # each run has a sandbox of its own
        wait_for_completion=True,
        retries=3,
        retry_delay=timedelta(seconds=1),
        pre_execute=use_proxy,
    )
