"""The operator that starts a run: how often, after which updates, and its XComs and logs."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowNotFoundException,
    AirflowTaskTimeout,
    BaseHook,
    TaskDeferred,
)
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_3_PLUS
from dags.running import page_xcom, plain_status, run_tasks, xcom_model
from hooks.conftest import Connect, Serve
from servers import COMPONENT_ID, RUN_ID, STREAM_HEAD, WORKFLOW_ID, Peer, Request, event, run

from airflow_provider_wr.exceptions import (
    WRAuthError,
    WRCreditLimitError,
    WRRunCanceledError,
    WRRunFailedError,
    WRTimeoutError,
    WRTriggerUnknownError,
    WRValidationError,
)
from airflow_provider_wr.operators.wr import WRTriggerRunOperator
from airflow_provider_wr.sandbox.server import Sandbox

pytestmark = pytest.mark.usefixtures("airflow_db")

remembers = pytest.mark.skipif(not AIRFLOW_V_3_3_PLUS, reason="Airflow remembers across tries from 3.3 on")

#: How the operator may wait.
WAYS = {"in a worker": "deferrable=False", "deferred": "deferrable=True"}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return f"wait_for_completion=True, {WAYS[request.param]}"


def trigger(options: str = "", **kwargs: Any) -> Any:
    return run_tasks(f"WRTriggerRunOperator(task_id='trigger', {options})", **kwargs)


def received(sandbox: Sandbox) -> Counter[str]:
    return Counter(each["endpoint"] for each in sandbox.control.requests())


def configs(sandbox: Sandbox) -> dict[str, Any]:
    return {each["id"]: each["config"] for each in sandbox.control.components()}


def updating(**config: Any) -> str:
    return updates_of(f"'config': {config!r}")


def updates_of(*configs: str) -> str:
    return "component_updates=[" + ", ".join(f"{{'component_id': COMPONENT_ID, {each}}}" for each in configs) + "]"


# --- the good case ----------------------------------------------------------------------------------------


def test_without_waiting_the_task_ends_once_the_run_is_started(sandbox: Sandbox) -> None:
    done = trigger()
    (started,) = sandbox.control.runs()
    assert done.states == {"trigger": "success"}
    job_id = done.xcoms["trigger"].pop("job_id")
    assert str(job_id).endswith("12345")
    assert done.xcoms["trigger"] == {
        "return_value": started["id"],
        "run_id": started["id"],
        "workflow_id": WORKFLOW_ID,
        "wr_run_url": f"{sandbox.url}/runs/{started['id']}",
        **page_xcom(started["id"]),
    }
    assert received(sandbox) == {"trigger": 1}


def test_having_waited_the_task_leaves_the_run_as_well(sandbox: Sandbox, way: str) -> None:
    done = trigger(f"{way}, timeout=20")
    (started,) = sandbox.control.runs()
    xcoms = done.xcoms["trigger"]
    assert done.states == {"trigger": "success"}
    assert (started["status"], xcoms["return_value"]) == ("COMPLETED", started["id"])
    assert (xcoms["run"]["id"], plain_status(xcoms["run"])) == (started["id"], "COMPLETED")
    assert "output" in xcoms["run"]["runStages"][0]
    assert received(sandbox)["trigger"] == 1


def test_outputs_are_left_out_where_they_are_not_wanted(sandbox: Sandbox, way: str) -> None:
    stages = trigger(f"{way}, stage_outputs=False").xcoms["trigger"]["run"]["runStages"]
    assert stages
    assert not any("output" in stage for stage in stages)


def test_a_run_that_ended_before_the_wait_is_found(sandbox: Sandbox, way: str) -> None:
    sandbox.control.fault("trigger", finish_first=True)
    assert trigger(f"{way}, timeout=20").states == {"trigger": "success"}


def test_the_xcoms_are_there_while_the_task_waits(serve: Serve) -> None:
    """The XComs are in the database when the read of the run arrives."""
    seen: list[set[str]] = []

    def script(request: Request, peer: Peer) -> None:
        if request.is_trigger:
            peer.answer(201, {"runId": RUN_ID, "jobId": "bull-1"})
        elif request.is_stream:
            seen.append(_stored_keys())
            peer.send(STREAM_HEAD, event("COMPLETED"))
            peer.close()
        else:
            peer.answer(200, run("COMPLETED"))

    serve(script, run_url="https://dashboard.example/{run_id}")
    trigger("wait_for_completion=True, timeout=20")
    assert seen == [{"run_id", "job_id", "workflow_id", "wr_run_url", *page_xcom(RUN_ID)}]


def _stored_keys() -> set[str]:
    from airflow.utils.session import create_session
    from sqlalchemy import select

    model = xcom_model()
    with create_session() as session:
        latest = session.scalars(select(model).order_by(model.timestamp.desc()).limit(1)).one()
        return set(session.scalars(select(model.key).where(model.dag_run_id == latest.dag_run_id)))


# --- endings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "kind"),
    [({"failWith": "no funds"}, WRRunFailedError), ({"cancelRun": "enough"}, WRRunCanceledError)],
    ids=["FAILED", "CANCELED"],
)
def test_a_run_that_ends_otherwise_fails_the_task_and_is_left_as_an_xcom(
    sandbox: Sandbox, way: str, config: dict[str, str], kind: type[Exception]
) -> None:
    done = trigger(f"{way}, {updating(**config)}")
    error = done.errors["trigger"]
    assert isinstance(error, kind)
    assert f"ended {plain_status(done.xcoms['trigger']['run'])}" in str(error)
    assert "return_value" not in done.xcoms["trigger"]
    assert len(sandbox.control.runs()) == 1


#: How a run fails before or after it has paid, and how often a task with two retries then runs.
FIRST_FAILS = "{'component_id': COMPONENT_ID, 'config': {'failWith': 'no route'}}"
LAST_FAILS = "{'component_id': NOTIFY_ID, 'config': {'failWith': 'no route'}}"
CANCELED = "{'component_id': COMPONENT_ID, 'config': {'cancelRun': 'enough'}}"


@pytest.mark.parametrize(
    ("update", "options", "runs"),
    [
        pytest.param(FIRST_FAILS, "", 1, id="a request may have had an effect"),
        pytest.param(FIRST_FAILS, "harmless_modules=['HTTP_REQUEST']", 3, id="a request that has none"),
        pytest.param(FIRST_FAILS, "harmless_modules=['http_*']", 3, id="requests that have none"),
        pytest.param(CANCELED, "", 3, id="nothing was dispatched"),
        pytest.param(LAST_FAILS, "", 1, id="payments were made"),
        pytest.param(LAST_FAILS, "harmless_modules=['HTTP_REQUEST']", 1, id="payments and harmless requests"),
        pytest.param(LAST_FAILS, "retry_run='always'", 3, id="always"),
        pytest.param(CANCELED, "retry_run='never'", 1, id="never"),
    ],
)
def test_a_retry_starts_a_new_run_only_where_that_does_no_harm(
    sandbox: Sandbox, way: str, update: str, options: str, runs: int
) -> None:
    notify = sandbox.components["Notify"]
    updates = f"component_updates=[{update.replace('NOTIFY_ID', repr(notify))}]"
    done = trigger(f"{way}, retries=2, {updates}, {options}")
    assert (done.states, done.tries) == ({"trigger": "failed"}, {"trigger": runs})
    assert len(sandbox.control.runs()) == runs
    error = done.errors["trigger"]
    assert type(error).__name__ in ("WRRunFailedError", "WRRunCanceledError")
    assert isinstance(error, AirflowFailException) is (runs == 1)


def test_the_error_lists_effects_and_next_steps(sandbox: Sandbox, way: str) -> None:
    update = f"{{'component_id': '{sandbox.components['Notify']}', 'config': {{'failWith': 'no route'}}}}"
    text = str(trigger(f"{way}, component_updates=[{update}]").errors["trigger"])
    assert "No retry: these stages may have had an effect" in text
    assert re.search(r'SEND_EVM_TRANSACTION ×5 COMPLETED: \{"transactionHash": "0x[0-9a-f]{64}"\}, ', text)
    assert "HTTP_REQUEST FAILED" in text
    assert "clear the task to start a new run" in text


def test_the_connection_may_name_harmless_modules(sandbox: Sandbox, connect: Connect) -> None:
    connect(sandbox.url, api_key=sandbox.api_key, harmless_modules="HTTP_REQUEST, X")
    trigger(f"wait_for_completion=True, retries=1, {updating(failWith='no route')}")
    assert len(sandbox.control.runs()) == 2


@remembers
@pytest.mark.parametrize(("retry_run", "runs"), [("if_harmless", 1), ("always", 2), ("never", 1)])
def test_the_same_holds_where_a_try_died_before_it_saw_the_end(
    sandbox: Sandbox, retry_run: str, runs: int
) -> None:
    """Try 1 cannot read its run, which fails meanwhile; try 2 finds it FAILED."""
    sandbox.control.fault("trigger", finish_first=True)
    sandbox.control.fault("get_run", status=401, times=2)
    done = trigger(
        f"wait_for_completion=True, retries=1, retry_run={retry_run!r}, {updating(failWith='no route')}"
    )
    assert done.tries == {"trigger": 2}
    assert type(done.errors["trigger"]).__name__ == "WRRunFailedError"
    assert len(sandbox.control.runs()) == runs


def test_a_timeout_is_reported(sandbox: Sandbox, way: str) -> None:
    started = time.monotonic()
    done = trigger(f"{way}, timeout=0.5, {updating(seconds=100)}")
    assert time.monotonic() - started < 4
    error = done.errors["trigger"]
    assert type(error) is WRTimeoutError
    assert "timed out after 0.5 s" in str(error)
    assert sandbox.control.runs()[0]["id"] in str(error)


@pytest.mark.parametrize("error", ["Trigger timeout", "Trigger/execution timeout"])
@pytest.mark.parametrize(
    ("options", "kind"),
    [("timeout=7", WRTimeoutError), ("execution_timeout=timedelta(seconds=7)", AirflowTaskTimeout)],
)
def test_airflows_own_timeout_reports_that_the_run_keeps_running(
    sandbox: Sandbox, error: str, options: str, kind: type[BaseException]
) -> None:
    """Airflow uses this text if no triggerer is alive, so that none of our code runs before."""
    done = run_tasks(
        f"""
        class Abandoned(WRTriggerRunOperator):
            def execute(self, context):
                super().execute(context)
                self.resume_execution("__fail__", {{"error": {error!r}}}, context)

        Abandoned(task_id="trigger", {options}, {updating(seconds=600)})
        """
    )
    (started,) = sandbox.control.runs()
    assert type(done.errors["trigger"]) is kind
    assert str(done.errors["trigger"]) == (
        f"the wait timed out after 7 s; run {started['id']}, last seen EXECUTING, keeps running: "
        f"White Rabbit has no call to cancel it; see {sandbox.url}/runs/{started['id']}"
    )


@pytest.mark.parametrize("error", ["Trigger timeout", "Trigger/execution timeout"])
def test_where_airflow_ends_the_wait_for_a_run_that_has_completed_that_is_a_success(
    sandbox: Sandbox, error: str
) -> None:
    sandbox.control.fault("trigger", finish_first=True)
    done = run_tasks(
        f"""
        class Abandoned(WRTriggerRunOperator):
            def execute(self, context):
                super().execute(context)
                return self.resume_execution("__fail__", {{"error": {error!r}}}, context)

        Abandoned(task_id="trigger", timeout=7)
        """
    )
    (started,) = sandbox.control.runs()
    assert done.states == {"trigger": "success"}
    assert done.xcoms["trigger"]["return_value"] == started["id"]
    assert plain_status(done.xcoms["trigger"]["run"]) == "COMPLETED"


@pytest.mark.parametrize("error", [RuntimeError("503"), AirflowNotFoundException("503")], ids=["2.11", "3.x"])
def test_a_worker_that_cannot_look_up_the_connection_defers_again(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Until the deadline: then the wait ends, and reports why the run could not be read."""
    serve(lambda request, peer: peer.answer(200, run("COMPLETED")))

    def get_connection(conn_id: str) -> Any:
        raise error

    monkeypatch.setattr(BaseHook, "get_connection", get_connection)
    operator: Any = WRTriggerRunOperator(task_id="trigger", timeout=7)
    ended = {"run_id": RUN_ID, "error": None}
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute_complete({}, {**ended, "deadline": time.time() + 60})
    assert deferred.value.trigger.serialize()[1]["deadline"] > time.time()
    with pytest.raises(WRTimeoutError, match=f"run {RUN_ID} could not be reached: .*503"):
        operator.execute_complete({}, {**ended, "deadline": time.time() - 1})


