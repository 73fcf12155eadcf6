"""The data of a run in the asset events of its task; ``e2e/test_observe.py`` reads them from Airflow's API."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import Asset, AssetAlias
from dags.running import run_tasks
from hooks.conftest import Connect, Serve, _no_long_pauses, _quick_server, connect, sandbox, serve  # noqa: F401
from servers import RUN_ID, WORKFLOW_ID

from airflow_provider_wr import asset_events
from airflow_provider_wr.hooks.wr import WRHook
from airflow_provider_wr.models import Run
from airflow_provider_wr.sandbox.server import Sandbox

EVENT = "context['outlet_events'][Asset('x-wr://payments')]"
OPTIONS = (
    "timeout=20, outlets=[Asset('x-wr://payments')], "
    f"post_execute=lambda context, result: context['ti'].xcom_push('extra', dict({EVENT}.extra))"
)
WAITING = f"wait_for_completion=True, {OPTIONS}"
TASKS = {
    "the operator": f"WRTriggerRunOperator(task_id='t', {OPTIONS})",
    "the operator, waiting": f"WRTriggerRunOperator(task_id='t', {WAITING})",
    "the operator, deferred": f"WRTriggerRunOperator(task_id='t', deferrable=True, {WAITING})",
    "the sensor": f"WRRunSensor(task_id='t', run_id=@, poke_interval=0.05, {OPTIONS})",
    "the sensor, deferred": f"WRRunSensor(task_id='t', run_id=@, deferrable=True, {OPTIONS})",
    "reading a run": f"WRGetRunOperator(task_id='t', run_id=@, {OPTIONS.removeprefix('timeout=20, ')})",
}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.usefixtures("airflow_db")
def test_an_asset_event_describes_the_run(sandbox: Sandbox, connect: Connect, task: str) -> None:  # noqa: F811
    connect(sandbox.url, api_key=sandbox.api_key)
    ended = task != "the operator"
    starts = "operator" in task
    with WRHook() as hook:
        run_id = "" if starts else hook.wait_for_run(hook.trigger_run().run_id).id
    done = run_tasks(TASKS[task].replace("@", repr(run_id)))
    assert done.states == {"t": "success"}
    extra = done.xcoms["t"]["extra"]
    assert extra.pop("dag_run_id").startswith("manual__")
    assert extra.pop("triggered_by") in (None, "dag_test")  # None below Airflow 3.1
    assert extra == {
        "wr_run_id": sandbox.control.runs()[-1]["id"],
        "wr_workflow_id": WORKFLOW_ID if starts else None,
        "wr_status": "COMPLETED" if ended else None,
        "wr_credits": 14 if ended else None,
        "dag_run_type": "manual",
    }


class OutletEvents:
    """Airflow's, by the assets' URIs: not every Airflow can hash an asset."""

    def __init__(self, **extra: Any) -> None:
        self.of: dict[str, SimpleNamespace] = {"x-wr://payments": SimpleNamespace(extra=extra)}

    def __getitem__(self, asset: Any) -> SimpleNamespace:
        return self.of[asset.uri]


def test_what_the_author_said_stays_and_what_the_api_said_can_be_stored() -> None:
    asset = Asset("x-wr://payments")
    events = OutletEvents(wr_status="mine", note=1)
    dag_run = SimpleNamespace(run_id="r", run_type="scheduled", triggering_user_name="ada")
    context: Any = {"dag_run": dag_run, "outlet_events": events}
    run = Run.from_json({"id": RUN_ID, "status": "NEW\0", "totalUsage": 2.5})
    asset_events.describe(context, [asset, AssetAlias("any")], RUN_ID, workflow_id="\ud800", run=run)
    assert events.of["x-wr://payments"].extra == {
        "wr_run_id": RUN_ID,
        "wr_workflow_id": "\ufffd",
        "wr_status": "mine",
        "wr_credits": 2.5,
        "dag_run_id": "r",
        "dag_run_type": "scheduled",
        "triggered_by": "ada",
        "note": 1,
    }


def test_a_task_without_outlets_asks_airflow_nothing() -> None:
    asset_events.describe({}, [], RUN_ID, workflow_id=None)  # type: ignore[typeddict-item]
