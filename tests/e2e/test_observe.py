"""What monitoring, asset events, an approver and the command line see of runs, in an Airflow of their own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from environments import ROOT

from airflow_provider_wr.hooks.wr import WRHook
from airflow_provider_wr.sandbox.server import Sandbox
from dev.local_airflow import COMMAND, LocalAirflow, free_port

from .conftest import EXAMPLES, SETTINGS, new_home
from .dagrun import DagRun, shared_api
from .pictures import draw_terminal, draw_trace
from .receivers import Collector, StatsD, attributes, receivers

DAGS = Path(__file__).parent / "dags_observe"
PICTURES = ROOT / "docs" / "img"

for_the_docs = pytest.mark.skipif(
    not os.environ.get("WR_SCREENSHOTS"), reason="renews a picture of the docs with WR_SCREENSHOTS=1"
)

SENSORS = ("poke", "reschedule", "deferred", "start_from_trigger", "start_and_end_from_trigger")
OPERATORS = ("operator_in_worker", "operator_deferred")
DEFERRED = ("deferred", "start_from_trigger", "start_and_end_from_trigger", "operator_deferred")
MODES = (*SENSORS, *OPERATORS)


@dataclass(frozen=True)
class Observed:
    """An Airflow with monitoring, and a DAG run in it that has ended."""

    airflow: LocalAirflow
    statsd: StatsD
    collector: Collector
    sandbox: Sandbox
    to_approve: Sandbox
    run: DagRun
    doubt: DagRun

    def runs(self, mode: str) -> dict[str, Any]:
        """Return the run that the task of a mode waited for, as its XCom has it."""
        return dict(self.run.xcom(mode, "return_value" if mode in SENSORS else "run"))

    def span(self, mode: str) -> Any:
        """Return the one span of the task's run."""
        run_id = self.runs(mode)["id"]
        tasks = {span.span_id for span in self.collector.spans.values() if is_of(span, mode)}
        (span,) = (
            span
            for span in self.collector.named("wr.run")
            if span.parent_span_id in tasks and attributes(span)["wr.run.id"] == run_id
        )
        return span


def is_of(span: Any, task_id: str) -> bool:
    """Return whether a span is Airflow's own for a task or its trigger; that of one that starts there is long."""
    return span.name in (f"worker.{task_id}", f"trigger.{task_id}") or (
        span.name.startswith("trigger.observe/") and f"/{task_id}/" in span.name
    )


@pytest.fixture(scope="module")
def observed(request: pytest.FixtureRequest) -> Iterator[Observed]:
    port = str(free_port())
    with (
        receivers() as (statsd, collector),
        Sandbox() as sandbox,
        Sandbox() as doubtful,
        Sandbox() as to_approve,
        new_home(request.session) as home,
    ):
        shutil.copytree(DAGS, home / "dags")
        shutil.copy(EXAMPLES / "example_wr_approval.py", home / "dags")
        env = {
            **SETTINGS,
            "AIRFLOW_CONN_WR_OBSERVE": json.dumps(sandbox.connection),
            "AIRFLOW_CONN_WR_DOUBT": json.dumps(doubtful.connection),
            "AIRFLOW_CONN_WR_DEFAULT": json.dumps(to_approve.connection),
            "AIRFLOW__METRICS__STATSD_ON": "True",
            "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
            "AIRFLOW__METRICS__STATSD_PORT": str(statsd.port),
            "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": "True",
            "AIRFLOW__TRACES__OTEL_ON": "True",
            "OTEL_TRACES_EXPORTER": "otlp_proto_http",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "500",
            # As in conftest.py: SQLite, and tasks with an API server of their own.
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db?timeout=30",
        }
        with LocalAirflow(home, home / "dags", env=env) as airflow:
            airflow.start("api-server", "execution-api", "--apps", "execution", "--port", port)
            airflow.wait_ready(240)
            doubtful.control.fault("trigger", reset=True, obey=True)
            doubt = DagRun(airflow, "observe_doubt", run_id=airflow.trigger("observe_doubt", run_id="november"))
            sandbox.control.fault("stream", drop_after=1)
            hold(sandbox, True)
            run = DagRun(airflow, "observe")
            run.wait_until(
                "all wait",
                lambda: (
                    all("EXECUTING | " in run.log_files(mode, 1) for mode in MODES)
                    and set(DEFERRED) <= run.deferred_without_process()
                ),
            )
            hold(sandbox, False)
            assert run.end() == "success"
            assert doubt.end() == "failed"
            observed = Observed(airflow, statsd, collector, sandbox, to_approve, run, doubt)
            run.wait_until("the spans", lambda: len(collector.named("wr.run")) >= len(MODES))
            run.wait_until(
                "those above them",
                lambda: (
                    bool(collector.named("dag_run.observe"))
                    and {span.parent_span_id for span in collector.named("wr.run")} <= collector.spans.keys()
                ),
            )
            yield observed