def test_a_key_that_is_refused_is_no_failed_run(sandbox: Sandbox, way: str) -> None:
    sandbox.control.fault("stream", status=401, times=2)
    sandbox.control.fault("get_run", status=401, times=2)
    done = trigger(f"{way}, timeout=20")
    assert type(done.errors["trigger"]) is WRAuthError
    assert len(sandbox.control.runs()) == 1


# --- max_credits ------------------------------------------------------------------------------------------


def test_a_run_within_the_limit_is_a_success(sandbox: Sandbox, way: str) -> None:
    assert trigger(f"{way}, max_credits='14', timeout=20").states == {"trigger": "success"}


@pytest.mark.parametrize("config", [{}, {"failWith": "no funds"}], ids=["COMPLETED", "FAILED"])
def test_a_run_that_has_used_more_than_the_limit_fails_the_task_without_retries(
    sandbox: Sandbox, way: str, config: dict[str, str]
) -> None:
    sandbox.control.fault("trigger", finish_first=True)
    done = trigger(f"{way}, max_credits=0.5, retry_run='always', retries=2, timeout=20, {updating(**config)}")
    assert (done.states, done.tries) == ({"trigger": "failed"}, {"trigger": 1})
    error = done.errors["trigger"]
    assert isinstance(error, WRCreditLimitError)
    assert isinstance(error, AirflowFailException)
    (started,) = sandbox.control.runs()
    used = "1 credit" if config else "14 credits"
    words = f"{used}, more than max_credits=0.5: run {started['id']} ended {started['status']}, {used} used"
    assert str(error).startswith(words)
    assert ("HTTP_REQUEST: no funds" in str(error)) is bool(config)
    assert str(error).endswith(f"\n{sandbox.url}/runs/{started['id']}")
    assert plain_status(done.xcoms["trigger"]["run"]) == started["status"]


