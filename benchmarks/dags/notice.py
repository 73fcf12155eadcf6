"""One DAG for each mode of waiting: start a run, wait for it, and record when the next task starts."""

from __future__ import annotations

import os
from typing import Any

from airflow.sdk import DAG, BaseSensorOperator, task

from airflow_provider_wr.operators.wr import WRTriggerRunOperator
from airflow_provider_wr.sensors.wr import WRRunSensor
from benchmarks.polling import PollingTrigger


class PollingSensor(BaseSensorOperator):
    """Defers to :class:`PollingTrigger`."""

    template_fields = ("run_id",)

    def __init__(self, *, run_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.run_id = run_id

    def execute(self, context: Any) -> None:
        url = f"{os.environ['WR_SANDBOX']}/v1/sdk/workflows/executions/{self.run_id}"
        self.defer(trigger=PollingTrigger(url), method_name="execute_complete")

    def execute_complete(self, context: Any, event: Any) -> None:
        pass


MODES: dict[str, tuple[type[BaseSensorOperator], dict[str, Any]]] = {
    "poke_5s": (WRRunSensor, {"poke_interval": 5}),
    "reschedule_5s": (WRRunSensor, {"poke_interval": 5, "mode": "reschedule"}),
    "deferred": (WRRunSensor, {"deferrable": True}),
    "start_from_trigger": (WRRunSensor, {"start_from_trigger": True}),
    "start_and_end_from_trigger": (WRRunSensor, {"start_from_trigger": True, "end_from_trigger": True}),
    "polling_trigger_5s": (PollingSensor, {}),
}

for mode, (sensor, arguments) in MODES.items():
    with DAG(mode, schedule=None) as dag:
        trigger = WRTriggerRunOperator(task_id="trigger")
        wait = sensor(task_id="wait", run_id=trigger.output, **arguments)

        @task(task_id="next")
        def next_task() -> None:
            """Start."""

        wait >> next_task()
    globals()[mode] = dag
