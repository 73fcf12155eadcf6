"""Spans and metrics of a wait; ``e2e/test_observe.py`` has them from a real Airflow, over real sockets."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from dags.running import run_tasks
from hooks.conftest import Connect, Serve, _no_long_pauses, _quick_server, connect, sandbox, serve  # noqa: F401
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from servers import RUN_ID, STREAM_HEAD, WORKFLOW_ID, Peer, Request, ending, run

from airflow_provider_wr import observability
from airflow_provider_wr.exceptions import WRCreditLimitError, WRTimeoutError, WRTriggerUnknownError
from airflow_provider_wr.hooks.wr import WRAsyncHook, WRHook
from airflow_provider_wr.models import Run
from airflow_provider_wr.observability import MAX_STAGES, Wait
from airflow_provider_wr.sandbox.server import Sandbox
from airflow_provider_wr.triggers.wr import WRRunTrigger

Metric = tuple[str, str, Any, dict[str, str]]


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Metric]]:
    """What Airflow's ``Stats`` is given."""
    from airflow.providers.common.compat import sdk

    sent: list[Metric] = []

    class Stats:
        @staticmethod
        def incr(name: str, count: float, *, tags: dict[str, str]) -> None:
            sent.append(("incr", name, count, tags))

        @staticmethod
        def timing(name: str, dt: timedelta, *, tags: dict[str, str]) -> None:
            sent.append(("timing", name, dt, tags))

    monkeypatch.setattr(sdk, "Stats", Stats, raising=False)
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "True")
    monkeypatch.setenv("AIRFLOW_CTX_DAG_ID", "pay_suppliers")
    known = observability._stats
    known.cache_clear()
    yield sent
    known.cache_clear()


class Spans:
    """The spans that ended, in a tracer of our own: OpenTelemetry lets nobody replace the process's."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.threads: dict[str, threading.Thread] = {}
        self.provider.add_span_processor(self._Threads(self.threads))

    class _Threads(SpanProcessor):
        def __init__(self, threads: dict[str, threading.Thread]) -> None:
            self._threads = threads

        def on_start(self, span: Any, parent_context: Any = None) -> None:
            self._threads[span.name] = threading.current_thread()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self._exporter.get_finished_spans() if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spans]:
    """Where spans go, with one of Airflow's for the task around."""
    spans = Spans()
    monkeypatch.setattr(trace, "get_tracer", spans.provider.get_tracer)
    with spans.provider.get_tracer("airflow").start_as_current_span("worker.pay"):
        yield spans


def a_run(status: str = "COMPLETED", **fields: Any) -> Run:
    return Run.from_json(run(status, **fields))


def a_stage(number: int, status: str = "COMPLETED", **fields: Any) -> dict[str, Any]:
    return {"id": f"s{number}", "module": "X", "status": status, "updatedAt": "2026-01-01T00:00:02Z", **fields}


# --- spans ------------------------------------------------------------------------------------------------


def test_a_run_is_a_span_with_its_own_times(spans: Spans) -> None:
    Wait("run", RUN_ID, WORKFLOW_ID).ended(a_run(updatedAt="2026-01-01T00:00:05.250Z", totalUsage=2.5))
    span = spans.one("wr.run")
    assert span.attributes == {
        "wr.run.id": RUN_ID,
        "wr.run.status": "COMPLETED",
        "wr.run.credits": 2.5,
        "wr.workflow.id": WORKFLOW_ID,
    }
    assert span.parent is not None
    assert span.parent.span_id == trace.get_current_span().get_span_context().span_id
    assert (span.start_time, span.end_time) == (1767225600 * 10**9, 1767225605250 * 10**6)
    assert span.status.status_code is trace.StatusCode.UNSET


def test_a_run_that_says_nothing_of_its_times_has_those_of_the_wait(spans: Spans) -> None:
    Wait("run", RUN_ID, started_at=1000.0).ended(a_run(createdAt=None, updatedAt="soon", totalUsage=None))
    span = spans.one("wr.run")
    assert span.start_time == 1000 * 10**9
    assert span.end_time is not None
    assert span.end_time > 1767225600 * 10**9
    assert span.attributes == {"wr.run.id": RUN_ID, "wr.run.status": "COMPLETED"}