@remembers
def test_a_run_over_the_limit_is_not_started_again_after_a_worker_that_died(sandbox: Sandbox) -> None:
    """Try 1 cannot ask about its run, which failed, and has used too much; try 2 finds it."""
    sandbox.control.fault("trigger", finish_first=True)
    sandbox.control.fault("get_run", status=422)
    options = "wait_for_completion=True, max_credits=0.5, retry_run='always', retries=3, timeout=20"
    done = trigger(f"{options}, {updating(failWith='no funds')}")
    assert (type(done.errors["trigger"]).__name__, done.tries) == ("WRCreditLimitError", {"trigger": 2})
    assert len(sandbox.control.runs()) == 1


# --- never twice ------------------------------------------------------------------------------------------


@remembers
def test_a_retry_resumes_the_run_of_an_earlier_try(sandbox: Sandbox, way: str) -> None:
    """Try 1 cannot ask about its run; try 2 finds it, and starts none."""
    sandbox.control.fault("get_run", status=422)
    done = trigger(f"{way}, retries=1, timeout=20, {updating(seconds=30)}")
    assert (done.states, done.tries) == ({"trigger": "success"}, {"trigger": 2})
    (started,) = sandbox.control.runs()
    assert done.xcoms["trigger"]["return_value"] == started["id"]
    assert str(done.xcoms["trigger"]["job_id"]).endswith("12345")
    assert received(sandbox)["update"] == 1  # an active run has its updates


