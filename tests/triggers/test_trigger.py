"""The trigger: one event, whatever happens, which contains no secrets, and no resources left open."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import datetime, timedelta, timezone
from pkgutil import resolve_name
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook, XCom
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_3_PLUS
from airflow.triggers.base import TaskSuccessEvent, TriggerEvent
from hooks.conftest import Connect, Serve
from hooks.test_session import shared
from servers import API_KEY, RUN_ID, STREAM_HEAD, Peer, Request, ending, event, run

from airflow_provider_wr.connection import WRSettings
from airflow_provider_wr.exceptions import WRAuthError, WRNotFoundError, WRTimeoutError, WRValidationError
from airflow_provider_wr.hooks.wr import WRHook
from airflow_provider_wr.sandbox.server import Sandbox
from airflow_provider_wr.triggers.wr import WaitEnd, WRRunTrigger
from airflow_provider_wr.waiting import rules

SECRET_OUTPUT = "an output that nobody should store"


async def fire(trigger: WRRunTrigger) -> Any:
    """Run a trigger to its end, and return the payload of its only event."""
    events = [event async for event in trigger.run()]
    assert len(events) == 1
    return events[0].payload


def start(sandbox: Sandbox, **config: Any) -> str:
    with WRHook() as hook:
        hook.update_component(sandbox.components["Quote"], config=config)
        return hook.trigger_run().run_id


@pytest.mark.parametrize("config", [{"seconds": 1}, {"failWith": "no funds"}, {"cancelRun": "enough"}])
async def test_the_event_reports_the_end_of_the_run_whatever_its_status(
    sandbox: Sandbox, config: dict[str, Any]
) -> None:
    run_id = await asyncio.to_thread(lambda: start(sandbox, **config))
    payload = await fire(WRRunTrigger(run_id=run_id, deadline=time.time() + 20))
    assert WaitEnd.from_event(payload) == WaitEnd(run_id, payload["deadline"], None)
    assert sandbox.control.runs()[0]["status"] in ("COMPLETED", "FAILED", "CANCELED")


def refuse(status: int, message: str = "Invalid API key") -> Any:
    return lambda request, peer: peer.answer(status, {"errors": [{"code": "C", "message": message}]})


@pytest.mark.parametrize(
    ("status", "kind"), [(401, WRAuthError), (403, WRAuthError), (422, WRValidationError), (404, WRNotFoundError)]
)
async def test_the_event_has_the_error(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, status: int, kind: type[Exception]
) -> None:
    monkeypatch.setattr(rules, "NOT_YET_VISIBLE", 0)
    serve(refuse(status))
    payload = await fire(WRRunTrigger(run_id=RUN_ID))
    error = WaitEnd.from_event(payload).error
    assert type(error) is kind
    assert (error.status_code, error.errors) == (status, [{"code": "C", "message": "Invalid API key"}])
    # The worker raises the same error as without deferring.
    with pytest.raises(kind) as caught, WRHook() as hook:
        await asyncio.to_thread(hook.wait_for_run, RUN_ID)
    assert str(error) == str(caught.value)


def endless(request: Request, peer: Peer) -> None:
    if request.is_stream:
        peer.send(STREAM_HEAD, event())
        peer.hang()
    else:
        peer.answer(200, run())


@pytest.mark.parametrize("seconds", [0.3, 0, -1000])
async def test_the_event_reports_a_timeout(serve: Serve, seconds: float) -> None:
    serve(endless)
    started = time.time()
    payload = await fire(WRRunTrigger(run_id=RUN_ID, deadline=started + seconds))
    assert time.time() - started < max(0, seconds) + 0.5
    error = WaitEnd.from_event(payload).error
    assert isinstance(error, WRTimeoutError)
    assert (error.last_status, error.last_known.partition(":")[0]) == (
        "EXECUTING",
        f"run {RUN_ID}, last seen EXECUTING, keeps running",
    )
    assert payload["deadline"] == started + seconds


@pytest.mark.parametrize("aware", [True, False])
async def test_without_a_deadline_airflows_timeout_counts_less_the_grace(serve: Serve, aware: bool) -> None:
    serve(endless)
    trigger = WRRunTrigger(run_id=RUN_ID, grace=60)
    timeout_after = datetime.now(timezone.utc) + timedelta(seconds=60.3)
    trigger.timeout_after = timeout_after if aware else timeout_after.replace(tzinfo=None)
    started = time.time()
    payload = await fire(trigger)
    assert 0.2 < time.time() - started < 0.8
    assert type(WaitEnd.from_event(payload).error) is WRTimeoutError
    assert payload["deadline"] == pytest.approx(timeout_after.timestamp() - 60)


async def test_the_deadline_is_absolute_for_the_triggerer_that_takes_over(serve: Serve) -> None:
    serve(endless)
    trigger = WRRunTrigger(run_id=RUN_ID, deadline=time.time() + 0.8)
    await asyncio.sleep(0.5)
    _, kwargs = trigger.serialize()
    started = time.time()
    await fire(WRRunTrigger(**kwargs))
    assert time.time() - started < 0.6


async def test_an_exception_that_is_not_ours_is_left_to_airflow(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(conn_id: str, **options: Any) -> WRSettings:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(WRSettings, "load", fail)
    with pytest.raises(ZeroDivisionError):
        await fire(WRRunTrigger(run_id=RUN_ID))
    assert shared() == set()


async def test_an_unknown_connection_is_left_to_airflow() -> None:
    with pytest.raises(Exception, match="wr_nowhere"):
        await fire(WRRunTrigger(run_id=RUN_ID, wr_conn_id="wr_nowhere", grace=60))
    assert shared() == set()


async def test_a_connection_that_the_worker_has_found_is_waited_for(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow 3 reports "not defined" for a failed lookup: the wait continues."""
    serve(lambda request, peer: _completed(request, peer, {"id": "1", "module": "M", "status": "COMPLETED"}))
    look_up = BaseHook.get_connection
    errors: list[Exception] = [AirflowNotFoundException("isn't defined"), RuntimeError("503")]

    def get_connection(conn_id: str) -> Any:
        if errors:
            raise errors.pop()
        return look_up(conn_id)

    monkeypatch.setattr(BaseHook, "get_connection", get_connection)
    payload = await fire(WRRunTrigger(run_id=RUN_ID, deadline=time.time() + 20))
    assert WaitEnd.from_event(payload).error is None
    assert errors == []


