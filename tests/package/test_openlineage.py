"""
The events that OpenLineage's provider sends from a real Airflow to our server.

In an environment of its own: with its listener installed Airflow itself behaves otherwise (``end_from_trigger``),
and all other tests are to run without.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from docs.blocks import blocks
from environments import ROOT, CleanEnvironment
from servers import RawServer

from airflow_provider_wr import __version__
from airflow_provider_wr.hooks.wr import WRHook
from airflow_provider_wr.models import Run, StageStatus
from airflow_provider_wr.sandbox.server import Sandbox
from airflow_provider_wr.sandbox.workflow import API_KEY
from dev.local_airflow import LocalAirflow

from .conftest import Built

DAGS = Path(__file__).parent / "dags"
FACET = "whiteRabbit_run"
OUTPUT = "an output that nobody else should see"

#: How the runs go, by the DAG: the configs of their components. They go on for a while: where a trigger fires
#: before the scheduler has seen that its task deferred, the scheduler fails the task.
CONFIGS: dict[str, dict[str, dict[str, Any]]] = {
    "completes": {"Quote": {"seconds": 40, "note": OUTPUT}},
    "fails": {"Quote": {"seconds": 40}, "Notify": {"failWith": "no funds"}},
    "goes_on": {"Quote": {"seconds": 600}},
}
FAN_OUT = {"Suppliers": {"count": 150}, "Payment": {"seconds": 0}}

SENSORS = ("sensor_in_worker", "sensor_deferred")
OPERATORS = ("operator_in_worker", "operator_deferred")

#: OpenLineage's event type at the end of each task.
ENDS = {
    "completes": dict.fromkeys(("sensor_end_from_trigger", *SENSORS, *OPERATORS), "COMPLETE"),
    "fails": dict.fromkeys(SENSORS + OPERATORS, "FAIL"),
    "goes_on": {
        **dict.fromkeys(SENSORS, "FAIL"),
        **dict.fromkeys(("sensor_skipped", "trigger", "get_run", "broken"), "COMPLETE"),
    },
}
WAITS = [(dag_id, task_id) for dag_id in ("completes", "fails") for task_id in ENDS[dag_id]]


@dataclass(frozen=True)
class Sent:
    """The events that OpenLineage sent, and their runs."""

    bodies: list[bytes]
    runs: dict[str, dict[str, Run]]
    """By DAG and id; the first of each DAG is the one that its sensors wait for."""

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(body) for body in self.bodies]

    def end(self, dag_id: str, task_id: str) -> dict[str, Any]:
        """Return the event of the task's end."""
        (event,) = (event for event in self.events if ended(event) == f"{dag_id}.{task_id}")
        return event

    def facet(self, dag_id: str, task_id: str) -> dict[str, Any]:
        """Return our facet of the event of the task's end."""
        facet: dict[str, Any] = self.end(dag_id, task_id)["run"]["facets"][FACET]
        return facet

    def run_of(self, dag_id: str, task_id: str) -> Run:
        """Return the run that the facet names."""
        return self.runs[dag_id][self.facet(dag_id, task_id)["runId"]]


def ended(event: dict[str, Any]) -> str | None:
    """Return the job name of an event at the end of a task."""
    return event["job"]["name"] if event["eventType"] in ("COMPLETE", "FAIL") else None


@pytest.fixture(scope="module")
def environment(built: Built, tmp_path_factory: pytest.TempPathFactory) -> CleanEnvironment:
    """An environment with the wheel and OpenLineage's provider."""
    return CleanEnvironment.make(tmp_path_factory.mktemp("openlineage"), f"{built.wheel}[openlineage]")


@pytest.fixture(scope="module")
def sent(environment: CleanEnvironment) -> Iterator[Sent]:
    """The events of one run of each DAG."""
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        receiver = stack.enter_context(RawServer(lambda request, peer: peer.answer(200, {})))
        sandboxes = {dag_id: stack.enter_context(Sandbox()) for dag_id in CONFIGS}
        connections = {f"AIRFLOW_CONN_WR_{d.upper()}": json.dumps(s.connection) for d, s in sandboxes.items()}
        for name, connection in connections.items():
            patch.setenv(name, connection)
        settings = {
            **connections,
            "AIRFLOW__CORE__PARALLELISM": "16",  # a slot for each
            "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps({"type": "http", "url": receiver.url}),
            "AIRFLOW__OPENLINEAGE__EXECUTION_TIMEOUT": "60",  # timeout in seconds for an event, on a busy machine
            "AIRFLOW__OPENLINEAGE__INCLUDE_FULL_TASK_INFO": "True",  # all attributes of an operator go into events
        }
        command = [str(environment.program("airflow"))]
        with LocalAirflow(environment.folder / "home", DAGS, env=settings, command=command) as airflow:
            airflow.wait_ready(240)
            dag_runs = {d: airflow.trigger(d, {"run_id": start_run(d, s)}) for d, s in sandboxes.items()}
            states = {dag_id: airflow.wait_for_dag_run(dag_id, run, 240) for dag_id, run in dag_runs.items()}
            assert states == {"completes": "success", "fails": "failed", "goes_on": "failed"}
            # A task has its state before its listeners are called.
            expected = {f"{dag_id}.{task_id}" for dag_id, tasks in ENDS.items() for task_id in tasks}
            receiver.wait_for(lambda: expected <= {ended(json.loads(each.body)) for each in receiver.requests})
        yield Sent([each.body for each in receiver.requests], {d: runs_of(d, s) for d, s in sandboxes.items()})


def start_run(dag_id: str, sandbox: Sandbox) -> str:
    with WRHook(f"wr_{dag_id}") as hook:
        for name, config in {**CONFIGS[dag_id], **FAN_OUT}.items():
            hook.update_component(sandbox.components[name], config=config)
        return hook.trigger_run().run_id


