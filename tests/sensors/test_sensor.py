"""The sensor in a DAG, in its three modes: same results, and "could not ask" is never "failed"."""

from __future__ import annotations

import time
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowNotFoundException,
    AirflowSensorTimeout,
    AirflowTaskTimeout,
    BaseHook,
)
from airflow.providers.common.compat.version_compat import (
    AIRFLOW_V_3_0_PLUS,
    AIRFLOW_V_3_1_PLUS,
    AIRFLOW_V_3_3_PLUS,
)
from dags.running import DagRun, page_xcom, plain_status, run_tasks
from hooks.conftest import Connect, Serve
from servers import RUN_ID, STREAM_HEAD, Peer, Request, event, free_port, run

from airflow_provider_wr.exceptions import (
    WRAuthError,
    WRCreditLimitError,
    WRNotFoundError,
    WRRunCanceledError,
    WRRunFailedError,
    WRValidationError,
)
from airflow_provider_wr.sandbox.server import Sandbox
from airflow_provider_wr.sensors.wr import WRRunSensor

from .conftest import Start

pytestmark = pytest.mark.usefixtures("airflow_db")

MODES = {
    "poke": "poke_interval=0.05",
    "reschedule": "mode='reschedule', poke_interval=0.05",
    "deferred": "deferrable=True",
}


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    if request.param == "reschedule" and AIRFLOW_V_3_0_PLUS and not AIRFLOW_V_3_1_PLUS:
        pytest.skip("dag.test() of Airflow 3.0 hands a rescheduled sensor a date that is a text")
    return str(request.param)


@pytest.fixture(params=["poke", "deferred"])
def quick_mode(request: pytest.FixtureRequest) -> str:
    """Without the mode "reschedule", which ``dag.test()`` resumes only once per second."""
    return str(request.param)


def wait(run_id: str, mode: str, options: str = "timeout=20") -> DagRun:
    return run_tasks(f"WRRunSensor(task_id='wait', run_id={run_id!r}, {MODES[mode]}, {options})")


def test_a_run_that_completes_is_the_result_key_for_key(sandbox: Sandbox, start: Start, mode: str) -> None:
    run_id = start(seconds=20)
    done = wait(run_id, mode)
    assert (done.state, done.states) == ("success", {"wait": "success"})
    result = done.xcoms["wait"]["return_value"]
    assert (result["id"], plain_status(result), float(result["totalUsage"])) == (run_id, "COMPLETED", 14)
    assert result["runStages"][0]["output"] == {"seconds": 20}
    assert done.xcoms["wait"]["wr_run_url"] == f"{sandbox.url}/runs/{run_id}"
    streamed = [each for each in sandbox.control.requests() if each["endpoint"] == "stream"]
    assert bool(streamed) is (mode == "deferred")


def test_without_xcoms_the_links_own_are_pushed_alone(sandbox: Sandbox, start: Start, mode: str) -> None:
    run_id = start()
    done = wait(run_id, mode, "timeout=20, do_xcom_push=False")
    assert done.states == {"wait": "success"}
    link = {"wr_run_url": f"{sandbox.url}/runs/{run_id}"}
    assert done.xcoms == {"wait": {**link, **page_xcom(run_id, outputs=False)}}


def test_outputs_are_left_out_where_they_are_not_wanted(start: Start, quick_mode: str) -> None:
    done = wait(start(), quick_mode, "stage_outputs=False")
    stages = done.xcoms["wait"]["return_value"]["runStages"]
    assert len(stages) > 3
    assert not any("output" in stage for stage in stages)


@pytest.mark.parametrize(
    ("config", "kind", "says"),
    [
        ({"failWith": "no funds"}, WRRunFailedError, "HTTP_REQUEST: no funds"),
        ({"cancelRun": "enough"}, WRRunCanceledError, "ended CANCELED: enough"),
    ],
    ids=["FAILED", "CANCELED"],
)
def test_a_run_that_ends_otherwise_fails_the_task_without_retries(
    start: Start, mode: str, config: dict[str, str], kind: type[Exception], says: str
) -> None:
    done = wait(start(seconds=3, **config), mode, "retries=2")
    assert done.states == {"wait": "failed"}
    assert done.tries == {"wait": 1}
    error = done.errors["wait"]
    assert isinstance(error, kind)
    assert isinstance(error, AirflowFailException)
    assert says in str(error)


