"""The example DAGs run to their end, as they are."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from airflow_provider_wr.sandbox.server import Sandbox
from dags.running import DagRun, run_file

pytestmark = pytest.mark.usefixtures("airflow_db")

EXAMPLES = Path(__file__).parents[2] / "example_dags"


def run_example(name: str, **conf: object) -> DagRun:
    folder = Path(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.py"
    shutil.copy(EXAMPLES / f"{name}.py", path)
    return run_file(path, conf=conf or None)


def test_every_example_is_run_here() -> None:
    tested = {"example_wr_workflow", "example_wr_trigger_and_wait"}
    assert {path.stem for path in EXAMPLES.glob("*.py")} == tested


def test_update_trigger_wait_and_inspect(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    done = run_example("example_wr_workflow", apiUrl="https://other.example.com/", seconds=3)
    assert (done.state, done.errors) == ("success", {})
    (started,) = sandbox.control.runs()
    assert done.xcoms["trigger_run"]["return_value"] == started["id"]
    run = done.xcoms["wait_for_run"]["return_value"]
    assert (run["id"], run["status"]) == (started["id"], "COMPLETED")
    assert run["runStages"][0]["output"] == {"apiUrl": "https://other.example.com/", "seconds": 3}
    assert "Total credits: 14" in capsys.readouterr().out
    order = [each["endpoint"] for each in sandbox.control.requests()]
    assert order[:2] == ["update", "trigger"]


def test_trigger_and_wait_in_one_task(sandbox: Sandbox) -> None:
    done = run_example("example_wr_trigger_and_wait")
    assert (done.state, done.errors) == ("success", {})
    (started,) = sandbox.control.runs()
    assert done.xcoms["pay_suppliers"]["return_value"] == started["id"]
    hashes = done.xcoms["list_payments"]["return_value"]
    assert len(hashes) == 3
    assert all(each.startswith("0x") for each in hashes)
    stages = done.xcoms["pay_suppliers"]["run"]["runStages"]
    assert hashes == [s["output"]["transactionHash"] for s in stages if s["module"] == "SEND_EVM_TRANSACTION"]
