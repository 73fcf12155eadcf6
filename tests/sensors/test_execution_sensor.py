"""The sensor that waits for an execution of a component: what differs from that of a run."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_3_PLUS
from dags.running import page_xcom, run_tasks

from airflow_provider_wr.exceptions import WRComponentFailedError, WRCreditLimitError, WRValidationError
from airflow_provider_wr.hooks.wr import WRHook
from airflow_provider_wr.sandbox.server import Sandbox
from airflow_provider_wr.sensors.wr import WRComponentExecutionSensor

pytestmark = pytest.mark.usefixtures("airflow_db")

ID = "e1ec0000-1111-4222-8333-944455556666"


@pytest.fixture(params=["deferrable=True", "poke_interval=0.05", "mode='reschedule', poke_interval=0.05"])
def way(request: pytest.FixtureRequest) -> str:
    return f"timeout=20, {request.param}"


def execute(module: str = "RANDOM_UUID", **config: Any) -> str:
    with WRHook() as hook:
        return hook.execute_component(module, None, config).id


def wait(execution_id: str, options: str = "") -> Any:
    return run_tasks(f"WRComponentExecutionSensor(task_id='wait', execution_id={execution_id!r}, {options})")


def test_it_returns_the_record(sandbox: Sandbox, way: str) -> None:
    execution_id = execute()
    done = wait(execution_id, way)
    assert done.states == {"wait": "success"}
    record = done.xcoms["wait"]["return_value"]
    assert (record["id"], record["module"], record["output"].keys()) == (execution_id, "RANDOM_UUID", {"uuid"})
    page = page_xcom(execution_id, name="execution_id")
    assert {name: done.xcoms["wait"][name] for name in page} == page


def test_one_that_failed_fails_the_task_without_retries(sandbox: Sandbox, way: str) -> None:
    execution_id = execute(failWith="no node")
    done = wait(execution_id, f"{way}, retries=2")
    error = done.errors["wait"]
    assert isinstance(error, WRComponentFailedError)
    assert isinstance(error, AirflowFailException)
    assert (error.execution.id, done.tries) == (execution_id, {"wait": 1})
    assert "RANDOM_UUID: no node" in str(error)


def test_one_that_failed_may_be_allowed(sandbox: Sandbox, way: str) -> None:
    done = wait(execute(failWith="no node"), f"{way}, allowed_statuses=['COMPLETED', 'FAILED']")
    assert done.states == {"wait": "success"}


def test_the_output_of_the_operator_is_its_execution(sandbox: Sandbox) -> None:
    done = run_tasks(
        """
        start = WRExecuteComponentOperator(task_id='start', module='RANDOM_UUID', wait_for_completion=False)
        WRComponentExecutionSensor(task_id='wait', execution_id=start.output, deferrable=True, timeout=20)
        """
    )
    assert done.states == {"start": "success", "wait": "success"}
    assert done.xcoms["wait"]["return_value"]["id"] == done.xcoms["start"]["return_value"]


def test_a_limit_of_credits_holds(sandbox: Sandbox, way: str) -> None:
    done = wait(execute(), f"{way}, max_credits=0.5")
    assert isinstance(done.errors["wait"], WRCreditLimitError)


@pytest.mark.parametrize("execution_id", ["", "{{ params.x }}", "an execution"])
def test_what_is_no_id_is_refused(sandbox: Sandbox, execution_id: str) -> None:
    done = run_tasks(
        f"WRComponentExecutionSensor(task_id='wait', execution_id={execution_id!r}, retries=1)", params="{'x': ''}"
    )
    assert isinstance(done.errors["wait"], WRValidationError)
    assert "execution_id" in str(done.errors["wait"])
    assert done.tries == {"wait": 1}


@pytest.mark.parametrize("allowed", [[], ["CANCELED"], ["EXECUTING"], ["completed"]])
def test_a_status_that_no_execution_ends_in_is_refused(allowed: list[str]) -> None:
    with pytest.raises(ValueError, match="allowed_statuses should be some of COMPLETED and FAILED"):
        WRComponentExecutionSensor(task_id="wait", execution_id=ID, allowed_statuses=allowed)


@pytest.mark.skipif(not AIRFLOW_V_3_3_PLUS, reason="Airflow can start a task in the triggerer from 3.3 on")
def test_it_starts_and_ends_in_the_triggerer() -> None:
    sensor = WRComponentExecutionSensor(
        task_id="wait", execution_id=ID, start_from_trigger=True, end_from_trigger=True, timeout=60
    )
    args = sensor.start_trigger_args
    assert args is not None
    assert args.trigger_cls == "airflow_provider_wr.triggers.wr.WRComponentExecutionTrigger"
    assert args.trigger_kwargs == {
        "execution_id": ID,
        "wr_conn_id": "wr_default",
        "grace": 60,
        "end_from_trigger": True,
        "allowed_statuses": ["COMPLETED"],
        "max_credits": None,
        "confirm_end": False,
        "outputs": True,
    }
    assert args.timeout == timedelta(seconds=120)
    assert (sensor.start_from_trigger, sensor.end_from_trigger) == (True, True)


@pytest.mark.skipif(not AIRFLOW_V_3_3_PLUS, reason="Airflow can start a task in the triggerer from 3.3 on")
def test_a_subclass_starts_in_a_worker() -> None:
    class Mine(WRComponentExecutionSensor):
        pass

    with pytest.warns(UserWarning, match="Mine may do what only a worker does"):
        sensor = Mine(task_id="wait", execution_id=ID, start_from_trigger=True)
    assert (sensor.start_from_trigger, sensor.deferrable) == (False, True)


def test_a_mapped_sensor_waits_for_each(sandbox: Sandbox) -> None:
    ids = [execute() for _ in range(3)]
    sensor = "WRComponentExecutionSensor.partial(task_id='wait', deferrable=True, timeout=20)"
    done = run_tasks(f"{sensor}.expand(execution_id={ids})")
    assert done.state == "success"
