"""
What a task takes in its worker until its trigger is answered, and a triggerer until its first wait can begin.

Each in a fresh process, after ``airflow.sdk``, the supervisor that a task's process is forked from, and the DAG
file's own imports; most of it is imports. The sides alternate.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from airflow_provider_wr.sandbox.server import Sandbox
from benchmarks.turns import show, spread

TURNS = 15

_POST = """
requests.post(f"{url}/v1/sdk/workflows/{workflow}", headers={"X-Api-Key": key}, timeout=10).raise_for_status()
"""

#: What is compared: the imports of the DAG file, and what is measured.
CASES = {
    "`requests` alone, one POST": ("", f"import requests\n{_POST}"),
    "`WRHook.trigger_run`": (
        "from airflow_provider_wr.operators.wr import WRTriggerRunOperator",
        "from airflow_provider_wr.hooks.wr import WRHook\nWRHook('wr_bench').trigger_run()",
    ),
    "`HttpHook.run`, one POST": (
        "from airflow.providers.http.operators.http import HttpOperator",
        "from airflow.providers.http.hooks.http import HttpHook\n"
        "HttpHook('POST', 'http_bench').run(f'/v1/sdk/workflows/{workflow}', headers={'X-Api-Key': key})",
    ),
    "`aiohttp` alone, imported": ("", "import aiohttp"),
    "`WRRunTrigger`, all that it imports": (
        "from airflow_provider_wr.triggers.wr import WRRunTrigger",
        "import airflow_provider_wr.hooks.wr, airflow_provider_wr.transport.aiohttp",
    ),
}

_SCRIPT = """
import json, sys, time
import airflow.sdk.execution_time.supervisor
from airflow.sdk import DAG, BaseOperator, BaseSensorOperator, Param, task
url, workflow, key = sys.argv[1:]
{imports}
before, began = len(sys.modules), time.perf_counter()
{measured}
print(json.dumps({{"ms": (time.perf_counter() - began) * 1e3, "modules": len(sys.modules) - before}}))
"""


def main() -> list[dict[str, Any]]:
    """Measure all, print a table, and return its rows."""
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in CASES}
    with Sandbox() as sandbox:
        http = {"conn_type": "http", "host": sandbox.url}
        env = {
            **os.environ,
            "AIRFLOW_CONN_WR_BENCH": json.dumps(sandbox.connection),
            "AIRFLOW_CONN_HTTP_BENCH": json.dumps(http),
        }
        for _ in range(TURNS):
            for name, (imports, measured) in CASES.items():
                script = _SCRIPT.format(imports=imports, measured=measured)
                command = [sys.executable, "-c", script, sandbox.url, sandbox.workflow_id, sandbox.api_key]
                done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
                turns[name].append(json.loads(done.stdout.splitlines()[-1]))
    rows = [{"what": name, **spread(seen)} for name, seen in turns.items()]
    for row in rows:
        print(" | ".join(show(value) for value in row.values()))
    return rows
