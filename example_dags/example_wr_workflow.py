"""Update a component, trigger a workflow run, wait for it without a worker, and inspect its stages.

The steps are those of White Rabbit's own "trigger, stream, and inspect" example. They need an Airflow
connection `wr_default` with the API key as its password and `workflow_id` in its extra.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import DAG, Param, task

from airflow_provider_wr.operators.wr import WRTriggerRunOperator, WRUpdateComponentOperator
from airflow_provider_wr.sensors.wr import WRRunSensor

# The component "Quote" of the sandbox's workflow. For your own workflow, put your component's id here or
# enter it when you trigger the DAG.
COMPONENT_ID = "c0ffee00-1111-4222-8333-944455556666"

with DAG(
    dag_id="example_wr_workflow",
    schedule=None,
    # A component's config belongs to the workflow, not to the run: two runs at once would share it.
    max_active_runs=1,
    params={
        "componentId": Param(COMPONENT_ID, type="string", description="The component to update"),
        "apiUrl": Param("https://new-api.example.com/endpoint", type="string", format="uri"),
        "seconds": Param(2, type="number", minimum=0, description="How long the sandbox's stage takes"),
    },
    tags=["white-rabbit"],
    doc_md=__doc__,
):
    # Copies the params into the component's config under the same names. Unlike a template, this keeps
    # their types: `seconds` arrives as a number.
    update = WRUpdateComponentOperator(
        task_id="update_component",
        component_id="{{ params.componentId }}",
        config_from_params=["apiUrl", "seconds"],
    )

    # Returns the run's id as soon as the run exists.
    trigger = WRTriggerRunOperator(task_id="trigger_run")

    # Deferred: the triggerer watches the run's event stream, without a worker slot.
    # `timeout` is in seconds.
    wait = WRRunSensor(task_id="wait_for_run", run_id=trigger.output, deferrable=True, timeout=300)

    @task
    def inspect_stages(run: dict[str, Any]) -> None:
        """Print the output of each stage and the cost of the run; `run` is the API's JSON."""
        for stage in run["runStages"]:
            print(f"{stage['module']}: {stage['status']}", stage["output"])
        print(f"Total credits: {run['totalUsage']}")

    update >> trigger
    inspect_stages(wait.output)