@remembers
def test_a_retry_takes_the_result_of_a_run_that_has_completed_meanwhile(sandbox: Sandbox) -> None:
    sandbox.control.fault("trigger", finish_first=True)
    sandbox.control.fault("get_run", status=422)
    done = trigger("wait_for_completion=True, retries=1, timeout=20")
    assert (done.states, done.tries) == ({"trigger": "success"}, {"trigger": 2})
    assert len(sandbox.control.runs()) == 1


@pytest.mark.parametrize("durable", [False] if AIRFLOW_V_3_3_PLUS else [False, True])
def test_without_memory_a_retry_starts_another(sandbox: Sandbox, durable: bool) -> None:
    sandbox.control.fault("get_run", status=422)
    done = trigger(f"wait_for_completion=True, durable={durable}, retries=1, timeout=20")
    assert done.tries == {"trigger": 2}
    assert len(sandbox.control.runs()) == 2


@pytest.mark.parametrize("fault", [{"reset": True}, {"status": 503}, {"html": True}])
def test_a_trigger_in_doubt_fails_the_task_without_retries(sandbox: Sandbox, fault: dict[str, Any]) -> None:
    sandbox.control.fault("trigger", obey=True, **fault)
    done = trigger("retries=3")
    assert (done.states, done.tries) == ({"trigger": "failed"}, {"trigger": 1})
    assert type(done.errors["trigger"]) is WRTriggerUnknownError
    assert len(sandbox.control.runs()) == 1


def test_a_trigger_in_doubt_is_resent_with_retrigger(sandbox: Sandbox) -> None:
    sandbox.control.fault("trigger", obey=True, reset=True)
    done = trigger("retries=3, on_unknown_trigger='retrigger'")
    assert (done.states, done.tries) == ({"trigger": "success"}, {"trigger": 2})
    assert len(sandbox.control.runs()) == 2


def test_a_trigger_that_was_refused_is_tried_again(sandbox: Sandbox) -> None:
    sandbox.control.fault("trigger", status=429, retry_after="3600")
    done = trigger("retries=1")
    assert (done.states, done.tries) == ({"trigger": "success"}, {"trigger": 2})
    assert len(sandbox.control.runs()) == 1


