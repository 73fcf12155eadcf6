"""The example DAGs run to their end, unchanged."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_3_PLUS

from airflow_provider_wr.hooks.wr import WRHook
from airflow_provider_wr.sandbox.server import Sandbox
from dags.running import DagRun, read_dags, run_file

pytestmark = pytest.mark.usefixtures("airflow_db")

EXAMPLES = Path(__file__).parents[2] / "example_dags"

#: These examples use a run's JSON, and need its documented format.
plain_only = pytest.mark.parametrize("_quick_server", ["plain"], indirect=True)


def run_example(name: str, **conf: object) -> DagRun:
    folder = Path(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.py"
    shutil.copy(EXAMPLES / f"{name}.py", path)
    return run_file(path, conf=conf or None)


def outputs(run: dict[str, Any], module: str) -> list[Any]:
    """Return the outputs of the stages of a module."""
    return [stage["output"] for stage in run["runStages"] if stage["module"] == module]


def hashes(run: dict[str, Any]) -> list[str]:
    """Return the hashes of the transactions that a run sent."""
    return [output["transactionHash"] for output in outputs(run, "SEND_EVM_TRANSACTION")]


def test_every_example_is_run() -> None:
    here = {
        "example_wr_chain",
        "example_wr_component",
        "example_wr_component_fan_out",
        "example_wr_failure",
        "example_wr_fan_out",
        "example_wr_trigger_and_wait",
        "example_wr_workflow",
        "example_wr_zero_workers",
    }
    with_a_scheduler = {"example_wr_approval", "example_wr_asset"}  # by tests/e2e/test_examples.py
    assert {path.stem for path in EXAMPLES.glob("*.py")} == here | with_a_scheduler


@pytest.mark.skipif(not AIRFLOW_V_3_3_PLUS, reason="the wait without a worker warns there that it needs one")
def test_no_example_warns_when_it_is_parsed() -> None:
    bag = read_dags(EXAMPLES)
    assert (bag.import_errors, bag.captured_warnings) == ({}, {})
    assert len(bag.dags) == len(list(EXAMPLES.glob("*.py"))) + 1  # the asset's producer and consumer


@plain_only
def test_update_trigger_wait_and_inspect(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    done = run_example("example_wr_workflow", apiUrl="https://other.example.com/", seconds=3)
    assert done.state == "success"
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
    assert done.state == "success"
    (started,) = sandbox.control.runs()
    assert done.xcoms["pay_suppliers"]["return_value"] == started["id"]
    listed = done.xcoms["list_payments"]["return_value"]
    assert len(listed) == 3
    assert all(each.startswith("0x") for each in listed)
    assert listed == hashes(done.xcoms["pay_suppliers"]["run"])


@plain_only
def test_what_one_run_gave_is_the_config_of_the_next(sandbox: Sandbox) -> None:
    done = run_example("example_wr_chain")
    assert done.state == "success"
    first, second = (done.xcoms[task_id]["run"] for task_id in ("pay", "notify"))
    assert [run["id"] for run in sandbox.control.runs()] == [first["id"], second["id"]]
    # "Notify" returns its config: a list and a number, not strings.
    assert outputs(second, "HTTP_REQUEST")[-1] == {"transactions": hashes(first), "credits": 14}
    assert len(hashes(first)) == 5


@plain_only
def test_a_run_for_each_value_of_a_param(sandbox: Sandbox) -> None:
    done = run_example("example_wr_fan_out", suppliers=[4, 1, 2])
    assert done.state == "success"
    assert done.xcoms["total"]["return_value"] == {"paid": [4, 1, 2], "credits": 3 * 4 + (4 + 1 + 2) * 2}
    assert len(sandbox.control.runs()) == 3


@plain_only
def test_a_failed_run_is_reported(sandbox: Sandbox) -> None:
    done = run_example("example_wr_failure", failWith="the node is down")
    assert done.state == "failed"
    assert done.states == {
        "pay": "failed",
        "book_payments": "upstream_failed",
        "report": "success",
        "fix": "success",
    }
    payment = {"module": "SEND_EVM_TRANSACTION", "error": {"message": "the node is down"}}
    suppliers = {"module": "FOR_EACH", "error": {"message": "5 of 5 items failed"}}
    assert done.xcoms["report"]["return_value"] == {
        "status": "FAILED",
        "credits": 13,  # of all stages except the last, which was not reached
        "failed": [suppliers, *[payment] * 5],
    }
    assert len(sandbox.control.runs()) == 1
    (fixed,) = [each["config"] for each in sandbox.control.components() if each["name"] == "Payment"]
    assert fixed == {"failWith": None}


def test_a_run_that_does_not_fail_is_booked_and_not_reported(sandbox: Sandbox) -> None:
    with WRHook() as hook:
        hook.update_component(sandbox.components["Payment"], config={"failWith": "the node is down"})
    done = run_example("example_wr_failure", failWith=None)
    assert done.state == "success"
    assert done.states == {"pay": "success", "book_payments": "success", "report": "skipped", "fix": "success"}
    assert done.xcoms["book_payments"]["return_value"] == hashes(done.xcoms["pay"]["run"])


def test_what_failed_without_a_run_is_not_reported_as_one(sandbox: Sandbox) -> None:
    sandbox.control.rotate_key("ws_new")
    done = run_example("example_wr_failure")
    assert done.state == "failed"
    assert (done.states["pay"], done.states["report"]) == ("failed", "success")
    assert done.xcoms["report"] == {}
    assert sandbox.control.runs() == []


@plain_only
def test_the_wait_without_a_worker_gives_the_run(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    done = run_example("example_wr_zero_workers")
    assert done.state == "success"
    (started,) = sandbox.control.runs()
    run = done.xcoms["wait_for_run"]["return_value"]
    assert (run["id"], run["status"]) == (started["id"], "COMPLETED")
    assert "Total credits: 14" in capsys.readouterr().out


@pytest.mark.parametrize(("least", "paid"), [(1, 1), (10**30, 0)], ids=["enough", "too little"])
def test_a_payment_is_started_only_if_the_balance_suffices(sandbox: Sandbox, least: int, paid: int) -> None:
    done = run_example("example_wr_component", least=least)
    assert done.state == "success"
    assert done.states == {
        "balance": "success",
        "enough": "success",
        "pay": "success" if paid else "skipped",
        "refill": "skipped" if paid else "success",
    }
    (execution,) = sandbox.control.executions()
    assert execution["input"] == {"address": "0x52908400098527886E0F7030069857D2E4169EE7"}
    assert len(sandbox.control.runs()) == paid


def test_a_fan_out_over_twenty_components(sandbox: Sandbox) -> None:
    done = run_example("example_wr_component_fan_out")
    assert done.state == "success"
    addresses = {execution["input"]["address"] for execution in sandbox.control.executions()}
    assert (len(addresses), len(sandbox.control.executions())) == (20, 20)
    assert done.xcoms["total"]["return_value"] > 0
