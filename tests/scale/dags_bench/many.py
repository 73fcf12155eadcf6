"""The waits of bench.py, which start and end in a triggerer: no worker takes part."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_provider_wr.sensors.wr import WRRunSensor

# A wait that starts in the triggerer brings its whole DAG along: many small ones, as in practice.
DAGS, EACH = 100, 20

for number in range(DAGS):
    with DAG(f"many_{number}", schedule=None, max_active_tasks=EACH):
        for index in range(EACH):
            WRRunSensor(
                task_id=f"wait_{index}",
                run_id=f"9e4c7b1a-0000-4000-8000-{number * EACH + index:012d}",
                wr_conn_id="wr_bench",
                start_from_trigger=True,
                end_from_trigger=True,
                timeout=3600,
            )
