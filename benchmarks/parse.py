"""
The import cost of a provider in a DAG file: time and number of modules.

Each import runs in a fresh process, after ``airflow.sdk``, which every DAG file imports. Providers alternate.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from typing import Any

REPEATS = 15

IMPORTS = {
    "airflow.sdk alone": "",
    "White Rabbit": (
        "from airflow_provider_wr.operators.wr import WRTriggerRunOperator, WRUpdateComponentOperator\n"
        "from airflow_provider_wr.sensors.wr import WRRunSensor"
    ),
    "HTTP": (
        "from airflow.providers.http.operators.http import HttpOperator\n"
        "from airflow.providers.http.sensors.http import HttpSensor"
    ),
    "dbt Cloud": (
        "from airflow.providers.dbt.cloud.operators.dbt import DbtCloudRunJobOperator\n"
        "from airflow.providers.dbt.cloud.sensors.dbt import DbtCloudJobRunSensor"
    ),
}

_SCRIPT = """
import json, sys, time
from airflow.sdk import DAG, BaseOperator, BaseSensorOperator, Param, task
before, began = len(sys.modules), time.perf_counter()
{imports}
print(json.dumps([time.perf_counter() - began, len(sys.modules) - before]))
"""


def main() -> list[dict[str, Any]]:
    """Measure all, print a table, and return its rows."""
    seen: dict[str, list[list[float]]] = {name: [] for name in IMPORTS}
    for _ in range(REPEATS):
        for name, imports in IMPORTS.items():
            command = [sys.executable, "-c", _SCRIPT.format(imports=imports)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            seen[name].append(json.loads(done.stdout.splitlines()[-1]))
    rows = [
        {
            "import": name,
            "added_ms": statistics.median(seconds for seconds, _ in results) * 1e3,
            "added_modules": int(results[0][1]),
        }
        for name, results in seen.items()
    ]
    print("import | ms added | modules added")
    for row in rows:
        print(f"{row['import']} | {row['added_ms']:.1f} | {row['added_modules']}")
    return rows
