"""The payments of test_shared_config.py: DAGs with overlapping runs, with and without protection."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param

from airflow_provider_wr.operators.wr import WRTriggerRunOperator, WRUpdateComponentOperator
from airflow_provider_wr.sensors.wr import WRRunSensor

# The component "Suppliers" of the sandbox's workflow: it makes as many payments as its config says.
COMPONENT_ID = "c0ffee00-1111-4222-8333-944455556668"

#: How many tasks each fan-out has.
WIDTH = 20

PAY: dict[str, Any] = {
    "task_id": "pay",
    "wr_conn_id": "{{ params.conn_id }}",
    "wait_for_completion": True,
    "deferrable": True,
    "timeout": 600,
    "retries": 0,  # no retry after a refusal
}
# Airflow may lose track of a task that resumes at once; its retry resumes the same run.
RETRY: dict[str, Any] = {"retries": 1, "retry_delay": timedelta(seconds=1)}
UPDATE = {"component_id": COMPONENT_ID, "config_from_params": ["count"]}
UPDATES = [[{"component_id": COMPONENT_ID, "config": {"count": n}}] for n in range(1, WIDTH + 1)]
PARAMS = {"conn_id": Param("wr_default", type="string"), "count": Param(1, type="integer")}

# A DAG each: what it sets, and what its task sets.
RUNS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "turns_max_active_runs": ({"max_active_runs": 1}, RETRY),
    "turns_pool": ({"max_active_runs": 20}, {"pool": "wr_one", **RETRY}),
    "turns_task_limit": ({"max_active_runs": 20}, {"max_active_tis_per_dag": 1, **RETRY}),
    "overlap": ({}, {}),
    "overlap_allowed": ({}, {"allow_concurrent_updates": True}),
    "overlap_pool_of_two": ({}, {"pool": "wr_two"}),
    "overlap_pool_without_deferred": ({}, {"pool": "wr_not_deferred"}),
}
for dag_id, (of_dag, of_task) in RUNS.items():
    with DAG(dag_id, schedule=None, params=PARAMS, **of_dag):
        WRTriggerRunOperator(component_updates=[UPDATE], **{**PAY, **of_task})

FAN_OUTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "fan_out_turns_limit": ({"max_active_runs": 1}, {"max_active_tis_per_dagrun": 1, **RETRY}),
    "fan_out_turns_pool": ({}, {"pool": "wr_fan_out", **RETRY}),
    "fan_out_overlap": ({}, {}),
}
for dag_id, (of_dag, of_task) in FAN_OUTS.items():
    with DAG(dag_id, schedule=None, params=PARAMS, **of_dag):
        WRTriggerRunOperator.partial(**{**PAY, **of_task}).expand(component_updates=UPDATES)

SEPARATE: dict[str, dict[str, Any]] = {"separate_turns": {"max_active_runs": 1}, "separate_overlap": {}}
for dag_id, of_dag in SEPARATE.items():
    with DAG(dag_id, schedule=None, params=PARAMS, default_args={"wr_conn_id": PAY["wr_conn_id"]}, **of_dag):
        update = WRUpdateComponentOperator(task_id="update", **UPDATE)
        trigger = WRTriggerRunOperator(task_id="pay")
        update >> trigger
        WRRunSensor(task_id="wait", run_id=trigger.output, deferrable=True, timeout=600)