@pytest.mark.parametrize("late", [1, 86400])
async def test_a_triggerer_that_was_down_past_the_deadline_looks_once(serve: Serve, late: float) -> None:
    server = serve(lambda request, peer: peer.answer(200, run("COMPLETED")))
    payload = await fire(WRRunTrigger(run_id=RUN_ID, deadline=time.time() - late))
    assert WaitEnd.from_event(payload).error is None
    assert server.count() == 1


@pytest.mark.parametrize(
    ("options", "reads"),
    [
        pytest.param({}, 2, id="by default"),
        pytest.param({"confirm_end": False}, 1, id="the worker reads it"),
        pytest.param(
            {"confirm_end": False, "end_from_trigger": True, "allowed_statuses": ["FAILED"]}, 2, id="ends"
        ),
    ],
)
async def test_the_end_is_read_where_the_trigger_needs_it(
    serve: Serve, options: dict[str, Any], reads: int
) -> None:
    server = serve(ending())
    payload = await fire(WRRunTrigger(run_id=RUN_ID, **options))
    assert WaitEnd.from_event(payload) == WaitEnd(RUN_ID, None, None)
    assert server.count(lambda request: not request.is_stream) == reads
    await asyncio.to_thread(server.wait_until_alone)
    assert shared() == set()


# --- what is stored ---------------------------------------------------------------------------------------

TRIGGERS = [
    WRRunTrigger(run_id=RUN_ID),
    WRRunTrigger(run_id=RUN_ID, wr_conn_id="wr_other", deadline=1234567890.25),
    WRRunTrigger(
        run_id=RUN_ID,
        grace=60.0,
        end_from_trigger=True,
        allowed_statuses=("COMPLETED", "FAILED"),
        stage_outputs=False,
        max_credits=12.5,
        confirm_end=False,
    ),
]


