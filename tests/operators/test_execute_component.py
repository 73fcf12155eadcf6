"""
The operator that runs a component without a workflow: once, with what it was given, and what it leaves behind.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowTaskTimeout
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_3_PLUS
from dags.running import page_xcom, run_tasks
from hooks.conftest import Connect, Serve
from servers import STREAM_HEAD, Peer, Request

from airflow_provider_wr.exceptions import (
    WRComponentFailedError,
    WRCreditLimitError,
    WRTimeoutError,
    WRTriggerUnknownError,
    WRValidationError,
)
from airflow_provider_wr.operators.wr import WRExecuteComponentOperator
from airflow_provider_wr.sandbox.server import Sandbox

from .test_trigger_run import WAYS, _stored_keys

pytestmark = pytest.mark.usefixtures("airflow_db")

remembers = pytest.mark.skipif(not AIRFLOW_V_3_3_PLUS, reason="Airflow remembers across tries from 3.3 on")

ID = "e1ec0000-1111-4222-8333-944455556666"
BALANCE = "module='GET_EVM_ACCOUNT_BALANCE', input={'address': '0x1'}"
PAY = "module='SEND_EVM_TRANSACTION', input={'to': '0x1', 'value': '5'}, config={'chainId': 1}"


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return f"{WAYS[request.param]}, timeout=20"


def execute(options: str = BALANCE, **kwargs: Any) -> Any:
    return run_tasks(f"WRExecuteComponentOperator(task_id='run', {options})", **kwargs)


def received(sandbox: Sandbox) -> Counter[str]:
    return Counter(each["endpoint"] for each in sandbox.control.requests())


def balance_of(output: Any) -> int:
    return int(output["balance"])


# --- the good case ----------------------------------------------------------------------------------------


def test_it_returns_the_output_and_leaves_the_record(sandbox: Sandbox, way: str) -> None:
    done = execute(f"{BALANCE}, {way}")
    (execution,) = sandbox.control.executions()
    assert done.states == {"run": "success"}
    xcoms = done.xcoms["run"]
    page = page_xcom(execution["id"], name="execution_id")
    assert xcoms.keys() - page.keys() == {"return_value", "execution_id", "execution", "wr_execution_url"}
    assert {name: xcoms[name] for name in page} == page
    assert (xcoms["execution_id"], xcoms["execution"]["id"]) == (execution["id"], execution["id"])
    assert xcoms["execution"]["output"] == xcoms["return_value"]
    assert balance_of(xcoms["return_value"]) > 0
    assert xcoms["wr_execution_url"] == f"{sandbox.url}/executions/{execution['id']}"
    assert received(sandbox)["execute_component"] == 1


def test_what_ended_within_the_wait_is_read_no_more(sandbox: Sandbox, way: str) -> None:
    done = execute(f"{BALANCE}, {way}, wait_ms=15000")
    assert done.states == {"run": "success"}
    assert received(sandbox) == {"execute_component": 1}


def test_without_waiting_it_returns_the_id(sandbox: Sandbox) -> None:
    done = execute(f"{BALANCE}, wait_for_completion=False")
    (execution,) = sandbox.control.executions()
    assert done.xcoms["run"].keys() - {"wr_page"} == {"return_value", "execution_id", "wr_execution_url"}
    assert done.xcoms["run"]["return_value"] == execution["id"]
    assert received(sandbox) == {"execute_component": 1}


def test_the_link_is_there_while_the_task_waits(serve: Serve) -> None:
    seen: list[set[str]] = []

    def script(request: Request, peer: Peer) -> None:
        if request.is_stream:
            seen.append(_stored_keys())
            peer.send(STREAM_HEAD)
            peer.close()
        else:
            status = "CREATED" if request.method == "POST" else "COMPLETED"
            peer.answer(200, {"id": ID, "status": status, "module": "X", "output": 7})

    serve(script, execution_url="https://x.example/{execution_id}")
    execute("module='X', timeout=20")
    assert [keys - {"wr_page"} for keys in seen] == [{"execution_id", "wr_execution_url"}]


def test_the_start_is_logged_with_the_link(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "airflow_provider_wr")
    execute()
    (execution,) = sandbox.control.executions()
    assert f"Started execution {execution['id']}: {sandbox.url}/executions/{execution['id']}" in caplog.messages


def test_without_xcoms_none_is_pushed(sandbox: Sandbox) -> None:
    done = execute(f"{BALANCE}, do_xcom_push=False")
    (execution,) = sandbox.control.executions()
    page = page_xcom(execution["id"], outputs=False, name="execution_id")
    # Those of the link and the page stay.
    assert done.xcoms == {"run": {"wr_execution_url": f"{sandbox.url}/executions/{execution['id']}", **page}}


def test_an_output_that_airflow_cannot_keep_is_changed(sandbox: Sandbox, way: str) -> None:
    done = execute(f"module='RANDOM_UUID', config={{'answerWith': {{'memo': 'a\\0b'}}}}, {way}")
    assert done.xcoms["run"]["return_value"] == {"memo": "a\ufffdb"}
    assert done.xcoms["run"]["execution"]["output"] == {"memo": "a\ufffdb"}


# --- what is sent -----------------------------------------------------------------------------------------


def test_everything_is_templated_and_params_keep_their_types(sandbox: Sandbox) -> None:
    done = execute(
        """
        module='{{ params.module }}',
        input={'to': '{{ params.to }}'},
        input_from_params={'value': 'wei'},
        config='{"chainId": {{ params.chain }}}',
        config_from_params=['answerWith'],
        wr_conn_id='{{ params.conn }}',
        """,
        params="{'module': 'SEND_EVM_TRANSACTION', 'to': '0x9', 'wei': 7, 'chain': 1, 'answerWith': {'ok': True},"
        " 'conn': 'wr_default'}",
    )
    assert done.states == {"run": "success"}
    (execution,) = sandbox.control.executions()
    assert execution["input"] == {"to": "0x9", "value": 7}
    assert execution["config"] == {"chainId": 1, "answerWith": {"ok": True}}


def test_the_output_of_mapped_tasks_is_an_input(sandbox: Sandbox) -> None:
    done = run_tasks(
        """
        @task
        def double(n):
            return 2 * n

        WRExecuteComponentOperator(
            task_id='run', module='RANDOM_UUID', input={'amounts': double.expand(n=[1, 2, 3])}
        )
        """
    )
    assert done.states["run"] == "success"
    assert sandbox.control.executions()[0]["input"] == {"amounts": [2, 4, 6]}


def test_a_mapped_task_runs_a_component_for_each(sandbox: Sandbox) -> None:
    done = run_tasks(
        """
        WRExecuteComponentOperator.partial(
            task_id='run', module='GET_EVM_ACCOUNT_BALANCE', retries=1
        ).expand(input=[{'address': f'0x{n}'} for n in range(4)])
        """
    )
    assert done.state == "success"
    sent = sorted(each["input"]["address"] for each in sandbox.control.executions())
    assert sent == ["0x0", "0x1", "0x2", "0x3"]


def test_the_servers_attempts_are_one_execution(sandbox: Sandbox, way: str) -> None:
    done = execute(f"module='RANDOM_UUID', config={{'failAttempts': 2}}, attempts=3, {way}")
    assert done.states == {"run": "success"}
    (execution,) = sandbox.control.executions()
    assert execution["attempts"] == 3


@pytest.mark.parametrize(
    "options",
    [
        "module=make(None)",
        "module='{{ params.nothing }}'",
        "module='RANDOM_UUID', input=make('')",
        "module='RANDOM_UUID', config='{{ params.nothing }}'",
        "module='RANDOM_UUID', callback_url=make(None)",
        "module='RANDOM_UUID', callback_url='https://x.example', callback_secret='{{ params.nothing }}'",
        "module='RANDOM_UUID', wr_conn_id=make(' ')",
        "module='RANDOM_UUID', input=make([1])",
        "module='RANDOM_UUID', input=make('{not json')",
        "module='RANDOM_UUID', input='{{ params.nothing }}x'",
        "module='RANDOM_UUID', config_from_params=['missing']",
        "module='RANDOM_UUID', input={'a': 1}, input_from_params={'a': 'nothing'}",
        "module='RANDOM_UUID', callback_url='http://{{ params.host }}'",
        "module='RANDOM_UUID', callback_secret=make('hush-hush')",
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_sent_and_not_retried(sandbox: Sandbox, options: str) -> None:
    done = run_tasks(
        f"""
        @task
        def make(value):
            return value

        WRExecuteComponentOperator(task_id='run', retries=2, {options})
        """,
        params="{'nothing': '', 'host': 'x.example'}",
    )
    assert isinstance(done.errors["run"], WRValidationError)
    assert done.tries["run"] == 1
    assert "hush" not in str(done.errors["run"])
    assert sandbox.control.requests() == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"attempts": 4}, "attempts should be an integer from 1 to 3, not 4"),
        ({"attempts": True}, "attempts should be an integer from 1 to 3, not True"),
        ({"wait_ms": 15001}, "wait_ms should be an integer from 0 to 15000, not 15001"),
        ({"callback_url": "http://x.example"}, "callback_url should be a URL that starts with https://"),
        ({"input": [1]}, "input should be an object"),
        ({"config": "[1]"}, "config should be an object"),
        ({"input": {"a": 2**60 + 1}}, "$.input.a is an integer that JavaScript would round"),
        ({"module": " "}, "module should be the name of a component"),
        ({"retry_run": "maybe"}, "retry_run should be 'if_harmless', 'always' or 'never'"),
        ({"on_changed_input": "x"}, "on_changed_input should be 'fail', 'resume' or 'restart'"),
        ({"timeout": "soon"}, "timeout should be seconds or a timedelta"),
    ],
)
def test_a_literal_that_is_wrong_is_refused_when_the_dag_is_parsed(options: dict[str, Any], says: str) -> None:
    with pytest.raises((WRValidationError, ValueError)) as refused:
        WRExecuteComponentOperator(**{"task_id": "run", "module": "X", **options})
    assert says in str(refused.value)


@pytest.mark.parametrize(
    "options", [{"attempts": 4}, {"wait_ms": -1}, {"timeout": "soon"}, {"retry_run": "maybe"}]
)
def test_so_is_one_of_a_mapped_task(options: dict[str, Any]) -> None:
    with pytest.raises((WRValidationError, ValueError), match=next(iter(options))):
        WRExecuteComponentOperator.partial(task_id="run", **options)


# --- endings ----------------------------------------------------------------------------------------------


def test_a_component_that_failed_fails_the_task_with_the_apis_error(sandbox: Sandbox, way: str) -> None:
    done = execute(f"module='RANDOM_UUID', config={{'failWith': {{'message': 'no node', 'code': 7}}}}, {way}")
    error = done.errors["run"]
    (execution,) = sandbox.control.executions()
    assert type(error).__name__ == "WRComponentFailedError"
    assert isinstance(error, WRComponentFailedError)
    assert error.execution.id == execution["id"]
    assert str(error).startswith(f"execution {execution['id']} ended ")
    assert "\n  RANDOM_UUID: no node\n" in str(error)
    assert str(error).endswith(f"{sandbox.url}/executions/{execution['id']}")
    assert done.xcoms["run"].keys() - {"wr_page"} == {"execution_id", "execution", "wr_execution_url"}


@pytest.mark.parametrize(
    ("options", "executions"),
    [
        pytest.param(PAY, 1, id="a payment"),
        pytest.param(BALANCE, 3, id="a read"),
        pytest.param("module='API_CALL', config={'apiUrl': 'x', 'method': 'GET'}", 1, id="a request"),
        pytest.param(f"{PAY}, retry_run='always'", 3, id="always"),
        pytest.param(f"{BALANCE}, retry_run='never'", 1, id="never"),
        pytest.param(f"{PAY}, harmless_modules=['send_*']", 3, id="named as harmless"),
    ],
)
def test_a_retry_starts_another_only_where_that_does_no_harm(
    sandbox: Sandbox, way: str, options: str, executions: int
) -> None:
    for module in ("SEND_EVM_TRANSACTION", "GET_EVM_ACCOUNT_BALANCE", "API_CALL"):
        sandbox.control.steer(module, {"failWith": "no funds"})
    done = execute(f"{options}, {way}, retries=2")
    assert (done.states, done.tries) == ({"run": "failed"}, {"run": executions})
    assert len(sandbox.control.executions()) == executions
    assert isinstance(done.errors["run"], AirflowFailException) is (executions == 1)
    assert ("No retry: " in str(done.errors["run"])) is (executions == 1)


def test_the_connection_may_name_harmless_modules(sandbox: Sandbox, connect: Connect) -> None:
    connect(sandbox.url, api_key=sandbox.api_key, harmless_modules="RANDOM_UUID")
    execute("module='RANDOM_UUID', config={'failWith': 'x'}, retries=1")
    assert len(sandbox.control.executions()) == 2


def test_time_runs_out_and_says_so(sandbox: Sandbox, way: str) -> None:
    done = execute(f"module='RANDOM_UUID', config={{'seconds': 100}}, {way.replace('20', '0.5')}")
    (execution,) = sandbox.control.executions()
    assert type(done.errors["run"]) is WRTimeoutError
    assert str(done.errors["run"]) == (
        f"the wait timed out after 0.5 s; execution {execution['id']}, last seen EXECUTING, keeps running: "
        f"White Rabbit has no call to cancel it; see {sandbox.url}/executions/{execution['id']}"
    )


@pytest.mark.parametrize(
    ("options", "kind"),
    [("timeout=7", WRTimeoutError), ("execution_timeout=timedelta(seconds=7)", AirflowTaskTimeout)],
)
def test_where_airflow_ends_the_wait_it_is_said_that_the_execution_goes_on(
    sandbox: Sandbox, options: str, kind: type[BaseException]
) -> None:
    done = run_tasks(
        f"""
        class Abandoned(WRExecuteComponentOperator):
            def execute(self, context):
                super().execute(context)
                self.resume_execution("__fail__", {{"error": "Trigger timeout"}}, context)

        Abandoned(
            task_id="run", module="RANDOM_UUID", config={{"seconds": 600}}, {options}, wait_for_completion=False
        )
        """
    )
    (execution,) = sandbox.control.executions()
    assert type(done.errors["run"]) is kind
    assert f"execution {execution['id']}, last seen EXECUTING, keeps running" in str(done.errors["run"])


def test_an_execution_that_used_more_than_the_limit_fails_the_task_without_retries(
    sandbox: Sandbox, way: str
) -> None:
    done = execute(f"{PAY}, {way}, max_credits=1.5, retries=2, retry_run='always'")
    assert (done.states, done.tries) == ({"run": "failed"}, {"run": 1})
    assert isinstance(done.errors["run"], WRCreditLimitError)
    assert len(sandbox.control.executions()) == 1


# --- never twice ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [{"reset": True}, {"status": 503}, {"html": True}], ids=str)
def test_an_execution_in_doubt_fails_the_task_without_retries(sandbox: Sandbox, fault: dict[str, Any]) -> None:
    sandbox.control.fault("execute_component", obey=True, **fault)
    done = execute(f"{PAY}, retries=3")
    assert (done.states, done.tries) == ({"run": "failed"}, {"run": 1})
    assert type(done.errors["run"]) is WRTriggerUnknownError
    assert "component SEND_EVM_TRANSACTION was triggered at" in str(done.errors["run"])
    assert len(sandbox.control.executions()) == 1


def test_an_execution_in_doubt_is_sent_again_where_that_is_asked_for(sandbox: Sandbox) -> None:
    sandbox.control.fault("execute_component", obey=True, reset=True)
    done = execute(f"{BALANCE}, retries=3, on_unknown_trigger='retrigger'")
    assert (done.states, done.tries) == ({"run": "success"}, {"run": 2})
    assert len(sandbox.control.executions()) == 2


def test_an_execution_that_was_refused_is_tried_again(sandbox: Sandbox) -> None:
    sandbox.control.fault("execute_component", status=429, retry_after="3600")
    done = execute(f"{PAY}, retries=1")
    assert (done.states, done.tries) == ({"run": "success"}, {"run": 2})
    assert len(sandbox.control.executions()) == 1


@remembers
def test_a_retry_goes_on_with_the_execution_that_an_earlier_try_started(sandbox: Sandbox, way: str) -> None:
    """Try 1 cannot ask about its execution; try 2 finds it, and starts none."""
    sandbox.control.fault("get_execution", status=422)
    sandbox.control.steer("SEND_EVM_TRANSACTION", {"seconds": 20})
    done = execute(f"{PAY}, {way}, retries=1")
    assert (done.states, done.tries) == ({"run": "success"}, {"run": 2})
    (execution,) = sandbox.control.executions()
    assert done.xcoms["run"]["execution_id"] == execution["id"]
    assert done.xcoms["run"]["return_value"].keys() == {"transactionHash"}


@remembers
def test_a_retry_takes_the_output_of_one_that_has_completed_meanwhile(sandbox: Sandbox) -> None:
    sandbox.control.fault("execute_component", finish_first=True)
    sandbox.control.fault("stream_execution", status=401, times=2)
    # The answer to the POST has the end: it is lost, but for the id.
    done = execute(f"{PAY}, retries=1")
    assert (done.states, done.tries) == ({"run": "success"}, {"run": 1})
    assert len(sandbox.control.executions()) == 1


@remembers
@pytest.mark.parametrize(
    ("policy", "state", "executions"), [("fail", "failed", 1), ("resume", "success", 1), ("restart", "success", 2)]
)
def test_a_retry_with_another_input(sandbox: Sandbox, policy: str, state: str, executions: int) -> None:
    sandbox.control.fault("get_execution", status=422)
    done = execute(
        "module='GET_EVM_ACCOUNT_BALANCE', input={'address': '{{ ti.try_number }}'}, retries=1, "
        f"on_changed_input={policy!r}, timeout=20"
    )
    assert (done.states, done.tries) == ({"run": state}, {"run": 2})
    assert len(sandbox.control.executions()) == executions
    if policy == "fail":
        assert "input or config changed since: on_changed_input='resume'" in str(done.errors["run"])
        assert isinstance(done.errors["run"], AirflowFailException)


@remembers
def test_what_the_api_does_not_know_any_more_stops_a_retry(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_wr.operators.run_store.NOT_YET_VISIBLE", 0)
    sandbox.control.fault("stream_execution", status=401, times=2)
    sandbox.control.fault("get_execution", status=404, html=True, times=None)
    done = execute(f"{PAY}, retries=3, timeout=20")
    assert type(done.errors["run"]) is WRTriggerUnknownError
    assert done.tries == {"run": 2}
    assert len(sandbox.control.executions()) == 1


@pytest.mark.parametrize("durable", [False] if AIRFLOW_V_3_3_PLUS else [False, True])
def test_without_memory_a_retry_starts_another(sandbox: Sandbox, durable: bool) -> None:
    sandbox.control.fault("get_execution", status=422)
    done = execute(f"{BALANCE}, durable={durable}, retries=1, timeout=20")
    assert done.tries == {"run": 2}
    assert len(sandbox.control.executions()) == 2


# --- the catalogue ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("module='GET_EVM_ACCOUNT_BALANCE'", "input.address is missing (GET_EVM_ACCOUNT_BALANCE)"),
        ("module='GET_BALANCE'", "the catalogue has no component 'GET_BALANCE'"),
        ("module='FOR_EACH'", "FOR_EACH cannot be run alone: its execution modes are WORKFLOW"),
        (
            "module='API_CALL', config={'apiUrl': 'x', 'method': 'FETCH'}",
            "config.method should be one of GET, POST, PUT, PATCH, DELETE (API_CALL)",
        ),
    ],
)
def test_what_does_not_fit_the_catalogue_is_not_sent_and_not_retried(
    sandbox: Sandbox, options: str, says: str
) -> None:
    done = execute(f"{options}, validate=True, retries=2")
    assert says in str(done.errors["run"])
    assert done.tries == {"run": 1}
    assert received(sandbox) == {"list_components": 1}


def test_what_fits_is_sent(sandbox: Sandbox) -> None:
    assert execute(f"{PAY}, validate=True").states == {"run": "success"}
    assert received(sandbox)["list_components"] == 1


@pytest.mark.parametrize("fault", [{"status": 404}, {"html": True, "times": None}, {"status": 401}], ids=str)
def test_without_a_catalogue_it_is_sent_as_it_is(
    sandbox: Sandbox, fault: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    sandbox.control.fault("list_components", **fault)
    assert execute(f"{BALANCE}, validate=True").states == {"run": "success"}
    assert "The catalogue could not be read" in caplog.text


# --- callbacks --------------------------------------------------------------------------------------------


def test_secrets_of_a_callback_are_stored_nowhere(
    sandbox: Sandbox, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    """They come from a template, as from a connection; the API repeats them in an output and in an error."""
    from airflow.models.renderedtifields import RenderedTaskInstanceFields
    from airflow.utils.session import create_session
    from sqlalchemy import select

    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.INFO, logger="sse_starlette")  # the sandbox's: it logs each event that it sends
    echo = "{'answerWith': {'said': 'hush-secret and Bearer hush-token'}}"
    done = execute(
        f"""
        module='RANDOM_UUID', config={echo}, {way},
        callback_url='https://127.0.0.1:1/done',
        callback_secret='{{{{ params.secret }}}}',
        callback_headers={{'Authorization': 'Bearer {{{{ params.token }}}}', 'X-Flag': 'true'}},
        """,
        params="{'secret': 'hush-secret', 'token': 'hush-token'}",
    )
    assert done.states == {"run": "success"}
    assert done.xcoms["run"]["return_value"] == {"said": "*** and ***"}
    assert "hush" not in json.dumps(done.xcoms)
    with create_session() as session:
        rows = session.scalars(select(RenderedTaskInstanceFields))
        rendered = [text for row in rows if "X-Flag" in (text := json.dumps(row.rendered_fields))]
    assert rendered
    assert "hush" not in "".join(rendered)
    assert [line for line in caplog.messages if "hush" in line and "params" not in line] == []


# --- mapped, and with the defaults of a DAG ---------------------------------------------------------------


def test_a_task_that_does_not_wait_is_warned_of_what_is_for_waiting() -> None:
    with pytest.warns(UserWarning, match="run does not wait for its execution, and makes no use of timeout"):
        WRExecuteComponentOperator(task_id="run", module="X", wait_for_completion=False, timeout=5)
    with pytest.warns(
        UserWarning, match="makes no use of max_credits: .* or wait in a WRComponentExecutionSensor"
    ):
        WRExecuteComponentOperator.partial(task_id="run", wait_for_completion=False, max_credits=5)
