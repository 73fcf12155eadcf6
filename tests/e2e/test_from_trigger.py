"""A sensor starts in the triggerer for all kinds of run ids, and falls back to a worker if it cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dev.local_airflow import LocalAirflow

from .dagrun import DagRun
from .rabbit import LITERAL, LITERAL_CONN, Rabbit

DAGS = Path(__file__).parent / "dags"

# The tasks of dags/from_trigger.py, and their numbers of worker processes.
WORKERS = {
    # start in the triggerer, end in a worker
    "output": 1,
    "output_by_key": 1,
    "pull": 1,
    "pull_by_key": 1,
    "pull_from_mapped": 1,
    "pull_of_field": 1,
    "literal": 1,
    "variable": 1,
    "conf": 1,
    # need a worker to start
    "pull_from_list": 2,
    "macro": 2,
    # start in a worker, end in the triggerer
    "own_params": 1,
    # start and end in the triggerer
    "no_worker": 0,
    # need a worker to end
    "with_outlet": 1,
    "success_callback": 1,
    "by_default_args": 1,
    "set_later": 1,
    "post_execute": 1,
    "no_xcom": 1,
    "multiple_outputs": 1,
    "mapped_over": 1,
    # need one for both
    "execute_callback": 2,
    "pre_execute": 2,
    "subclass": 2,
    # end with a status that is not allowed
    "failure_callback": 1,
    "skipped_callback": 1,
}
LITERALS = ("literal", "variable")
NO_RESULT = ("no_xcom", "failure_callback", "skipped_callback")

# The expected calls by task, the same as for any deferred sensor.
CALLS = {
    "success_callback": ["success"],
    "by_default_args": ["success"],
    "set_later": ["success"],
    "execute_callback": ["execute", "execute"],
    "pre_execute": ["pre", "pre"],
    "post_execute": ["post"],
    "failure_callback": ["failure"],
    "skipped_callback": ["skipped"],
}

ONLY_THERE = "counts only there"
LISTENERS = "a plugin with listeners is installed"

# The warnings when the DAG is parsed.
CANNOT_START = {
    "pull_from_list": "run_id is a template that the triggerer is not known to render: {{ ti.xcom_pull(",
    "macro": "run_id is a template that the triggerer is not known to render: {{ run_of(ti) }}",
    "own_params": "params of its own are checked only there",
    "execute_callback": f"on_execute_callback {ONLY_THERE}",
    "pre_execute": f"pre_execute {ONLY_THERE}",
    "subclass": "Sub may do what only a worker does",
    "mapped": "Airflow cannot do so for a mapped task",
}
CANNOT_END = {
    "with_outlet": f"outlets {ONLY_THERE}",
    "success_callback": f"on_success_callback {ONLY_THERE}",
    "by_default_args": f"on_success_callback {ONLY_THERE}",
    "set_later": f"on_success_callback {ONLY_THERE}",
    "execute_callback": f"on_execute_callback {ONLY_THERE}",
    "pre_execute": f"pre_execute {ONLY_THERE}",
    "post_execute": f"post_execute {ONLY_THERE}",
    "no_xcom": f"do_xcom_push {ONLY_THERE}",
    "multiple_outputs": f"multiple_outputs {ONLY_THERE}",
    "mapped_over": "a mapped task takes its result",
    "subclass": "Sub may do what only a worker does",
}

LISTENER = """
from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin


class Listener:
    @hookimpl
    def on_task_instance_running(self, previous_state, task_instance):
        pass


class ListenerPlugin(AirflowPlugin):
    name = "listener"
    listeners = [Listener()]
"""

PARSE = """
import json, sys, warnings
from airflow.dag_processing.dagbag import DagBag
from airflow_provider_wr.sensors.wr import WRRunSensor

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    bag = DagBag(sys.argv[1])
    sensors = [task for dag in bag.dags.values() for task in dag.tasks if isinstance(task, WRRunSensor)]
    start = [task.task_id for task in sensors if task.start_from_trigger]
    end = [task.task_id for task in sensors if task.end_from_trigger]
