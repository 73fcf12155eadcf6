"""A sensor starts in the triggerer however its run is named, and falls back to a worker where it cannot."""

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

# The task of dags/from_trigger.py, and how many worker processes it uses.
WORKERS = {
    "output": 1,
    "output_by_key": 1,
    "pull": 1,
    "pull_by_key": 1,
    "literal": 1,
    "pull_from_list": 2,
    "with_outlet": 1,
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
import json, sys
from airflow.dag_processing.dagbag import DagBag

bag = DagBag(sys.argv[1])
sensors = [task for dag in bag.dags.values() for task in dag.tasks if task.task_type == "WRRunSensor"]
print(json.dumps({
    "errors": bag.import_errors,
    "warnings": [line for lines in bag.captured_warnings.values() for line in lines],
    "start": [task.task_id for task in sensors if task.start_from_trigger],
    "end": [task.task_id for task in sensors if getattr(task, "end_from_trigger", False)],
}))
"""


@pytest.fixture(scope="module")
def dag_run(airflow: LocalAirflow, take_rabbit: Callable[[], Rabbit]) -> DagRun:
    rabbit = take_rabbit()
    rabbit.configure(seconds=10)
    dag_run = DagRun(airflow, "from_trigger", conn_id=rabbit.conn_id)
    assert dag_run.end() == "success"
    return dag_run


def parse(home: Path, dag_file: str) -> dict[str, Any]:
    """Parse a DAG file as an Airflow with this home does."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    result = subprocess.run(
        [sys.executable, "-c", PARSE, str(DAGS / dag_file)],
        env={
            **env,
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",  # Airflow's examples bring a listener, too
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
def test_a_sensor_needs_a_worker_only_to_end(dag_run: DagRun, task_id: str, workers: int) -> None:
    run_id = dag_run.airflow.env[LITERAL] if task_id == "literal" else dag_run.xcom("trigger")

    assert dag_run.xcom(task_id)["id"] == run_id
    assert dag_run.workers(task_id) == workers


def test_a_mapped_sensor_waits_too(dag_run: DagRun) -> None:
    assert dag_run.xcom("mapped", map_index=0)["id"] == dag_run.xcom("trigger")


def test_the_end_of_a_wait_updates_the_assets_of_its_task(airflow: LocalAirflow, dag_run: DagRun) -> None:
    (event,) = airflow.asset_events("from_trigger", dag_run.run_id)

    assert event["source_task_id"] == "with_outlet"
    assert event["uri"] == "x-white-rabbit://e2e"


def test_what_cannot_start_in_the_triggerer_is_told_when_the_dag_is_parsed(tmp_path: Path) -> None:
    parsed = parse(tmp_path, "from_trigger.py")

    assert parsed["errors"] == {}
    assert sorted(parsed["start"]) == ["literal", "output", "output_by_key", "pull", "pull_by_key", "with_outlet"]
    assert parsed["end"] == []
    assert len(parsed["warnings"]) == 3
    assert "pull_from_list cannot start in the triggerer" in parsed["warnings"][0]
    assert "with_outlet cannot end in the triggerer" in parsed["warnings"][1]
    assert "mapped cannot start in the triggerer" in parsed["warnings"][2]


def test_beside_a_listener_no_sensor_ends_in_the_triggerer(tmp_path: Path) -> None:
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    (plugins / "listener.py").write_text(LISTENER)

    without = parse(tmp_path / "other", "modes.py")
    beside = parse(tmp_path, "modes.py")

    assert without["errors"] == beside["errors"] == {}
    assert without["warnings"] == []
    assert set(without["end"]) == {"start_and_end_from_trigger"}
    assert beside["end"] == []
    assert beside["start"] == without["start"]
    assert all("cannot end in the triggerer" in warning for warning in beside["warnings"])
    assert beside["warnings"] != []