@pytest.mark.parametrize(
    ("allowed", "state"), [("['FAILED', 'COMPLETED']", "success"), ("['CANCELED']", "failed")]
)
def test_only_the_endings_that_are_allowed_are_a_success(
    start: Start, quick_mode: str, allowed: str, state: str
) -> None:
    done = wait(start(failWith="no funds"), quick_mode, f"allowed_statuses={allowed}")
    assert done.states == {"wait": state}
    if state == "success":
        assert plain_status(done.xcoms["wait"]["return_value"]) == "FAILED"


@pytest.mark.parametrize("option", ["soft_fail=True", "never_fail=True"])
@pytest.mark.parametrize("config", [{"failWith": "no funds"}, {"cancelRun": "enough"}], ids=["FAILED", "CANCELED"])
def test_a_failed_run_skips_the_task_with_soft_fail(
    start: Start, quick_mode: str, option: str, config: dict[str, str]
) -> None:
    assert wait(start(**config), quick_mode, option).states == {"wait": "skipped"}


# --- time -------------------------------------------------------------------------------------------------


def test_time_runs_out_as_it_does_for_every_sensor(start: Start, mode: str) -> None:
    run_id = start(seconds=600)
    started = time.monotonic()
    done = wait(run_id, mode, "timeout=0.4, retries=2")
    took = time.monotonic() - started
    assert (done.states, done.tries) == ({"wait": "failed"}, {"wait": 1})
    error = done.errors["wait"]
    assert type(error) is AirflowSensorTimeout
    assert str(error).startswith("Sensor has timed out after 0.4 s; run ")
    assert took < 15  # the run takes 30 s


@pytest.mark.parametrize("option", ["soft_fail=True", "never_fail=True"])
def test_a_timeout_skips_the_task_with_soft_fail(start: Start, mode: str, option: str) -> None:
    states = wait(start(seconds=600), mode, f"timeout=0.4, {option}").states
    # In Airflow's own sensors, never_fail does not apply to timeouts, so it does not in ours either.
    assert states == {"wait": "skipped" if option == "soft_fail=True" else "failed"}


def test_the_execution_timeout_holds_while_the_sensor_is_deferred(start: Start) -> None:
    run_id = start(seconds=600)
    done = wait(run_id, "deferred", "timeout=60, execution_timeout=timedelta(seconds=0.4)")
    assert done.states == {"wait": "failed"}
    error = done.errors["wait"]
    assert type(error) is AirflowTaskTimeout
    assert str(error).startswith(f"Sensor has timed out after 0.4 s; run {run_id}, last seen EXECUTING, keeps")


@pytest.mark.parametrize("error", ["Trigger timeout", "Trigger/execution timeout"])
@pytest.mark.parametrize(
    ("options", "kind"),
    [("timeout=7", AirflowSensorTimeout), ("execution_timeout=timedelta(seconds=7)", AirflowTaskTimeout)],
)
def test_airflows_own_timeout_reports_that_the_run_keeps_running(
    sandbox: Sandbox, start: Start, error: str, options: str, kind: type[BaseException]
) -> None:
    """Airflow uses this text if no triggerer is alive, so that none of our code runs before."""
    run_id = start(seconds=600)
    done = run_tasks(
        f"""
        class Abandoned(WRRunSensor):
            def execute(self, context):
                self.resume_execution("__fail__", {{"error": {error!r}}}, context)

        Abandoned(task_id="wait", run_id={run_id!r}, {options})
        """
    )
    assert type(done.errors["wait"]) is kind
    assert str(done.errors["wait"]) == (
        f"Sensor has timed out after 7 s; run {run_id}, last seen EXECUTING, keeps running: "
        f"White Rabbit has no call to cancel it; see {sandbox.url}/runs/{run_id}"
    )


def test_no_read_outlives_the_timeout(serve: Serve, mode: str) -> None:
    """The API accepts the request but does not answer within the sensor's timeout."""

    def script(request: Request, peer: Peer) -> None:
        peer.hang()

    serve(script, read_timeout=1.0)
    started = time.monotonic()
    done = wait(RUN_ID, mode, "timeout=0.5")
    assert type(done.errors["wait"]) is AirflowSensorTimeout
    assert time.monotonic() - started < 3.5  # with a margin for slow machines; four attempts would take longer