print(json.dumps({
    "errors": bag.import_errors,
    "warnings": [
        [str(each.message), each.filename] for each in caught if " in the triggerer" in str(each.message)
    ],
    "start": start,
    "end": end,
}))
"""


@pytest.fixture(scope="module")
def dag_run(airflow: LocalAirflow, take_rabbit: Callable[[], Rabbit]) -> DagRun:
    rabbit = take_rabbit()
    rabbit.configure(seconds=30)  # some sensors have to start before the run ends
    dag_run = DagRun(airflow, "from_trigger", conn_id=rabbit.conn_id)
    assert dag_run.end() == "success"
    return dag_run


def parse(home: Path, dag_file: str) -> dict[str, Any]:
    """Parse a DAG file like an Airflow with this home."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    result = subprocess.run(
        [sys.executable, "-c", PARSE, str(DAGS / dag_file)],
        env={
            **env,
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",  # Airflow's example DAGs add a listener, too
            LITERAL: "9e4c7b1a-1111-4222-8333-944455556666",
            LITERAL_CONN: "wr_default",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    parsed: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return parsed


@pytest.mark.parametrize(("task_id", "workers"), WORKERS.items())
def test_a_sensor_needs_a_worker_only_where_the_triggerer_does_less(
    dag_run: DagRun, task_id: str, workers: int
) -> None:
    run_id = dag_run.airflow.env[LITERAL] if task_id in LITERALS else dag_run.xcom("trigger")

    result = dag_run.xcom(task_id)
    assert (result and result["id"]) == (None if task_id in NO_RESULT else run_id)
    assert dag_run.workers(task_id) == workers


@pytest.mark.parametrize("task_id", WORKERS)
def test_airflow_calls_what_it_calls_for_any_sensor(dag_run: DagRun, task_id: str) -> None:
    calls = dag_run.airflow.home / "calls" / task_id
    expected = [dag_run.xcom("trigger")] if task_id == "subclass" else CALLS.get(task_id, [])

    assert (calls.read_text().split() if calls.exists() else []) == expected


def test_the_keys_of_the_result_are_outputs_of_their_own(dag_run: DagRun) -> None:
    assert dag_run.xcom("multiple_outputs", key="status") == "COMPLETED"


def test_a_mapped_task_maps_over_the_result(dag_run: DagRun) -> None:
    result = dag_run.xcom("mapped_over")

    assert [dag_run.xcom("item", map_index=index) for index in range(len(result))] == list(result)


def test_a_mapped_sensor_waits_too(dag_run: DagRun) -> None:
    assert dag_run.xcom("mapped", map_index=0)["id"] == dag_run.xcom("trigger")


@pytest.mark.parametrize(("task_id", "workers"), {"execution": 1, "execution_no_worker": 0}.items())
def test_a_sensor_of_an_execution_starts_and_ends_in_the_triggerer(
    dag_run: DagRun, task_id: str, workers: int
) -> None:
    execution = dag_run.xcom(task_id)
    assert (execution["id"], execution["status"]) == (dag_run.xcom("execute"), "COMPLETED")
    assert dag_run.workers(task_id) == workers


def test_the_end_of_a_wait_updates_the_assets_of_its_task(airflow: LocalAirflow, dag_run: DagRun) -> None:
    (event,) = airflow.asset_events("from_trigger", dag_run.run_id)

    assert event["source_task_id"] == "with_outlet"
    assert event["uri"] == "x-white-rabbit://e2e"


def test_a_sensor_that_needs_a_worker_warns_when_the_dag_is_parsed(tmp_path: Path) -> None:
    parsed = parse(tmp_path, "from_trigger.py")

    told = dict(each for each in parsed["warnings"])
    expected = {"start": CANNOT_START, "end": CANNOT_END}
    assert parsed["errors"] == {}
    assert {file for _, file in parsed["warnings"]} == {str(DAGS / "from_trigger.py")}
    assert len(told) == len(parsed["warnings"]) == len(CANNOT_START) + len(CANNOT_END)
    for what, reasons in expected.items():
        for task_id, reason in reasons.items():
            text = f"{task_id} cannot {what} in the triggerer, and does so in a worker: {reason}"
            assert any(each.startswith(text) for each in told), text
    assert set(parsed["start"]) == WORKERS.keys() - CANNOT_START.keys()
    assert parsed["end"] == ["no_worker", "own_params", "failure_callback", "skipped_callback"]


def test_beside_a_listener_no_sensor_starts_or_ends_in_the_triggerer(tmp_path: Path) -> None:
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    (plugins / "listener.py").write_text(LISTENER)

    without = parse(tmp_path / "other", "modes.py")
    beside = parse(tmp_path, "modes.py")

    assert without["errors"] == beside["errors"] == {}
    assert without["warnings"] == []
    assert set(without["start"]) == {"start_from_trigger", "start_and_end_from_trigger"}
    assert set(without["end"]) == {"start_and_end_from_trigger"}
    assert beside["start"] == beside["end"] == []
    assert len(beside["warnings"]) == len(without["start"]) + len(without["end"])
    assert all(LISTENERS in text for text, _ in beside["warnings"])