def hold(sandbox: Sandbox, held: bool) -> None:
    """Hold the first stage of all runs, or let them go on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_WR_OBSERVE", json.dumps(sandbox.connection))
        with WRHook("wr_observe") as hook:
            hook.update_component(sandbox.components["Quote"], config={"hold": held})


# --- traces -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_a_run_is_a_span_under_the_tasks_own(observed: Observed, mode: str) -> None:
    run, span = observed.runs(mode), observed.span(mode)
    assert attributes(span) == {
        "wr.run.id": run["id"],
        "wr.run.status": "COMPLETED",
        "wr.run.credits": 14.0,
        "wr.workflow.id": observed.sandbox.workflow_id,
        "wr.stages": len(run["runStages"]),
    }
    parent = observed.collector.spans[span.parent_span_id]
    assert parent.name.startswith("trigger." if mode in DEFERRED else "worker.")
    (dag_run,) = observed.collector.named("dag_run.observe")
    assert parent.trace_id == span.trace_id == dag_run.trace_id
    assert milliseconds(span) == (run["createdAt"], run["updatedAt"])


@pytest.mark.parametrize("mode", MODES)
def test_each_stage_is_a_span_with_its_own_times(observed: Observed, mode: str) -> None:
    stages = {
        (
            stage["id"],
            stage["module"],
            float(stage["creditUsage"]),
            stage["executionDispatchedAt"],
            stage["updatedAt"],
        )
        for stage in observed.runs(mode)["runStages"]
    }
    spans = observed.collector.under(observed.span(mode))
    assert {
        (
            attributes(span)["wr.stage.id"],
            span.name,
            attributes(span)["wr.stage.credits"],
            *milliseconds(span),
        )
        for span in spans
    } == stages
    assert len(spans) == len(stages) == 9


@for_the_docs
def test_the_picture_of_a_trace(observed: Observed) -> None:
    mode = "operator_deferred"
    span = observed.span(mode)
    (dag_run,) = observed.collector.named("dag_run.observe")
    tasks = observed.collector.named(f"worker.{mode}")
    rows = [
        *((0, each) for each in (dag_run, *tasks)),
        (1, observed.collector.spans[span.parent_span_id]),
        (2, span),
        *((3, stage) for stage in observed.collector.under(span)),
    ]
    (PICTURES / "trace.svg").write_text(draw_trace(rows))


def milliseconds(span: Any) -> tuple[str, str]:
    """Return the start and the end of a span as the API writes them."""
    from datetime import datetime, timezone

    def written(nanoseconds: int) -> str:
        moment = datetime.fromtimestamp(round(nanoseconds / 1e6) / 1000, timezone.utc)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    return written(span.start_time_unix_nano), written(span.end_time_unix_nano)


def test_an_execution_of_a_component_is_a_span_and_is_counted(observed: Observed) -> None:
    record = observed.run.xcom("component", "execution")
    (span,) = observed.collector.named("wr.component")
    told = attributes(span)
    assert (told["wr.component.id"], told["wr.component.module"]) == (record["id"], "RANDOM_UUID")
    assert is_of(observed.collector.spans[span.parent_span_id], "component")
    tags = {"dag_id": "observe", "module": "RANDOM_UUID"}
    assert metrics(observed, "airflow.wr.component.started") == [(tags, 1, "c")]
    assert metrics(observed, "airflow.wr.component.ended") == [({**tags, "status": "COMPLETED"}, 1, "c")]


def test_no_output_is_in_a_trace(observed: Observed) -> None:
    outputs = [stage["output"] for mode in MODES for stage in observed.runs(mode)["runStages"]]
    hashes = [output["transactionHash"] for output in outputs if "transactionHash" in (output or {})]
    text = " ".join(str(span) for span in observed.collector.spans.values())
    assert len(hashes) == 5 * len(MODES)
    assert not [each for each in hashes if each in text]


# --- metrics ----------------------------------------------------------------------------------------------


def metrics(observed: Observed, name: str) -> list[tuple[dict[str, str], float, str]]:
    """Return what was sent of a metric for the DAG of the waits."""
    return [each for each in observed.statsd.metrics(name) if each[0]["dag_id"] == "observe"]


def test_the_metrics_of_runs_that_ended(observed: Observed) -> None:
    tags = {"dag_id": "observe", "workflow": observed.sandbox.workflow_id, "status": "COMPLETED"}
    assert metrics(observed, "airflow.wr.run.ended") == [(tags, 1, "c")] * len(MODES)
    assert metrics(observed, "airflow.wr.run.credits") == [(tags, 14, "c")] * len(MODES)
    waits = metrics(observed, "airflow.wr.run.wait")
    assert [(each, kind) for each, _, kind in waits] == [(tags, "ms")] * len(MODES)
    assert all(1000 < value < 120_000 for _, value, _ in waits)


def test_the_metrics_of_what_was_started(observed: Observed) -> None:
    tags = {"dag_id": "observe", "workflow": observed.sandbox.workflow_id}
    assert metrics(observed, "airflow.wr.run.started") == [(tags, 1, "c")] * (1 + len(OPERATORS))
    assert (tags, 1, "c") in metrics(observed, "airflow.wr.run.reconnects")
    unknown = observed.statsd.metrics("airflow.wr.run.trigger_unknown")
    assert [(each["dag_id"], value) for each, value, _ in unknown] == [("observe_doubt", 1)]


def test_no_metric_has_the_id_of_a_run(observed: Observed) -> None:
    ids = {observed.runs(mode)["id"] for mode in MODES}
    ours = [line for line in observed.statsd.lines if ".wr." in line]
    assert ours
    assert not [line for line in ours if any(each in line for each in ids)]


# --- asset events -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "workflow"), [("operator_deferred", True), ("poke", False)], ids=["the operator", "the sensor"]
)
def test_an_asset_event_tells_of_the_run(observed: Observed, mode: str, workflow: bool) -> None:
    events = shared_api(observed.airflow.url).asset_events("observe", observed.run.run_id)
    (extra,) = (event["extra"] for event in events if event["source_task_id"] == mode)
    assert extra == {
        "wr_run_id": observed.runs(mode)["id"],
        "wr_workflow_id": observed.sandbox.workflow_id if workflow else None,
        "wr_status": "COMPLETED",
        "wr_credits": 14,
        "dag_run_id": observed.run.run_id,
        "dag_run_type": "manual",
        "triggered_by": "Anonymous",
    }


# --- airflow wr doubts ------------------------------------------------------------------------------------


def doubts(observed: Observed, *options: str) -> str:
    """Return what the command prints."""
    command = [*COMMAND, "wr", "doubts", *options]
    done = subprocess.run(command, env=observed.airflow.env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_line_lists_doubts_and_credits(observed: Observed) -> None:
    printed = doubts(observed, "--json")
    report, _ = json.JSONDecoder().raw_decode(printed[printed.index('{\n  "unknown"') :])
    (doubt,) = report["unknown"]
    assert (doubt["dag_id"], doubt["dag_run_id"], doubt["task_state"]) == (
        *("observe_doubt", observed.doubt.run_id),
        "failed",
    )
    assert [each for each in report["unfinished"] if each["dag_id"] == "observe"] == []
    paid = [each for each in report["credits"] if each["dag_id"] == "observe"]
    # One run for all sensors, one for each operator that waits, and an execution of a component.
    execution = observed.run.xcom("component", "execution")
    assert sum(each["credits"] for each in paid) == 14 * (1 + len(OPERATORS)) + execution["totalUsage"]
    assert sum(each["runs"] for each in paid) == 1 + len(OPERATORS) + 1


def test_the_command_line_prints_tables(observed: Observed) -> None:
    printed = doubts(observed)
    assert re.search(
        rf"^Triggers whose outcome is unknown: 1\n.*\n  observe_doubt +{re.escape(observed.doubt.run_id)} ",
        printed,
        re.MULTILINE,
    )
    assert re.search(r"^What this cannot see:$", printed, re.MULTILINE)


@for_the_docs
def test_the_picture_of_a_doubt(observed: Observed) -> None:
    printed = doubts(observed)
    shown = printed[printed.index("Triggers whose") : printed.index("What this cannot see:")].rstrip()
    (PICTURES / "doubts.svg").write_text(draw_terminal(f"$ airflow wr doubts\n{shown}"))


# --- an approval ------------------------------------------------------------------------------------------


def test_what_is_approved_is_what_is_sent_and_nothing_before(observed: Observed) -> None:
    airflow, sandbox = observed.airflow, observed.to_approve
    api = shared_api(airflow.url)
    forged = "```\n\n# Approved by Ada"
    few = DagRun(airflow, "example_wr_approval", suppliers=2, reference=forged)
    many = DagRun(airflow, "example_wr_approval", suppliers=4)
    none = DagRun(airflow, "example_wr_approval", suppliers=6)
    for dag_run in (few, many, none):
        dag_run.wait_for_state("awaiting_input")
    for dag_run in (few, many, none):
        dag_run.wait_until("the question", lambda: dag_run.is_handed_over("approve", 1, "awaiting_input"))  # noqa: B023
    bodies = [api.question("example_wr_approval", each.run_id, "approve")["body"] for each in (few, many)]
    blocks = [re.findall(r"^```json\n(.*?)^```$", body, re.MULTILINE | re.DOTALL) for body in bodies]
    shown = [json.loads(block) for (block,) in blocks]
    assert [updates[0]["config"] for updates in shown] == [
        {"count": 2, "reference": forged},
        {"count": 4, "reference": "November"},
    ]
    assert not any(line.startswith("#") for body in bodies for line in body.splitlines())
    assert [few.workers("approve"), sandbox.control.requests()] == [1, []]

    for dag_run, option in ((few, "Approve"), (many, "Approve"), (none, "Reject")):
        api.answer("example_wr_approval", dag_run.run_id, "approve", option)
    assert [each.end() for each in (few, many, none)] == ["success"] * 3

    # Both were approved at once, and each run had its own updates.
    paid = [[stage["module"] for stage in each.xcom("pay", "run")["runStages"]] for each in (few, many)]
    assert [modules.count("SEND_EVM_TRANSACTION") for modules in paid] == [2, 4]
    assert [task["state"] for task in none.tasks() if task["task_id"] == "pay"] == ["skipped"]
    sent = [request["endpoint"] for request in sandbox.control.requests()]
    assert (sent.count("update"), sent.count("trigger")) == (2, 2)
    assert "Anonymous" in str(few.xcom("approve")["responded_by_user"])
