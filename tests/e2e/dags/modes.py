"""The waits of test_modes.py: a DAG for each outcome, and in it a task for each mode of waiting."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param, task

from airflow_provider_wr.operators.wr import WRTriggerRunOperator
from airflow_provider_wr.sensors.wr import WRRunSensor

SENSORS: dict[str, dict[str, Any]] = {
    "poke": {"poke_interval": 2},
    "reschedule": {"mode": "reschedule", "poke_interval": 20},
    "deferred": {"deferrable": True},
    "start_from_trigger": {"start_from_trigger": True, "poke_interval": 2},
    "start_and_end_from_trigger": {"start_from_trigger": True, "end_from_trigger": True, "poke_interval": 2},
}

OPERATORS: dict[str, dict[str, Any]] = {
    "operator_in_worker": {},
    "operator_deferred": {"deferrable": True},
}

FROM_TRIGGER = ("start_from_trigger", "start_and_end_from_trigger")
DEFERRED = ("deferred", *FROM_TRIGGER, "operator_deferred")
ALL = (*SENSORS, *OPERATORS)

#: Timeout in seconds.
LIMIT = 20

#: The modes and options of each outcome; the others are in tests/dags/test_modes.py.
OUTCOMES: dict[str, tuple[Iterable[str], dict[str, Any]]] = {
    "completed": (ALL, {}),
    "failed": (ALL, {}),
    "failed_soft_fail": (FROM_TRIGGER, {"soft_fail": True}),
    "canceled": (ALL, {}),
    "canceled_allowed": (SENSORS, {"allowed_statuses": ("COMPLETED", "CANCELED")}),
    "over_credits": (ALL, {"max_credits": 0.5}),
    "timeout": (ALL, {"timeout": LIMIT}),
    "timeout_soft_fail": (SENSORS, {"timeout": LIMIT, "soft_fail": True}),
    "execution_timeout": (DEFERRED, {"execution_timeout": timedelta(seconds=LIMIT)}),
    "unreachable": (ALL, {}),
    "refused": (DEFERRED, {}),
    "refused_silent_fail": (FROM_TRIGGER, {"silent_fail": True}),
    "refused_never_fail": (FROM_TRIGGER, {"never_fail": True}),
}

COMMON: dict[str, Any] = {
    "wr_conn_id": "{{ params.conn_id }}",
    "retries": 1,
    "retry_delay": timedelta(seconds=1),
}


@task
def read(runs: dict[str, Any]) -> dict[str, str]:
    """Return the status of each run, and of what is not a run its type."""
    return {mode: run["status"] if isinstance(run, dict) else type(run).__name__ for mode, run in runs.items()}


for outcome, (modes, options) in OUTCOMES.items():
    with DAG(outcome, schedule=None, params={"conn_id": Param("wr_default", type="string")}):
        trigger = WRTriggerRunOperator(task_id="trigger", **COMMON)
        sensors = {
            mode: WRRunSensor(task_id=mode, run_id=trigger.output, **COMMON, **how, **options)
            for mode, how in SENSORS.items()
            if mode in modes
        }
        for mode, how in OPERATORS.items():
            if mode in modes:
                WRTriggerRunOperator(task_id=mode, wait_for_completion=True, **COMMON, **how, **options)
        if outcome == "completed":
            read({mode: sensor.output for mode, sensor in sensors.items()})
