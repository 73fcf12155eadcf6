"""The provider works without OpenLineage's provider, as in the environment of these tests."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import pytest

from airflow_provider_wr.sandbox.server import Sandbox
from dags.running import run_tasks

pytestmark = pytest.mark.usefixtures("airflow_db")


def test_every_task_that_knows_a_run_does_without(sandbox: Sandbox) -> None:
    assert find_spec("openlineage") is None  # tests/package has an environment with it
    done = run_tasks(
        """
        trigger = WRTriggerRunOperator(task_id="trigger", wait_for_completion=True, deferrable=True)
        wait = WRRunSensor(task_id="wait", run_id=trigger.output)
        wait >> WRGetRunOperator(task_id="read", run_id=trigger.output)
        """
    )
    assert (done.state, done.errors) == ("success", {})
    assert "airflow_provider_wr.openlineage" in sys.modules
    assert "airflow_provider_wr.openlineage_facet" not in sys.modules