@pytest.mark.parametrize("error", ["Trigger timeout", "Trigger/execution timeout"])
def test_where_airflow_ends_the_wait_for_a_run_that_has_completed_that_is_a_success(
    serve: Serve, error: str
) -> None:
    server = serve(lambda request, peer: peer.answer(200, run("COMPLETED")))
    done = run_tasks(
        f"""
        class Abandoned(WRRunSensor):
            def execute(self, context):
                return self.resume_execution("__fail__", {{"error": {error!r}}}, context)

        Abandoned(task_id="wait", run_id={RUN_ID!r}, timeout=7)
        """
    )
    assert done.states == {"wait": "success"}
    assert done.xcoms["wait"]["return_value"]["status"] == "COMPLETED"
    assert server.count() == 1


def test_a_run_that_completes_before_a_worker_can_report_the_timeout_is_a_success(serve: Serve) -> None:
    """The trigger's final read shows EXECUTING, the worker's shows COMPLETED."""
    statuses = iter(["EXECUTING"] * 3)  # the poke that defers, the trigger's first read, and its final read

    def script(request: Request, peer: Peer) -> None:
        if request.is_stream:
            peer.send(STREAM_HEAD, event())
            peer.hang()
        else:
            peer.answer(200, run(next(statuses, "COMPLETED")))

    server = serve(script)
    assert wait(RUN_ID, "deferred", "timeout=3").states == {"wait": "success"}
    assert server.count(lambda request: not request.is_stream) == 4


def test_a_run_that_ends_unseen_is_seen_at_the_deadline(serve: Serve, mode: str) -> None:
    """The last poke is at the deadline, whatever the interval; the stream has no events."""
    started = time.monotonic()
    seconds = 2.0

    def script(request: Request, peer: Peer) -> None:
        if request.is_stream:
            peer.drip(STREAM_HEAD, b":ping\n\n")
        else:
            peer.answer(200, run("COMPLETED" if time.monotonic() - started > seconds else "EXECUTING"))

    serve(script)
    started = time.monotonic()
    options = MODES[mode].replace("poke_interval=0.05", "poke_interval=60")
    done = run_tasks(f"WRRunSensor(task_id='wait', run_id={RUN_ID!r}, {options}, timeout={seconds})")
    if done.states == {"wait": "failed"}:  # the poke before was slightly too early
        raise AssertionError(done.errors)
    assert time.monotonic() - started < 30


def test_a_run_that_was_never_reached_is_not_reported_as_running(connect: Connect, mode: str) -> None:
    connect(f"http://127.0.0.1:{free_port()}", run_url="https://dashboard.example/{run_id}")
    error = wait(RUN_ID, mode, "timeout=0.3").errors["wait"]
    assert type(error) is AirflowSensorTimeout
    # Airflow 2.11 cannot tell the first poke from later ones.
    never = "could not be" if mode == "reschedule" and AIRFLOW_V_3_0_PLUS else "was never"
    text = str(error)
    assert text.startswith(f"Sensor has timed out after 0.3 s; run {RUN_ID} {never} reached: cannot connect: ")
    assert "keeps running" not in text
    assert "dashboard" not in text


def test_the_log_begins_with_the_link(serve: Serve, mode: str, caplog: pytest.LogCaptureFixture) -> None:
    own = "airflow_provider_wr.sensors.wait"
    caplog.set_level("INFO", own)
    serve(lambda request, peer: peer.answer(200, run("COMPLETED")), run_url="https://dashboard.example/{run_id}")
    assert wait(RUN_ID, mode, "timeout=20").states == {"wait": "success"}
    first, *rest = [each.getMessage() for each in caplog.records if each.name == own]
    assert first == f"Waiting for run {RUN_ID}: https://dashboard.example/{RUN_ID}"
    assert [line.partition(",")[0] for line in rest] == [f"run {RUN_ID} ended COMPLETED"]


# --- "could not ask" --------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["soft_fail=False", "soft_fail=True"])
def test_a_refused_key_is_no_failed_run(serve: Serve, mode: str, option: str) -> None:
    serve(lambda request, peer: peer.answer(401, {"errors": [{"code": "C", "message": "Invalid API key"}]}))
    done = wait(RUN_ID, mode, f"{option}, timeout=20")
    assert done.states == {"wait": "failed"}
    error = done.errors["wait"]
    assert type(error) is WRAuthError
    assert error.status_code == 401
    assert "Invalid API key" in str(error)


def test_a_key_that_is_refused_during_a_deferral_is_no_failed_run(sandbox: Sandbox, start: Start) -> None:
    run_id = start(seconds=600)
    sandbox.control.fault("stream", status=401, times=None)
    done = wait(run_id, "deferred", "soft_fail=True, timeout=20")
    assert done.states == {"wait": "failed"}
    assert type(done.errors["wait"]) is WRAuthError