@remembers
@pytest.mark.parametrize(
    ("policy", "state", "runs", "sent"),
    [("fail", "failed", 1, {"a": 1}), ("resume", "success", 1, {"a": 1}), ("restart", "success", 2, {"a": 2})],
)
def test_a_retry_with_other_updates(
    sandbox: Sandbox, policy: str, state: str, runs: int, sent: dict[str, int]
) -> None:
    """Try 1 starts a run and cannot wait for it; the value of try 2 is another."""
    sandbox.control.fault("trigger", finish_first=True)
    sandbox.control.fault("get_run", status=401, times=2)
    done = trigger(
        f"wait_for_completion=True, retries=1, on_changed_updates={policy!r}, timeout=20, "
        + updates_of("'config': '{\"a\": {{ ti.try_number }}}'")
    )
    assert (done.states, done.tries) == ({"trigger": state}, {"trigger": 2})
    assert len(sandbox.control.runs()) == runs
    assert configs(sandbox)[COMPONENT_ID] == sent
    if policy == "fail":
        assert "component_updates changed since" in str(done.errors["trigger"])
        assert isinstance(done.errors["trigger"], AirflowFailException)


@remembers
def test_a_run_that_the_api_does_not_know_any_more_stops_a_retry(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_wr.operators.run_store.NOT_YET_VISIBLE", 0)
    sandbox.control.fault("stream", status=401, times=2)
    sandbox.control.fault("get_run", status=404, html=True, times=None)
    done = trigger("wait_for_completion=True, retries=3, timeout=20")
    assert type(done.errors["trigger"]) is WRTriggerUnknownError
    assert done.tries == {"trigger": 2}
    assert len(sandbox.control.runs()) == 1


@pytest.mark.parametrize("answer", [{"runId": RUN_ID, "jobId": 12345}, {"runId": "run_7"}], ids=str)
def test_an_answer_that_names_a_run_is_waited_for(serve: Serve, way: str, answer: dict[str, Any]) -> None:
    run_id = answer["runId"]

    def script(request: Request, peer: Peer) -> None:
        if request.is_trigger:
            peer.answer(201, answer)
        elif request.is_stream:
            peer.send(STREAM_HEAD)
            peer.close()
        else:
            peer.answer(200, {**run("COMPLETED"), "id": run_id})

    serve(script)
    done = trigger(f"{way}, timeout=20")
    assert done.states == {"trigger": "success"}
    assert done.xcoms["trigger"]["return_value"] == run_id


@remembers
def test_a_run_is_logged_at_once_and_stored_once_the_store_is_back(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Airflow's API server restarts while White Rabbit answers."""
    from airflow.sdk.execution_time.context import TaskStateStoreAccessor

    away = iter([False, True, True])
    store = TaskStateStoreAccessor.set
    lines_then: list[str] = []

    def set_or_fail(self: Any, key: str, value: Any, **options: Any) -> None:
        if next(away, False):
            lines_then.extend(record.getMessage() for record in caplog.records)
            raise RuntimeError("API server is restarting")
        store(self, key, value, **options)

    monkeypatch.setattr(TaskStateStoreAccessor, "set", set_or_fail)
    caplog.set_level("INFO", "airflow_provider_wr")
    sandbox.control.fault("get_run", status=401, times=2)
    done = trigger("wait_for_completion=True, retries=1, timeout=20")
    (started,) = sandbox.control.runs()
    assert (done.states, done.tries) == ({"trigger": "success"}, {"trigger": 2})
    assert f"Started run {started['id']}: {sandbox.url}/runs/{started['id']}" in lines_then


@remembers
def test_a_link_that_cannot_be_pushed_yet_starts_no_second_run(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without memory, a task that fails after its trigger pays again."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    push, away = RuntimeTaskInstance.xcom_push, iter([True])

    def push_or_fail(self: Any, key: str, value: Any) -> None:
        if key == "wr_run_url" and next(away, False):
            raise RuntimeError("API server is restarting")
        push(self, key, value)

    monkeypatch.setattr(RuntimeTaskInstance, "xcom_push", push_or_fail)
    done = trigger("wait_for_completion=True, durable=False, retries=1, timeout=20")
    assert (done.states, done.tries) == ({"trigger": "success"}, {"trigger": 1})
    assert len(sandbox.control.runs()) == 1


@remembers
@pytest.mark.parametrize("options", ["", "wait_for_completion=True"])
def test_a_task_that_fails_after_its_run_has_not_delivered_it(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, options: str
) -> None:
    """A clear of a task that delivered its run starts another."""
    from airflow.sdk.execution_time.context import TaskStateStoreAccessor

    from airflow_provider_wr import asset_events

    saved: list[Any] = []
    store = TaskStateStoreAccessor.set

    def keep(self: Any, key: str, value: Any, **kwargs: Any) -> None:
        saved.append(value)
        store(self, key, value, **kwargs)

    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(TaskStateStoreAccessor, "set", keep)
    monkeypatch.setattr(asset_events, "describe", fail)
    assert trigger(options).states == {"trigger": "failed"}
    (started,) = sandbox.control.runs()
    assert (saved[-1]["run_id"], saved[-1]["delivered"]) == (started["id"], False)


@pytest.mark.parametrize("options", ["", "wait_for_completion=True"])
def test_without_xcoms_none_is_pushed(sandbox: Sandbox, options: str) -> None:
    done = trigger(f"do_xcom_push=False, {options}")
    assert done.states == {"trigger": "success"}
    (started,) = sandbox.control.runs()
    link = {"wr_run_url": f"{sandbox.url}/runs/{started['id']}"}
    assert done.xcoms == {"trigger": {**link, **page_xcom(started["id"], outputs=False)}}  # the link's own


# --- updates before the trigger ---------------------------------------------------------------------------


def test_updates_are_applied_in_order_before_the_trigger(sandbox: Sandbox) -> None:
    balance = sandbox.components["Balance"]
    done = trigger(
        f"""component_updates=[
            {{'component_id': COMPONENT_ID, 'config': {{'a': 1, 'b': 1}}}},
            {{'component_id': '{balance}', 'config': '{{"c": 2.5}}', 'name': 'Saldo', 'position': [1, 2]}},
            {{'component_id': COMPONENT_ID, 'config': {{'b': '{{{{ params.b }}}}'}}}},
        ]""",
        params="{'b': 2}",
    )
    assert done.states == {"trigger": "success"}
    assert [each["endpoint"] for each in sandbox.control.requests()] == ["update", "update", "update", "trigger"]
    assert configs(sandbox)[COMPONENT_ID] == {"a": 1, "b": "2"}
    assert configs(sandbox)[balance] == {"c": 2.5}


def test_the_run_has_the_updates(sandbox: Sandbox, way: str) -> None:
    done = trigger(f"{way}, {updating(amount=7)}")
    assert done.xcoms["trigger"]["run"]["runStages"][0]["output"] == {"amount": 7}


BAD_UPDATES = {
    "large number": {"component_id": COMPONENT_ID, "config": {"a": 2**60 + 1}},
    "no JSON": {"component_id": COMPONENT_ID, "config": "{not json"},
    "a list": {"component_id": COMPONENT_ID, "config": [1]},
    "a misspelt field": {"component_id": COMPONENT_ID, "nmae": "n"},
    "a misspelt param": {"component_id": COMPONENT_ID, "config_from_params": ["missing"]},
    "a blank name": {"component_id": COMPONENT_ID, "name": ""},
    "half a position": {"component_id": COMPONENT_ID, "position": [1]},
    "nothing": {"component_id": COMPONENT_ID},
    "no config": {"component_id": COMPONENT_ID, "config": None},
    "no component": {"config": {"a": 1}},
    "a bad id": {"component_id": "Quote", "config": {"a": 1}},
    "None": None,
}


@pytest.mark.parametrize("bad", BAD_UPDATES.values(), ids=BAD_UPDATES)
def test_where_one_update_is_bad_none_is_sent_and_nothing_is_retried(sandbox: Sandbox, bad: Any) -> None:
    done = run_tasks(
        f"""
        @task
        def updates():
            return [{{'component_id': COMPONENT_ID, 'config': {{'a': 1}}}}, {bad!r}]

        WRTriggerRunOperator(task_id='trigger', retries=2, component_updates=updates())
        """,
        params="{'b': 2}",
    )
    assert isinstance(done.errors["trigger"], WRValidationError)
    assert "component_updates[1]" in str(done.errors["trigger"])
    assert done.tries["trigger"] == 1
    assert sandbox.control.requests() == []


@pytest.mark.parametrize(
    "options",
    [
        "component_updates=make(None)",
        "component_updates=make('')",
        "component_updates=make({})",
        "component_updates='{{ params.nothing }}'",
        "component_updates=skipped()",
        "workflow_id='{{ params.nothing }}'",
        "workflow_id=make(None)",
        "workflow_id=make(' ')",
        "wr_conn_id='{{ params.nothing }}'",
    ],
)
def test_what_renders_to_nothing_is_refused_by_name(sandbox: Sandbox, options: str) -> None:
    """The connection has a workflow, and a run could start without updates, but neither was intended."""
    done = run_tasks(
        f"""
        from airflow.exceptions import AirflowSkipException

        @task
        def make(value):
            return value

        @task
        def skipped():
            raise AirflowSkipException

        WRTriggerRunOperator(task_id='trigger', retries=2, trigger_rule='none_failed', {options})
        """,
        params="{'nothing': ''}",
    )
    assert isinstance(done.errors["trigger"], WRValidationError)
    assert options.partition("=")[0] in str(done.errors["trigger"])
    assert done.tries["trigger"] == 1
    assert sandbox.control.requests() == []


@pytest.mark.parametrize("mapped", ["component_updates=[None]", "workflow_id=[None]", "workflow_id=['']"])
def test_what_is_mapped_to_nothing_is_refused(sandbox: Sandbox, mapped: str) -> None:
    done = run_tasks(f"WRTriggerRunOperator.partial(task_id='trigger').expand({mapped})")
    assert isinstance(done.errors["trigger"], WRValidationError)
    assert sandbox.control.requests() == []


def test_a_none_in_the_dag_file_is_left_out(sandbox: Sandbox) -> None:
    run_tasks(
        """
        WRTriggerRunOperator(task_id='plain', workflow_id=None, component_updates=None)
        WRTriggerRunOperator.partial(task_id='mapped', workflow_id=None).expand(retry_run=['never'])
        """
    )
    assert len(sandbox.control.runs()) == 2


def test_the_output_of_mapped_tasks_in_a_config_is_sent_as_a_list(sandbox: Sandbox) -> None:
    done = run_tasks(
        f"""
        @task
        def double(n):
            return 2 * n

        WRTriggerRunOperator(
            task_id='trigger', {updates_of("'config': {'amounts': double.expand(n=[1, 2, 3])}")}
        )
        """
    )
    assert done.states["trigger"] == "success"
    assert configs(sandbox)[COMPONENT_ID] == {"amounts": [2, 4, 6]}


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"component_updates": {"component_id": COMPONENT_ID}}, "should be a list of dicts, not a dict"),
        ({"component_updates": [{"componentId": COMPONENT_ID}]}, "did you mean component_id?"),
        ({"component_updates": [{"component_id": "Quote", "name": "{{ x }}"}, 5]}, r"\[1\] should be a dict"),
        ({"component_updates": [{"component_id": "Quote", "name": "n"}]}, "component_id should be a UUID"),
        ({"timeout": None}, "timeout should be seconds or a timedelta, not None"),
        ({"timeout": "soon"}, "timeout should be seconds or a timedelta, not 'soon'"),
        ({"timeout": float("nan")}, "timeout should be seconds"),
        ({"timeout": True}, "timeout should be seconds"),
        ({"timeout": -1}, "timeout should be seconds"),
        ({"retry_run": "if_cheap"}, "retry_run should be 'if_harmless', 'always' or 'never'"),
        ({"on_changed_updates": "ignore"}, "on_changed_updates should be 'fail', 'resume' or 'restart'"),
        ({"harmless_modules": "HTTP_REQUEST"}, "harmless_modules should be a list"),
        (
            {"max_credits": -1, "wait_for_completion": True},
            "an amount of credits, such as 25, and is -1",
        ),
        ({"max_credits": True}, "should be an amount of credits"),
        ({"max_credits": "{{ params.most }}"}, "should be an amount of credits"),
    ],
    ids=str,
)
def test_what_cannot_become_right_is_refused_when_the_dag_is_parsed(options: dict[str, Any], error: str) -> None:
    with pytest.raises((ValueError, WRValidationError), match=error):
        WRTriggerRunOperator(task_id="trigger", **options)


