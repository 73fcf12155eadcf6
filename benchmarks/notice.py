"""
The delay from the end of a run to the start of the next task, in every mode of waiting, on an idle Airflow.

A real Airflow waits for runs of the sandbox, one at a time, and for the same runs with a trigger that polls.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from airflow_provider_wr.sandbox.server import Sandbox
from dev.local_airflow import LocalAirflow

REPEATS = 2

HERE = Path(__file__).parent

MODES = (
    "start_and_end_from_trigger",
    "start_from_trigger",
    "deferred",
    "poke_5s",
    "reschedule_5s",
    "polling_trigger_5s",
)


def main() -> list[dict[str, Any]]:
    """Measure all, print a table, and return its rows."""
    seen: dict[str, list[float]] = {mode: [] for mode in MODES}
    # Slow enough that every wait has started before the run ends: about 10 s.
    with Sandbox(speed=0.1) as sandbox, tempfile.TemporaryDirectory() as home:
        env = {
            "AIRFLOW_CONN_WR_DEFAULT": json.dumps(sandbox.connection),
            "PYTHONPATH": str(HERE.parent),
            "WR_SANDBOX": sandbox.url,
        }
        with LocalAirflow(Path(home), HERE / "dags", env=env) as airflow:
            airflow.wait_ready()
            for _ in range(REPEATS):
                for mode in MODES:
                    seen[mode].append(_once(airflow, sandbox, mode))
    print("mode | p50 s | most s")
    rows = [{"mode": mode, "p50_s": statistics.median(each), "most_s": max(each)} for mode, each in seen.items()]
    for row in rows:
        print(f"{row['mode']} | {row['p50_s']:.2f} | {row['most_s']:.2f}")
    return rows


def _once(airflow: LocalAirflow, sandbox: Sandbox, mode: str) -> float:
    """Return the seconds from the end of a run to the start of the next task."""
    dag_run = airflow.trigger(mode, {})
    if (state := airflow.wait_for_dag_run(mode, dag_run, 120)) != "success":
        raise RuntimeError(f"{mode} ended {state}")
    run_id = airflow.xcom(mode, dag_run, "trigger", "run_id")
    started = airflow.task_instance(mode, dag_run, "next")["start_date"]
    return (datetime.fromisoformat(started) - _ended(sandbox, run_id)).total_seconds()


def _ended(sandbox: Sandbox, run_id: str) -> datetime:
    import requests

    url = f"{sandbox.url}/v1/sdk/workflows/executions/{run_id}"
    run = requests.get(url, headers={"X-Api-Key": sandbox.api_key}, timeout=10).json()
    return datetime.fromisoformat(run["updatedAt"])