def test_could_not_ask_is_tried_again(serve: Serve, quick_mode: str) -> None:
    answers = iter([401, 401])

    def script(request: Request, peer: Peer) -> None:
        status = next(answers, 200)
        peer.answer(status, run("COMPLETED") if status == 200 else {"message": "no"})

    serve(script)
    done = wait(RUN_ID, quick_mode, "retries=3, timeout=20")
    assert (done.states, done.tries) == ({"wait": "success"}, {"wait": 3})


def test_never_fail_skips_what_could_not_be_asked(serve: Serve, quick_mode: str) -> None:
    serve(lambda request, peer: peer.answer(401, {"message": "no"}))
    assert wait(RUN_ID, quick_mode, "never_fail=True, timeout=20").states == {"wait": "skipped"}


def test_silent_fail_looks_again(serve: Serve, quick_mode: str) -> None:
    answers = iter([401, 401])

    def script(request: Request, peer: Peer) -> None:
        status = next(answers, 200)
        peer.answer(status, run("COMPLETED") if status == 200 else {"message": "no"})

    serve(script)
    interval = ", poke_interval=0.05" if quick_mode == "deferred" else ""
    done = wait(RUN_ID, quick_mode, f"silent_fail=True{interval}")
    assert (done.states, done.tries) == ({"wait": "success"}, {"wait": 1})


def test_transient_trouble_does_not_end_the_wait(serve: Serve, mode: str) -> None:
    """More of it than one call gets over by itself, but where ``dag.test()`` looks again only once a second."""
    kinds = [
        lambda peer: peer.answer(500, {"message": "boom"}),
        lambda peer: peer.answer(502, "<html>"),
        lambda peer: peer.reset(),
        lambda peer: peer.answer(200, "<html>"),
        lambda peer: peer.answer(404, {"message": "not yet"}),
    ]
    troubles = iter([kind for kind in kinds for _ in range(1 if mode == "reschedule" else 5)])

    def script(request: Request, peer: Peer) -> None:
        if (trouble := next(troubles, None)) is not None:
            trouble(peer)
        elif request.is_stream:
            peer.send(STREAM_HEAD, event())
            peer.close()
        else:
            peer.answer(200, run("COMPLETED"))

    serve(script)
    done = wait(RUN_ID, mode, "timeout=20")
    assert done.states == {"wait": "success"}