@pytest.mark.parametrize("timeout", ["20", "'20'", "timedelta(seconds=20)", "20.0"])
def test_a_timeout_in_any_form(sandbox: Sandbox, way: str, timeout: str) -> None:
    assert trigger(f"{way}, timeout={timeout}").states == {"trigger": "success"}


def test_where_an_update_is_refused_nothing_is_started(sandbox: Sandbox) -> None:
    sandbox.control.fault("update", status=422)
    done = trigger(updates_of("'config': {'a': 1}"))
    assert isinstance(done.errors["trigger"], WRValidationError)
    assert sandbox.control.runs() == []


PARAMS = {
    "integer": 2,
    "large": 9007199254740991,
    "number": 0.5,
    "flag": True,
    "text": "2",
    "array": [1, "1", None, {"a": 1.5}],
    "object": {"nested": {"flag": False}},
    "nothing": None,
    "unicode": "ключ — ü",
}


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("given", ["as defaults", "for the run"])
def test_params_keep_their_types(sandbox: Sandbox, native: bool, given: str) -> None:
    names = list(PARAMS)
    conf = PARAMS if given == "for the run" else None
    params = repr(PARAMS) if conf is None else repr(dict.fromkeys(PARAMS))
    done = trigger(updates_of(f"'config_from_params': {names!r}"), params=params, conf=conf, native=native)
    assert done.states == {"trigger": "success"}
    config = configs(sandbox)[COMPONENT_ID]
    assert config == PARAMS
    assert {name: type(value) for name, value in config.items()} == {n: type(v) for n, v in PARAMS.items()}


