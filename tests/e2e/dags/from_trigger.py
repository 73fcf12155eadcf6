"""
The sensors of test_from_trigger.py: all ways to pass the run id, and everything that the triggerer skips.

What Airflow calls is noted in a file of this name, a line a call, in the folder ``calls`` of Airflow's home.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset, Param, task

from airflow_provider_wr.operators.wr import WRExecuteComponentOperator, WRGetRunOperator, WRTriggerRunOperator
from airflow_provider_wr.sensors.wr import WRComponentExecutionSensor, WRRunSensor


def note(what: str) -> Callable[..., None]:
    """Return a function that records its calls."""

    def call(context: Any, result: Any = None) -> None:
        calls = Path(os.environ["AIRFLOW_HOME"], "calls")
        calls.mkdir(exist_ok=True)
        with (calls / context["ti"].task_id).open("a") as file:
            print(what, file=file)

    return call


class Sub(WRRunSensor):
    """A subclass with an additional template field."""

    template_fields: Sequence[str] = (*WRRunSensor.template_fields, "memo")

    def __init__(self, *, memo: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.memo = memo

    def post_execute(self, context: Any, result: Any = None) -> None:
        note(self.memo)(context)


with DAG(
    "from_trigger",
    schedule=None,
    params={"conn_id": Param("wr_default", type="string")},
    user_defined_macros={"run_of": lambda ti: ti.xcom_pull("trigger")},
):
    trigger = WRTriggerRunOperator(task_id="trigger", wr_conn_id="{{ params.conn_id }}")
    run_ids = {
        "output": trigger.output,
        "output_by_key": trigger.output["run_id"],
        "pull": "{{ ti.xcom_pull('trigger') }}",
        "pull_by_key": "{{ ti.xcom_pull(task_ids='trigger', key='run_id') }}",
        "pull_from_mapped": "{{ ti.xcom_pull('each', map_indexes=0) }}",
        "pull_of_field": "{{ ti.xcom_pull('get')['id'] }}",
        "literal": os.environ["WR_E2E_RUN_ID"],
        "variable": os.environ["WR_E2E_RUN_ID"],
        "conf": trigger.output,
        # The triggerer cannot render these.
        "pull_from_list": "{{ ti.xcom_pull(task_ids=['trigger'])[0] }}",
        "macro": "{{ run_of(ti) }}",
    }
    conn_ids = {
        "literal": os.environ["WR_E2E_CONN_ID"],
        "variable": "{{ var.value.wr_e2e_conn_id }}",
        "conf": "{{ dag_run.conf['conn_id'] }}",
    }
    get = WRGetRunOperator(task_id="get", run_id=trigger.output, wr_conn_id="{{ params.conn_id }}")
    for task_id, run_id in run_ids.items():
        (get if task_id == "pull_of_field" else trigger) >> WRRunSensor(
            task_id=task_id,
            run_id=run_id,
            wr_conn_id=conn_ids.get(task_id, "{{ params.conn_id }}"),
            start_from_trigger=True,
            timeout=120,
        )

    options: dict[str, dict[str, Any]] = {
        "no_worker": {
            "on_failure_callback": note("failure"),
            "on_skipped_callback": note("skipped"),
            "retries": 1,
            "pool": "default_pool",
        },
        "own_params": {"params": {"own": 1}},
        "with_outlet": {"outlets": [Asset("x-white-rabbit://e2e")]},
        "success_callback": {"on_success_callback": note("success")},
        "by_default_args": {"default_args": {"on_success_callback": note("success")}},
        "execute_callback": {"on_execute_callback": note("execute")},
        "pre_execute": {"pre_execute": note("pre")},
        "post_execute": {"post_execute": note("post")},
        "no_xcom": {"do_xcom_push": False},
        "multiple_outputs": {"multiple_outputs": True},
        "failure_callback": {
            "allowed_statuses": ["CANCELED"],
            "on_failure_callback": note("failure"),
        },
        "skipped_callback": {
            "allowed_statuses": ["CANCELED"],
            "soft_fail": True,
            "on_skipped_callback": note("skipped"),
        },
        "mapped_over": {},
        "subclass": {"memo": "{{ run_of(ti) }}"},
    }
    sensors = {
        task_id: (Sub if task_id == "subclass" else WRRunSensor)(
            task_id=task_id,
            run_id=trigger.output,
            wr_conn_id="{{ params.conn_id }}",
            start_from_trigger=True,
            end_from_trigger=True,
            timeout=120,
            **how,
        )
        for task_id, how in options.items()
    }
    # So that the DAG run succeeds.
    [sensors["failure_callback"], sensors["skipped_callback"]] >> EmptyOperator(
        task_id="all_done", trigger_rule="all_done"
    )

    trigger >> WRRunSensor.partial(
        task_id="mapped", wr_conn_id="{{ params.conn_id }}", start_from_trigger=True, timeout=120
    ).expand(run_id=[trigger.output])

    # None of these exists yet when the sensors are created.
    sensors["set_later"] = WRRunSensor(
        task_id="set_later",
        run_id=trigger.output,
        wr_conn_id="{{ params.conn_id }}",
        start_from_trigger=True,
        end_from_trigger=True,
        timeout=120,
    )
    sensors["set_later"].on_success_callback = [note("success")]

    @task
    def each(run: str, index: int) -> str:
        """Return the run's id, of a task that is mapped."""
        return run

    each.partial(run=trigger.output).expand(index=[0, 1]) >> trigger.dag.task_dict["pull_from_mapped"]

    @task
    def item(pair: tuple[str, Any]) -> str:
        """Return the name of a field of the run."""
        return pair[0]

    item.expand(pair=sensors["mapped_over"].output)

    execute = WRExecuteComponentOperator(
        task_id="execute",
        module="RANDOM_UUID",
        wr_conn_id="{{ params.conn_id }}",
        wait_for_completion=False,
    )
    for task_id, ends_there in {"execution": False, "execution_no_worker": True}.items():
        WRComponentExecutionSensor(
            task_id=task_id,
            execution_id=execute.output,
            wr_conn_id="{{ params.conn_id }}",
            start_from_trigger=True,
            end_from_trigger=ends_there,
            timeout=120,
        )
