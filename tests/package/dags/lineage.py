"""The tasks of test_openlineage.py: a DAG for each kind of run, with its own connection."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Param

from airflow_provider_wr.operators.wr import WRGetRunOperator, WRTriggerRunOperator
from airflow_provider_wr.sensors.wr import WRRunSensor

MODES: dict[str, dict[str, Any]] = {"in_worker": {"poke_interval": 1}, "deferred": {"deferrable": True}}
PARAMS = {"run_id": Param("", type="string")}


def sensor(task_id: str, **options: Any) -> None:
    WRRunSensor(task_id=task_id, run_id="{{ params.run_id }}", **options)


class Broken(WRGetRunOperator):
    """An operator which we cannot tell of."""

    def execute(self, context: Any) -> Any:
        result = super().execute(context)
        self._run = object()  # type: ignore[assignment]
        return result


for name in ("completes", "fails"):
    conn = {"wr_conn_id": f"wr_{name}"}
    with DAG(name, schedule=None, params=PARAMS):
        for mode, how in MODES.items():
            sensor(f"sensor_{mode}", **conn, **how)
            WRTriggerRunOperator(
                task_id=f"operator_{mode}", wait_for_completion=True, deferrable=mode == "deferred", **conn
            )
        if name == "completes":
            sensor("sensor_end_from_trigger", end_from_trigger=True, **conn)

conn = {"wr_conn_id": "wr_goes_on"}
with DAG("goes_on", schedule=None, params=PARAMS):
    for mode, how in MODES.items():
        sensor(f"sensor_{mode}", timeout=20, **conn, **how)
    sensor("sensor_skipped", timeout=1, soft_fail=True, poke_interval=1, **conn)
    WRTriggerRunOperator(task_id="trigger", **conn)
    WRGetRunOperator(task_id="get_run", run_id="{{ params.run_id }}", **conn)
    Broken(task_id="broken", run_id="{{ params.run_id }}", **conn)