@pytest.mark.parametrize("native", [False, True])
def test_params_may_have_other_names_in_the_config(sandbox: Sandbox, native: bool) -> None:
    update = "'config': {'kept': 1}, 'config_from_params': {'sum': 'integer', 'list': 'array'}"
    trigger(updates_of(update), params=repr(PARAMS), native=native)
    assert configs(sandbox)[COMPONENT_ID] == {"kept": 1, "sum": 2, "list": PARAMS["array"]}


# --- the arguments ----------------------------------------------------------------------------------------


def test_the_workflow_and_the_connection_may_be_templates(sandbox: Sandbox) -> None:
    done = trigger(
        "workflow_id='{{ params.workflow }}', wr_conn_id='wr_{{ params.conn }}'",
        params="{'workflow': WORKFLOW_ID, 'conn': 'default'}",
    )
    assert done.xcoms["trigger"]["workflow_id"] == WORKFLOW_ID


def test_a_workflow_that_is_no_uuid_starts_nothing(sandbox: Sandbox) -> None:
    done = trigger("workflow_id='supplier-payments', retries=2")
    assert isinstance(done.errors["trigger"], WRValidationError)
    assert done.tries == {"trigger": 1}
    assert sandbox.control.requests() == []


def test_an_unknown_answer_to_doubt_is_refused() -> None:
    with pytest.raises(ValueError, match="on_unknown_trigger should be"):
        WRTriggerRunOperator(task_id="trigger", on_unknown_trigger="retry")


