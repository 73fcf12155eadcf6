"""Mapped tasks: each map index has its own run, link and result."""

from __future__ import annotations

import pytest

from airflow_provider_wr.sandbox.server import Sandbox
from dags.running import run_tasks

pytestmark = pytest.mark.usefixtures("airflow_db")

WIDTH = 100


def test_a_hundred_mapped_triggers_and_the_mapped_sensor_behind_them(sandbox: Sandbox) -> None:
    done = run_tasks(
        f"""
        updates = [[{{"component_id": COMPONENT_ID, "config": {{"n": n}}}}] for n in range({WIDTH})]
        trigger = WRTriggerRunOperator.partial(task_id="trigger").expand_kwargs(
            [{{"component_updates": update}} for update in updates]
        )
        wait = WRRunSensor.partial(task_id="wait", deferrable=True, timeout=60).expand(run_id=trigger.output)

        @task
        def distinct(runs):
            return [len({{run["id"] for run in runs}}), sorted({{run["status"].upper() for run in runs}})]

        distinct(wait.output)
        """
    )
    assert (done.state, done.errors) == ("success", {})
    assert done.xcoms["distinct"]["return_value"] == [WIDTH, ["COMPLETED"]]
    assert len(sandbox.control.runs()) == WIDTH


def test_a_mapped_wait_for_completion(sandbox: Sandbox) -> None:
    done = run_tasks(
        """
        options = dict(wait_for_completion=True, deferrable=True, timeout=60)
        pay = WRTriggerRunOperator.partial(task_id="pay", **options).expand(
            component_updates=[[{"component_id": COMPONENT_ID, "config": {"n": n}}] for n in range(3)]
        )

        @task
        def ids(run_ids):
            return sorted(run_ids)

        ids(pay.output)
        """
    )
    assert (done.state, done.errors) == ("success", {})
    assert done.xcoms["ids"]["return_value"] == sorted(run["id"] for run in sandbox.control.runs())
    assert len(sandbox.control.runs()) == 3


def test_a_task_group_mapped_over_params(sandbox: Sandbox) -> None:
    done = run_tasks(
        """
        from airflow.providers.common.compat.sdk import task_group

        @task
        def amounts(params=None):
            return params["amounts"]

        @task_group
        def pay(amount):
            @task
            def updates(amount):
                return [{"component_id": COMPONENT_ID, "config": {"amount": amount}}]

            trigger = WRTriggerRunOperator(task_id="trigger", component_updates=updates(amount))
            WRRunSensor(task_id="wait", run_id=trigger.output, start_from_trigger=True, timeout=60)

        pay.expand(amount=amounts())
        """,
        params='{"amounts": Param([1, 2.5, 3], type="array")}',
    )
    assert (done.state, done.errors) == ("success", {})
    assert len(sandbox.control.runs()) == 3
    assert {run["status"] for run in sandbox.control.runs()} == {"COMPLETED"}