def test_a_stage_is_a_span_with_its_own_times_and_without_its_outputs(spans: Spans) -> None:
    told = {"output": {"secret": 1}, "error": {"message": "secret"}}
    stages = [
        a_stage(1, executionDispatchedAt="2026-01-01T00:00:01Z", creditUsage="1.5", executionAttempt=2, **told),
        a_stage(2, "FAILED", **told),
        a_stage(3, updatedAt=None),
    ]
    Wait("run", RUN_ID).ended(a_run("FAILED", runStages=stages))
    second, first = spans.named("X")
    whole = spans.one("wr.run")
    assert first.attributes == {
        "wr.stage.id": "s1",
        "wr.stage.module": "X",
        "wr.stage.status": "COMPLETED",
        "wr.stage.credits": 1.5,
        "wr.stage.attempt": 2,
        "wr.stage.start_known": True,
    }
    assert (first.start_time, first.end_time) == (1767225601 * 10**9, 1767225602 * 10**9)
    # Where the start is not known, no duration is invented.
    assert second.start_time == second.end_time == 1767225602 * 10**9
    assert second.attributes is not None
    assert second.attributes["wr.stage.start_known"] is False
    assert [each.status.status_code.name for each in (first, second, whole)] == ["UNSET", "ERROR", "ERROR"]
    assert {each.parent and each.parent.span_id for each in (first, second)} == {whole.context.span_id}
    assert "secret" not in "".join(each.to_json() for each in (first, second, whole))


def test_of_many_stages_some_are_spans_and_the_failed_ones_first(spans: Spans) -> None:
    stages = [a_stage(number, "FAILED" if number >= 5000 else "COMPLETED") for number in range(5010)]
    Wait("run", RUN_ID).ended(a_run("FAILED", runStages=stages))
    shown = [span.attributes["wr.stage.status"] for span in spans.named("X") if span.attributes]
    assert shown == ["FAILED"] * 10 + ["COMPLETED"] * (MAX_STAGES - 10)
    assert (spans.one("wr.run").attributes or {})["wr.stages"] == 5010


def test_values_from_the_api_can_be_exported(spans: Spans) -> None:
    """Protobuf holds no half of a surrogate pair and no whole number beyond 64 bits: one would cost the batch."""
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

    stage = a_stage(1, module="\ud800\n" + "x" * 9999, creditUsage=2**80, executionAttempt=2**80, updatedAt=1e300)
    Wait("run", "\ud800", "\ud800").ended(
        a_run(totalUsage=2**80, createdAt=-5, runStages=[stage, a_stage(2, id=5)])
    )
    assert encode_spans(spans.named("wr.run") + spans.named("X")).SerializeToString()


def test_a_wait_that_fails_is_a_span_too(spans: Spans) -> None:
    Wait("execution", RUN_ID).failed("WRTimeoutError")
    span = spans.one("wr.component")
    assert span.attributes == {"wr.component.id": RUN_ID, "wr.component.error": "WRTimeoutError"}
    assert (span.status.status_code, span.status.description) == (trace.StatusCode.ERROR, "WRTimeoutError")