def runs_of(dag_id: str, sandbox: Sandbox) -> dict[str, Run]:
    with WRHook(f"wr_{dag_id}") as hook:
        return {run["id"]: hook.get_run(run["id"]) for run in sandbox.control.runs()}


@pytest.mark.parametrize("dag_id", ENDS)
def test_every_end_is_reported_once(sent: Sent, dag_id: str) -> None:
    assert {task_id: sent.end(dag_id, task_id)["eventType"] for task_id in ENDS[dag_id]} == ENDS[dag_id]


@pytest.mark.parametrize(("dag_id", "task_id"), WAITS)
def test_a_run_that_was_waited_for(sent: Sent, dag_id: str, task_id: str) -> None:
    facet, run = sent.facet(dag_id, task_id), sent.run_of(dag_id, task_id)
    assert (facet["status"], facet["totalUsage"]) == (run.status, run.total_usage)
    assert run.status == {"completes": "COMPLETED", "fails": "FAILED"}[dag_id]
    failed_first = [*run.failed_stages, *(each for each in run.stages if each.status != StageStatus.FAILED)]
    assert facet["stages"] == [
        {
            "id": stage.id,
            "module": stage.module,
            "status": stage.status,
            "creditUsage": stage.credit_usage,
            "executionAttempt": stage.execution_attempt,
        }
        for stage in failed_first[:100]
    ]


@pytest.mark.parametrize("dag_id", ["completes", "fails"])
def test_each_task_reports_its_own_run(sent: Sent, dag_id: str) -> None:
    waited_for, *started = sent.runs[dag_id]
    assert {sent.facet(dag_id, task_id)["runId"] for task_id in SENSORS} == {waited_for}
    assert sorted(sent.facet(dag_id, task_id)["runId"] for task_id in OPERATORS) == sorted(started)


@pytest.mark.parametrize("dag_id", ["completes", "fails"])
def test_the_task_that_started_the_run_reports_its_workflow(sent: Sent, dag_id: str) -> None:
    assert {sent.facet(dag_id, task_id)["workflowId"] for task_id in OPERATORS} == {Sandbox.workflow_id}
    assert [task_id for task_id in SENSORS if "workflowId" in sent.facet(dag_id, task_id)] == []


def test_a_fan_out_is_counted_whole_and_listed_in_part(sent: Sent) -> None:
    facet = sent.facet("fails", "sensor_deferred")
    assert (facet["stageCounts"], len(facet["stages"])) == ({"COMPLETED": 153, "FAILED": 1}, 100)


@pytest.mark.parametrize("task_id", [*SENSORS, "sensor_skipped"])
def test_a_run_that_keeps_running_after_a_timeout(sent: Sent, task_id: str) -> None:
    waited_for, _ = sent.runs["goes_on"]
    assert own(sent.facet("goes_on", task_id)) == {"runId": waited_for}


def test_a_run_that_was_only_started(sent: Sent) -> None:
    _, started = sent.runs["goes_on"]
    assert own(sent.facet("goes_on", "trigger")) == {"runId": started, "workflowId": Sandbox.workflow_id}


def test_a_run_that_was_only_read(sent: Sent) -> None:
    facet = sent.facet("goes_on", "get_run")
    assert (facet["status"], facet["totalUsage"]) == ("EXECUTING", 0)
    assert facet["stageCounts"] == {"RUNNING": 1, "CREATED": 3}


def test_a_task_that_starts_or_resumes_reports_nothing(sent: Sent) -> None:
    starts = [event for event in sent.events if event["eventType"] == "START"]
    begun = Counter(event["job"]["name"] for event in starts)
    assert (begun["completes.operator_in_worker"], begun["completes.operator_deferred"]) == (1, 2)
    assert [event for event in starts if FACET in event["run"]["facets"]] == []


def test_a_failed_report_does_not_affect_the_task(sent: Sent) -> None:
    assert FACET not in sent.end("goes_on", "broken")["run"]["facets"]


def test_the_facet_has_its_producer(sent: Sent) -> None:
    facet = sent.facet("completes", "sensor_deferred")
    assert facet["_producer"] == f"pkg:pypi/airflow-provider-wr@{__version__}"
    assert facet["_schemaURL"].endswith("/OpenLineage.json#/$defs/RunFacet")


def test_the_page_shows_the_facet_as_it_is(sent: Sent) -> None:
    (block,) = (block for block in blocks(ROOT / "docs" / "lineage.md") if block.language == "json")
    shown, facet = json.loads(block.code)[FACET], sent.facet("fails", "operator_in_worker")
    assert shown.keys() == facet.keys()
    assert shown["stages"][0].keys() == facet["stages"][0].keys()


def test_no_event_holds_an_output_or_the_key(sent: Sent) -> None:
    run = sent.run_of("completes", "sensor_deferred")
    (payment,) = (stage.output["transactionHash"] for stage in run.stages[-2:-1])
    everything = b"\n".join(sent.bodies).decode()
    assert run.id in everything
    assert [each for each in (OUTPUT, payment, API_KEY) if each in everything] == []


def test_a_dag_file_does_not_load_openlineage(environment: CleanEnvironment) -> None:
    parse = "import sys, airflow_provider_wr.operators.wr, airflow_provider_wr.sensors.wr; print(*sys.modules)"
    loaded = environment.run("python", "-c", parse).split()
    assert "airflow_provider_wr.openlineage" in loaded
    heavy = {"openlineage", "airflow.providers.openlineage.extractors", "airflow_provider_wr.openlineage_facet"}
    assert heavy.isdisjoint(loaded)


def own(facet: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facet.items() if not name.startswith("_")}
