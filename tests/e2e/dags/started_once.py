"""The payments of test_started_once.py: a DAG for each configuration of the operator."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param

from airflow_provider_wr.operators.wr import WRExecuteComponentOperator, WRTriggerRunOperator
from airflow_provider_wr.sensors.wr import WRRunSensor

# The component "Notify" of the sandbox's workflow.
COMPONENT_ID = "c0ffee00-1111-4222-8333-94445555666a"
WORKFLOW_ID = "7d0b6f1e-4a51-4c1e-9a57-0d5a2f6f0001"

COMMON: dict[str, Any] = {
    "task_id": "pay",
    "wr_conn_id": "{{ params.conn_id }}",
    "component_updates": [{"component_id": COMPONENT_ID, "config": {"to": "{{ run_id }}"}}],
    "allow_concurrent_updates": True,  # each run has a sandbox of its own, and all its tasks set the same value
    "wait_for_completion": True,
    "retries": 2,
    "retry_delay": timedelta(seconds=1),
}

# Each try sets another value.
CHANGING: dict[str, Any] = {
    "component_updates": [{"component_id": COMPONENT_ID, "config": {"to": "{{ ti.try_number }}"}}]
}

# The last stage fails, when all payments are made.
NOTIFYING_IN_VAIN: dict[str, Any] = {
    "component_updates": [{"component_id": COMPONENT_ID, "config": {"failWith": "no route to the mail server"}}],
    "retries": 3,
}

WAYS: dict[str, dict[str, Any]] = {
    "in_worker": {},
    "deferred": {"deferrable": True},
    "retriggering": {"on_unknown_trigger": "retrigger"},
    "not_durable": {"durable": False},
    "without_retries": {"retries": 0},
    "without_wait": {"wait_for_completion": False},
    "retrying_always": {"retry_run": "always"},
    "harmless": {"harmless_modules": ["HTTP_REQUEST"]},
    "changing": CHANGING,
    "changing_resumes": {**CHANGING, "on_changed_updates": "resume"},
    "changing_restarts": {**CHANGING, "on_changed_updates": "restart"},
    "notifying_in_vain": NOTIFYING_IN_VAIN,
    "notifying_in_vain_deferred": {**NOTIFYING_IN_VAIN, "deferrable": True},
    "notifying_in_vain_always": {**NOTIFYING_IN_VAIN, "retry_run": "always"},
}

PARAMS = {"conn_id": Param("wr_default", type="string")}

for way, options in WAYS.items():
    with DAG(way, schedule=None, params=PARAMS):
        WRTriggerRunOperator(**{**COMMON, **options})

for way, options in {"component": {}, "component_deferred": {"deferrable": True}}.items():
    with DAG(way, schedule=None, params=PARAMS):
        WRExecuteComponentOperator(
            task_id="pay",
            module="SEND_EVM_TRANSACTION",
            input={"to": "{{ run_id }}", "value": "5"},
            config={"chainId": 1},
            validate=True,
            wr_conn_id=COMMON["wr_conn_id"],
            retries=COMMON["retries"],
            retry_delay=COMMON["retry_delay"],
            **options,
        )

with DAG("mapped_in_worker", schedule=None, params=PARAMS):
    WRTriggerRunOperator.partial(**COMMON).expand(workflow_id=[WORKFLOW_ID] * 3)

with DAG("mapped_sensors", schedule=None, params=PARAMS, max_active_tasks=6):
    fan_out = WRTriggerRunOperator.partial(**{**COMMON, "wait_for_completion": False}).expand(
        workflow_id=[WORKFLOW_ID] * 20
    )
    WRRunSensor.partial(task_id="wait", wr_conn_id=COMMON["wr_conn_id"], start_from_trigger=True).expand(
        run_id=fan_out.output
    )