def test_monitoring_that_fails_fails_no_wait(
    spans: Spans, metrics: list[Metric], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("no collector")

    monkeypatch.setattr(trace, "get_tracer", fail)
    monkeypatch.setattr(observability, "_stats", fail)
    Wait("run", RUN_ID).ended(a_run())
    assert "OpenTelemetry could not record the span" in caplog.text
    assert "Airflow could not send the metric wr.run.ended" in caplog.text


# --- metrics ----------------------------------------------------------------------------------------------


def test_the_metrics_of_a_run_that_ended(metrics: list[Metric]) -> None:
    Wait("run", RUN_ID, WORKFLOW_ID, started_at=0).ended(a_run("FAILED", totalUsage=2.5))
    tags = {"dag_id": "pay_suppliers", "workflow": WORKFLOW_ID, "status": "FAILED"}
    (*counters, (kind, name, waited, waited_tags)) = metrics
    assert counters == [("incr", "wr.run.ended", 1, tags), ("incr", "wr.run.credits", 2.5, tags)]
    assert (kind, name, waited_tags) == ("timing", "wr.run.wait", tags)
    assert waited > timedelta(days=365)


@pytest.mark.parametrize("credits", [None, 0, -1])
def test_without_credits_none_are_counted(metrics: list[Metric], credits: float | None) -> None:
    Wait("run", RUN_ID).ended(a_run(totalUsage=credits))
    assert [name for _, name, *_ in metrics] == ["wr.run.ended", "wr.run.wait"]
    assert metrics[0][3]["workflow"] == "unknown"


async def test_a_trigger_names_its_dag_and_no_other_triggers(metrics: list[Metric]) -> None:
    import asyncio

    async def wait(dag_id: str) -> None:
        observability.set_dag(dag_id)
        await asyncio.sleep(0)
        Wait("run", RUN_ID).reconnected()

    await asyncio.gather(asyncio.create_task(wait("one")), asyncio.create_task(wait("two")))
    assert [(name, tags["dag_id"]) for _, name, _, tags in metrics] == [
        ("wr.run.reconnects", "one"),
        ("wr.run.reconnects", "two"),
    ]


@pytest.mark.parametrize("monitored", ["metrics", "spans"])
async def test_a_trigger_that_reports_the_end_reads_it_first(
    request: pytest.FixtureRequest,
    serve: Serve,  # noqa: F811
    monitored: str,
) -> None:
    reported: Any = request.getfixturevalue(monitored)
    server = serve(ending(totalUsage=7))
    (end,) = [each async for each in WRRunTrigger(run_id=RUN_ID, confirm_end=False).run()]
    assert end.payload["error"] is None
    assert server.count(lambda request: not request.is_stream) == 2
    if monitored == "metrics":
        assert ("incr", "wr.run.credits", 7) in [each[:3] for each in reported]
    if monitored == "spans":
        assert (reported.one("wr.run").attributes or {})["wr.run.credits"] == 7


# --- the hooks --------------------------------------------------------------------------------------------


def reading(status: str, after: int) -> Any:
    """Return a server whose run has this status from a number of reads on."""
    reads = 0

    def script(request: Request, peer: Peer) -> None:
        nonlocal reads
        if request.is_trigger:
            peer.answer(201, {"runId": RUN_ID, "jobId": "bull-1"})
        elif request.is_stream:
            peer.send(STREAM_HEAD)
            peer.close()
        else:
            reads += 1
            peer.answer(200, run(status if reads > after else "EXECUTING"))

    return script


REPORTED = ["wr.run.started", "wr.run.reconnects", "wr.run.ended", "wr.run.credits", "wr.run.wait"]


def test_a_hook_reports_what_it_starts_and_waits_for(
    metrics: list[Metric],
    spans: Spans,
    serve: Serve,  # noqa: F811
) -> None:
    serve(reading("COMPLETED", after=2))
    with WRHook(workflow_id=WORKFLOW_ID) as hook:
        hook.wait_for_run(hook.trigger_run().run_id)
    assert [name for _, name, *_ in metrics] == REPORTED
    assert {tags["workflow"] for *_, tags in metrics} == {WORKFLOW_ID}
    assert (spans.one("wr.run").attributes or {})["wr.workflow.id"] == WORKFLOW_ID


async def test_the_async_hook_reports_the_same(
    metrics: list[Metric],
    spans: Spans,
    serve: Serve,  # noqa: F811
) -> None:
    serve(reading("COMPLETED", after=2))
    async with WRAsyncHook(workflow_id=WORKFLOW_ID) as hook:
        await hook.wait_for_run((await hook.trigger_run()).run_id)
    # Not in the loop's thread: building the stages takes a while.
    assert spans.threads["wr.run"] is not threading.current_thread()
    assert [name for _, name, *_ in metrics] == REPORTED
    assert {tags["workflow"] for *_, tags in metrics} == {WORKFLOW_ID}
    assert (spans.one("wr.run").attributes or {})["wr.workflow.id"] == WORKFLOW_ID


def test_an_execution_of_a_component_is_reported_by_its_module(
    metrics: list[Metric],
    spans: Spans,
    sandbox: Sandbox,  # noqa: F811
    connect: Connect,  # noqa: F811
) -> None:
    connect(sandbox.url, api_key=sandbox.api_key)
    with WRHook() as hook:
        execution = hook.wait_for_execution(hook.execute_component("RANDOM_UUID").id)
    assert [name for _, name, *_ in metrics if name != "wr.component.credits"] == [
        *("wr.component.started", "wr.component.ended", "wr.component.wait")
    ]
    assert {tags["module"] for *_, tags in metrics} == {"RANDOM_UUID"}
    assert not [tags for *_, tags in metrics if "workflow" in tags]
    told = spans.one("wr.component").attributes or {}
    assert (told["wr.component.id"], told["wr.component.module"]) == (execution.id, "RANDOM_UUID")
    assert told["wr.component.status"] == "COMPLETED"
    assert "wr.workflow.id" not in told


def test_a_wait_that_ends_otherwise_is_reported_by_its_error(metrics: list[Metric], serve: Serve) -> None:  # noqa: F811
    def script(request: Request, peer: Peer) -> None:
        if request.is_stream:
            peer.send(STREAM_HEAD)
        else:
            peer.answer(200, run(totalUsage=5))

    serve(script)
    with WRHook() as hook:
        with pytest.raises(WRTimeoutError):
            hook.wait_for_run(RUN_ID, timeout=0.1)
        with pytest.raises(WRCreditLimitError):
            hook.wait_for_run(RUN_ID, max_credits=1)
    assert [(name, tags["status"]) for _, name, _, tags in metrics] == [
        ("wr.run.wait", "WRTimeoutError"),
        ("wr.run.wait", "WRCreditLimitError"),
    ]


def test_a_trigger_in_doubt_is_counted(metrics: list[Metric], sandbox: Sandbox, connect: Connect) -> None:  # noqa: F811
    connect(sandbox.url, api_key=sandbox.api_key)
    sandbox.control.fault("trigger", reset=True)
    with WRHook() as hook, pytest.raises(WRTriggerUnknownError):
        hook.trigger_run()
    assert [name for _, name, *_ in metrics] == ["wr.run.trigger_unknown"]


# --- operators and sensors --------------------------------------------------------------------------------

TASKS = {
    "poke": "WRRunSensor(task_id='t', run_id=RUN_ID, poke_interval=0.05, timeout=@)",
    "deferred sensor": "WRRunSensor(task_id='t', run_id=RUN_ID, poke_interval=0.05, timeout=@, deferrable=True)",
    "operator": "WRTriggerRunOperator(task_id='t', workflow_id=WORKFLOW_ID, wait_for_completion=True, timeout=@)",
    "deferred operator": (
        "WRTriggerRunOperator(task_id='t', workflow_id=WORKFLOW_ID, wait_for_completion=True, timeout=@, "
        "deferrable=True)"
    ),
}


@pytest.mark.usefixtures("airflow_db")
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("status", ["COMPLETED", "FAILED"])
@pytest.mark.parametrize("after", [0, 2], ids=["ended before", "waits"])
def test_each_mode_reports_the_end_once(
    metrics: list[Metric],
    serve: Serve,  # noqa: F811
    task: str,
    status: str,
    after: int,
) -> None:
    serve(reading(status, after))
    run_tasks(TASKS[task].replace("@", "20"))
    ended = [(name, tags["status"]) for _, name, _, tags in metrics if "status" in tags]
    assert ended == [("wr.run.ended", status), ("wr.run.credits", status), ("wr.run.wait", status)]


@pytest.mark.usefixtures("airflow_db")
@pytest.mark.parametrize("how", ["wait_ms=0", "wait_ms=0, deferrable=True", "wait_ms=15000"])
def test_the_operator_for_a_component_reports_the_end_once(
    metrics: list[Metric],
    sandbox: Sandbox,  # noqa: F811
    connect: Connect,  # noqa: F811
    how: str,
) -> None:
    connect(sandbox.url, api_key=sandbox.api_key)
    run_tasks(f"WRExecuteComponentOperator(task_id='t', module='RANDOM_UUID', timeout=20, {how})")
    names = [name for _, name, *_ in metrics if name not in ("wr.component.credits", "wr.component.reconnects")]
    assert names == ["wr.component.started", "wr.component.ended", "wr.component.wait"]


@pytest.mark.usefixtures("airflow_db")
@pytest.mark.parametrize("task", ["poke", "operator"])
def test_a_wait_in_a_worker_reports_that_its_time_ran_out(
    metrics: list[Metric],
    serve: Serve,  # noqa: F811
    task: str,
) -> None:
    serve(reading("COMPLETED", 10**6))
    run_tasks(TASKS[task].replace("@", "0.3"))
    ended = [(name, tags["status"]) for _, name, _, tags in metrics if "status" in tags]
    assert ended == [("wr.run.wait", "WRTimeoutError")]


# --- off --------------------------------------------------------------------------------------------------


def test_where_monitoring_is_off_nothing_is_imported_and_nothing_sent() -> None:
    code = f"""
import os, sys
for name in list(os.environ):
    if name.startswith(("AIRFLOW__METRICS", "AIRFLOW__TRACES", "OTEL_")):
        del os.environ[name]
from airflow.providers.common.compat.sdk import BaseHook, conf
from airflow_provider_wr.models import Run
from airflow_provider_wr.observability import Wait, triggering
before = set(sys.modules)
wait = Wait("run", {RUN_ID!r})
with triggering("run", None):
    wait.reconnected()
wait.ended(Run.from_json({run("COMPLETED")!r}))
wait.failed("WRTimeoutError")
print(sorted(set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
