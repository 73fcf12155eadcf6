"""A stream that reports the end of what still runs: whose event may wake a worker, and how often."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_3_PLUS
from hooks.conftest import Serve
from servers import RUN_ID, STREAM_HEAD, Peer, Request, event, run

from airflow_provider_wr.operators.start import StartOperator
from airflow_provider_wr.sensors.wait import WaitSensor

from .running import run_tasks

pytestmark = pytest.mark.usefixtures("airflow_db")

START = "start_from_trigger=True"

TASKS = {
    "operator": "WRTriggerRunOperator(workflow_id=WORKFLOW_ID, wait_for_completion=True, @)",
    "sensor": "WRRunSensor(run_id=RUN_ID, @)",
    "sensor that starts in the triggerer": f"WRRunSensor(run_id=RUN_ID, {START}, @)",
    "operator of a component": "WRExecuteComponentOperator(module='RANDOM_UUID', wait_ms=0, @)",
    "sensor of an execution": "WRComponentExecutionSensor(execution_id=RUN_ID, @)",
}

#: Reads that show no end: of the first worker, of the trigger, and of the worker that the trigger wakes too early.
#: Then of the second trigger, which checks what the stream reports.
UNFINISHED = 5


def execution(status: str) -> dict[str, Any]:
    return {"id": RUN_ID, "status": status}


@pytest.fixture
def resumed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the tasks that resumed in a worker, in their order."""
    found: list[str] = []

    def count(kind: Any) -> None:
        resume: Callable[..., Any] = kind.execute_complete

        def execute_complete(self: Any, context: Any, event: Any) -> Any:
            found.append(self.task_id)
            return resume(self, context, event)

        monkeypatch.setattr(kind, "execute_complete", execute_complete)

    count(StartOperator)
    count(WaitSensor)
    return found


@pytest.mark.parametrize("task", TASKS)
def test_only_the_first_early_report_wakes_a_worker(serve: Serve, resumed: list[str], task: str) -> None:
    if START in TASKS[task] and not AIRFLOW_V_3_3_PLUS:
        pytest.skip("Airflow can start a task in the triggerer from 3.3 on")
    reads = streams = 0

    def script(request: Request, peer: Peer) -> None:
        nonlocal reads, streams
        is_run = "components" not in request.target
        if request.method == "POST":
            peer.answer(201, {"runId": RUN_ID, "jobId": "bull-1"} if is_run else execution("EXECUTING"))
        elif request.is_stream:
            streams += 1
            data = f"data: {json.dumps(execution('COMPLETED'))}\n\n"
            peer.send(STREAM_HEAD, event("COMPLETED") if is_run else data)
            peer.hang()
        else:
            reads += 1
            status = "EXECUTING" if reads <= UNFINISHED else "COMPLETED"
            peer.answer(200, run(status) if is_run else execution(status))

    serve(script)
    done = run_tasks(TASKS[task].replace("@", "task_id='t', deferrable=True, timeout=30"))
    assert (done.states, done.tries) == ({"t": "success"}, {"t": 1})
    assert resumed == ["t", "t"]
    assert streams == 2
