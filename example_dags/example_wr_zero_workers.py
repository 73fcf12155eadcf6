"""Wait for a run without any worker: the triggerer starts the wait, watches the run, and ends the task.

A plain deferrable sensor needs a worker twice, for a second each: to begin and to end. That matters where a
worker is a pod that must start first. It takes Airflow 3.3: below that, and beside a plugin with listeners
such as OpenLineage's, or with callbacks that only a worker calls, the sensor uses a worker where it must, and a
warning says so when the DAG is parsed.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_wr.operators.wr import WRTriggerRunOperator
from airflow_provider_wr.sensors.wr import WRRunSensor

with DAG(
    dag_id="example_wr_zero_workers",
    schedule=None,
    tags=["white-rabbit"],
    doc_md=__doc__,
):
    trigger = WRTriggerRunOperator(task_id="trigger_run")

    # `trigger.output` names the run in a form that the triggerer can render. So does a plain
    # `{{ ti.xcom_pull('trigger_run') }}`; the output of a mapped task does not.
    wait = WRRunSensor(
        task_id="wait_for_run",
        run_id=trigger.output,
        start_from_trigger=True,
        end_from_trigger=True,
        timeout=300,  # seconds
    )

    @task
    def inspect_stages(run: dict[str, Any]) -> None:
        """Print the output of each stage and the cost of the run; the triggerer stored the run."""
        for stage in run["runStages"]:
            print(f"{stage['module']}: {stage['status']}", stage["output"])
        print(f"Total credits: {run['totalUsage']}")

    inspect_stages(wait.output)