@pytest.mark.parametrize("trigger", TRIGGERS, ids=["least", "deferred", "started by Airflow"])
def test_a_trigger_is_rebuilt_from_its_serialized_form(trigger: WRRunTrigger) -> None:
    classpath, kwargs = trigger.serialize()
    anew = resolve_name(classpath)(**json.loads(json.dumps(kwargs)))
    assert type(anew) is WRRunTrigger
    assert anew.serialize() == trigger.serialize()
    assert {name: getattr(anew, name) for name in kwargs} == {name: getattr(trigger, name) for name in kwargs}


async def test_neither_the_key_nor_an_output_is_stored_or_logged(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    stage = {"id": "1", "module": "M", "status": "COMPLETED", "output": SECRET_OUTPUT, "error": SECRET_OUTPUT}

    def script(request: Request, peer: Peer) -> None:
        if request.is_stream:
            peer.send(STREAM_HEAD, event("COMPLETED"))
            peer.close()
        else:
            peer.answer(200, run("COMPLETED", runStages=[stage]))

    serve(script)
    trigger = WRRunTrigger(run_id=RUN_ID)
    payload = await fire(trigger)
    stored = [trigger.serialize(), payload, vars(trigger), trigger, TriggerEvent(payload)]
    text = "\n".join([*map(repr, stored), *map(str, stored), caplog.text])
    assert SECRET_OUTPUT not in text
    assert API_KEY not in text


async def test_the_key_is_not_in_the_event_of_an_error(serve: Serve) -> None:
    serve(refuse(401))
    assert API_KEY not in repr(await fire(WRRunTrigger(run_id=RUN_ID)))


# --- end_from_trigger -------------------------------------------------------------------------------------


@pytest.mark.skipif(not AIRFLOW_V_3_3_PLUS, reason="Airflow can do so from 3.3 on")
@pytest.mark.parametrize("stage_outputs", [True, False])
async def test_the_trigger_ends_the_task_itself_if_configured(
    serve: Serve,
    connect: Connect,
    stage_outputs: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "airflow_provider_wr")
    # Only a real triggerer can store XComs (see tests/e2e); here, check what it would store.
    stored: dict[str, Any] = {}

    def store(key: str, value: Any, **place: Any) -> None:
        # Lines after the XComs are stored may come too late for the task's log.
        assert caplog.messages[-1].startswith(f"run {RUN_ID} ended COMPLETED")
        stored[key] = (value, place)

    monkeypatch.setattr(XCom, "set", store)
    place = {"dag_id": "d", "task_id": "t", "run_id": "r", "map_index": 3}
    stage = {"id": "1", "module": "M", "status": "COMPLETED", "output": {"a": 1}}
    server = serve(lambda request, peer: _completed(request, peer, stage))
    connect(server.url, run_url="https://dashboard.example/{run_id}")
    trigger = WRRunTrigger(run_id=RUN_ID, end_from_trigger=True, stage_outputs=stage_outputs)
    trigger._task_instance = SimpleNamespace(**place)  # type: ignore[assignment]
    events = [event async for event in trigger.run()]
    expected = stage if stage_outputs else {key: value for key, value in stage.items() if key != "output"}
    assert [type(event) for event in events] == [TaskSuccessEvent]
    assert events[0].xcoms is None
    assert stored == {
        "return_value": (run("COMPLETED", runStages=[expected]), place),
        "wr_run_url": (f"https://dashboard.example/{RUN_ID}", place),
        "wr_page": ({"run_id": RUN_ID, "outputs": stage_outputs}, place),
    }


def _completed(request: Request, peer: Peer, stage: dict[str, Any]) -> None:
    if request.is_stream:
        peer.send(STREAM_HEAD)
        peer.close()
    else:
        peer.answer(200, run("COMPLETED", runStages=[stage]))


@pytest.mark.parametrize(("status", "allowed"), [("FAILED", ["COMPLETED"]), ("COMPLETED", ["FAILED", "CANCELED"])])
async def test_an_ending_that_is_not_allowed_is_left_to_the_worker(
    serve: Serve, status: str, allowed: list[str]
) -> None:
    def script(request: Request, peer: Peer) -> None:
        if request.is_stream:
            peer.send(STREAM_HEAD)
            peer.close()
        else:
            peer.answer(200, run(status))

    serve(script)
    payload = await fire(WRRunTrigger(run_id=RUN_ID, end_from_trigger=True, allowed_statuses=allowed))
    assert WaitEnd.from_event(payload) == WaitEnd(RUN_ID, None, None)


async def test_a_run_over_its_credits_is_left_to_the_worker(serve: Serve) -> None:
    serve(lambda request, peer: _completed(request, peer, {}))
    payload = await fire(WRRunTrigger(run_id=RUN_ID, end_from_trigger=True, max_credits=0.5))
    assert WaitEnd.from_event(payload) == WaitEnd(RUN_ID, None, None)


async def test_an_error_is_left_to_the_worker(serve: Serve) -> None:
    serve(refuse(401))
    payload = await fire(WRRunTrigger(run_id=RUN_ID, end_from_trigger=True))
    assert type(WaitEnd.from_event(payload).error) is WRAuthError


# --- leaving ----------------------------------------------------------------------------------------------


async def test_canceling_closes_the_stream_and_leaves_nothing(serve: Serve) -> None:
    server = serve(endless)
    before = asyncio.all_tasks()
    trigger = WRRunTrigger(run_id=RUN_ID)
    watching = asyncio.create_task(fire(trigger))
    await asyncio.to_thread(server.wait_for, lambda: server.count() == 2)
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching
    await trigger.cleanup()
    assert shared() == set()
    assert asyncio.all_tasks() == before
    await asyncio.to_thread(server.wait_until_alone)


async def test_a_kill_only_logs_that_the_run_keeps_running(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    server = serve(endless)
    trigger = WRRunTrigger(run_id=RUN_ID)
    await trigger.on_kill()
    assert caplog.messages == [f"Run {RUN_ID} keeps running: White Rabbit has no call to cancel it"]
    assert server.connections == 0


async def test_many_triggers_share_one_connection_lookup(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    lookups = []
    load = WRSettings.load
    monkeypatch.setattr(WRSettings, "load", lambda conn_id, **_: (lookups.append(conn_id), load(conn_id))[1])
    serve(lambda request, peer: _completed(request, peer, {"id": "1", "module": "M", "status": "COMPLETED"}))
    await asyncio.gather(*(fire(WRRunTrigger(run_id=RUN_ID)) for _ in range(20)))
    assert lookups == ["wr_default"]


# --- the run's page, of a task that no worker has started -------------------------------------------------


@pytest.mark.skipif(not AIRFLOW_V_3_3_PLUS, reason="below Airflow 3.3 no task starts in the triggerer")
@pytest.mark.parametrize("is_away", [False, True])
async def test_the_page_of_the_run_is_there_while_the_trigger_waits(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, is_away: bool
) -> None:
    """If Airflow cannot store its XComs, the wait continues without it."""
    # Only a real triggerer can store XComs (see tests/ui); here, check what it would store, and when.
    stored: dict[str, Any] = {}

    def store(key: str, value: Any, **place: Any) -> None:
        if is_away:
            raise RuntimeError("503")
        assert server.count() == 0
        stored[key] = value

    monkeypatch.setattr(XCom, "set", store)
    server = serve(
        lambda request, peer: _completed(request, peer, {"id": "1", "module": "M", "status": "COMPLETED"})
    )
    trigger = WRRunTrigger(run_id=RUN_ID, grace=60)
    trigger._task_instance = SimpleNamespace(dag_id="d", task_id="t", run_id="r", map_index=-1)  # type: ignore[assignment]
    payload = await fire(trigger)
    assert WaitEnd.from_event(payload).error is None
    if is_away:
        assert "The run's page cannot be shown yet: 503" in caplog.messages
    else:
        assert stored == {
            "wr_run_url": "dags/d/runs/r/tasks/t/plugin/wr-run",
            "wr_page": {"run_id": RUN_ID, "outputs": True},
        }