@pytest.mark.parametrize("make", [WRTriggerRunOperator, WRTriggerRunOperator.partial], ids=["plain", "mapped"])
@pytest.mark.parametrize(
    ("options", "warns"),
    [({"retries": 2}, True), ({"retries": 2, "durable": False}, False), ({"retries": 0}, False)],
    ids=str,
)
def test_a_retry_without_memory_is_warned_of(
    make: Callable[..., object], options: dict[str, Any], warns: bool, recwarn: pytest.WarningsRecorder
) -> None:
    made = make(task_id="pay", **options)
    told = [each for each in recwarn if "cannot remember" in str(each.message)]
    assert len(told) == (warns and not AIRFLOW_V_3_3_PLUS), made
    assert {(str(each.message).split()[0], each.filename) for each in told} <= {("pay", __file__)}


@pytest.mark.parametrize("make", [WRTriggerRunOperator, WRTriggerRunOperator.partial], ids=["plain", "mapped"])
@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"deferrable": True}, "deferrable"),
        ({"timeout": 3600}, "timeout"),
        ({"stage_outputs": False}, "stage_outputs"),
        ({"max_credits": 5}, "max_credits"),
        ({"max_credits": None}, None),
        ({"deferrable": True, "timeout": 60, "stage_outputs": True}, "deferrable, timeout, stage_outputs"),
        ({"deferrable": False}, None),
        ({}, None),
        ({"deferrable": True, "timeout": 60, "stage_outputs": False, "wait_for_completion": True}, None),
        ({"default_args": {"deferrable": True, "timeout": 60}}, None),
    ],
    ids=str,
)
def test_what_is_for_a_wait_is_warned_of_without_one(
    make: Callable[..., object],
    options: dict[str, Any],
    named: str | None,
    recwarn: pytest.WarningsRecorder,
) -> None:
    make(task_id="pay", **options)
    told = [(str(each.message), each.filename) for each in recwarn if "does not wait" in str(each.message)]
    said = (
        f"pay does not wait for its run, and makes no use of {named}: "
        "set wait_for_completion=True, or wait in a WRRunSensor"
    )
    assert told == ([(said, __file__)] if named else [])


def test_a_kill_only_logs_that_the_run_keeps_running(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    operator = WRTriggerRunOperator(task_id="trigger")
    operator.on_kill()
    assert "keeps running" not in caplog.text
    operator._kill_note = f"Run {RUN_ID} keeps running"
    operator.on_kill()
    assert f"Run {RUN_ID} keeps running" in caplog.text