def test_an_unknown_run_is_not_waited_for_forever(
    serve: Serve, quick_mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_provider_wr.waiting import rules

    monkeypatch.setattr(rules, "NOT_YET_VISIBLE", 0.3)
    serve(lambda request, peer: peer.answer(404, {"message": "Run not found"}))
    done = wait(RUN_ID, quick_mode, "timeout=20")
    assert type(done.errors["wait"]) is WRNotFoundError


def test_a_poke_does_not_pass_over_the_moment_when_a_run_should_be_visible(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_provider_wr.waiting import rules

    monkeypatch.setattr(rules, "NOT_YET_VISIBLE", 0.5)
    serve(lambda request, peer: peer.answer(404, {"message": "Run not found"}))
    started = time.monotonic()
    done = run_tasks(f"WRRunSensor(task_id='wait', run_id={RUN_ID!r}, poke_interval=60, timeout=300)")
    assert type(done.errors["wait"]) is WRNotFoundError
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("options", ["poke_interval=0.05", "mode='reschedule', poke_interval=0.05"])
def test_a_failed_lookup_of_the_connection_is_retried(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, options: str
) -> None:
    """Airflow 3 reports "not defined". If the connection was found before, the wait continues."""
    if "reschedule" in options and not AIRFLOW_V_3_0_PLUS:
        pytest.skip("Airflow 2.11 does not tell a later poke of the first, and has no such answer")
    statuses = iter(["EXECUTING", "EXECUTING"])
    serve(lambda request, peer: peer.answer(200, run(next(statuses, "COMPLETED"))))
    look_up = BaseHook.get_connection
    lookups = []

    def get_connection(conn_id: str) -> Any:
        lookups.append(conn_id)
        if len(lookups) == 1 and "reschedule" in options:
            raise RuntimeError("503")
        if 3 <= len(lookups) <= 5:
            raise AirflowNotFoundException("isn't defined")
        return look_up(conn_id)

    monkeypatch.setattr(BaseHook, "get_connection", get_connection)
    done = run_tasks(f"WRRunSensor(task_id='wait', run_id={RUN_ID!r}, {options}, timeout=20)")
    assert done.states == {"wait": "success"}
    assert len(lookups) > 5


def test_a_connection_that_was_never_found_ends_the_wait_at_once(quick_mode: str) -> None:
    done = wait(RUN_ID, quick_mode, "wr_conn_id='wr_nowhere', timeout=20")
    assert type(done.errors["wait"]) is AirflowNotFoundException


@pytest.mark.parametrize("status", ["EXECUTING", "COMPLETED", "FAILED"])
def test_a_run_over_its_credits_fails_the_task_without_retries(serve: Serve, mode: str, status: str) -> None:
    def script(request: Request, peer: Peer) -> None:
        if request.is_stream:
            peer.send(STREAM_HEAD, event(totalUsage=14.5))
        else:
            peer.answer(200, run(status, totalUsage=14.5))

    serve(script)
    done = wait(RUN_ID, mode, "max_credits=14, allowed_statuses=['COMPLETED', 'FAILED'], retries=2, timeout=20")
    assert (done.states, done.tries) == ({"wait": "failed"}, {"wait": 1})
    error = done.errors["wait"]
    assert isinstance(error, WRCreditLimitError)
    assert isinstance(error, AirflowFailException)
    assert str(error) == (
        f"run {RUN_ID} has used 14.5 credits, more than max_credits=14, and keeps running: "
        "White Rabbit has no call to cancel it"
        if status == "EXECUTING"
        else f"14.5 credits, more than max_credits=14: run {RUN_ID} ended {status}, 14.5 credits used"
    )


@pytest.mark.parametrize("amount", [-1, True, "many", float("nan"), "{{ params.most }}"])
def test_max_credits_that_is_no_amount_is_refused_when_the_dag_is_parsed(amount: object) -> None:
    with pytest.raises(ValueError, match="max_credits should be an amount of credits"):
        WRRunSensor(task_id="wait", run_id=RUN_ID, max_credits=amount)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_credits should be an amount of credits"):
        WRRunSensor.partial(task_id="wait", max_credits=amount)


def test_a_run_id_that_is_no_uuid_is_refused_at_once(serve: Serve, quick_mode: str) -> None:
    server = serve(lambda request, peer: peer.answer(200, run()))
    done = wait("supplier-payments", quick_mode)
    assert isinstance(done.errors["wait"], WRValidationError)
    assert server.connections == 0


# --- the arguments ----------------------------------------------------------------------------------------


def test_the_run_id_comes_from_a_template(start: Start) -> None:
    run_id = start()
    fields = "run_id='{{ params.run }}', wr_conn_id='{{ params.conn }}'"
    done = run_tasks(
        f"WRRunSensor(task_id='wait', {fields}, {MODES['poke']})",
        params="{'run': 'none', 'conn': 'none'}",
        conf={"run": run_id, "conn": "wr_default"},
    )
    assert done.xcoms["wait"]["return_value"]["id"] == run_id


@pytest.mark.parametrize("allowed", [[], ["EXECUTING"], ["completed"], ["COMPLETED", "NONE"]])
def test_allowed_statuses_that_no_run_ends_in_are_refused(allowed: list[str]) -> None:
    with pytest.raises(ValueError, match="allowed_statuses should be some of"):
        WRRunSensor(task_id="wait", run_id=RUN_ID, allowed_statuses=allowed)


@pytest.mark.parametrize("what", ["start", "end"])
def test_what_airflow_lacks_is_warned_of_and_done_in_a_worker(what: str, recwarn: pytest.WarningsRecorder) -> None:
    asked: Any = {f"{what}_from_trigger": True}
    sensor = WRRunSensor(task_id="wait", run_id=RUN_ID, **asked)
    told = {(str(each.message), each.filename) for each in recwarn if "in the triggerer" in str(each.message)}
    warning = f"wait cannot {what} in the triggerer, and does so in a worker: Airflow can do so from 3.3 on"
    assert told == (set() if AIRFLOW_V_3_3_PLUS else {(warning, __file__)})
    assert (sensor.deferrable, getattr(sensor, f"{what}_from_trigger")) == (True, AIRFLOW_V_3_3_PLUS)


def test_an_event_of_another_kind_is_refused(serve: Serve) -> None:
    from airflow_provider_wr.exceptions import WRProtocolError

    sensor: Any = WRRunSensor(task_id="wait", run_id=RUN_ID)
    for payload in (None, {}, {"status": "success"}, "done"):
        with pytest.raises(WRProtocolError, match="unexpected event"):
            sensor.execute_complete({}, payload)
