"""Faults work as documented, for the right calls, and the right number of calls."""

from __future__ import annotations

import time
from typing import Any

import pytest
import requests

from airflow_provider_wr.sandbox.faults import ENDPOINTS, Fault
from airflow_provider_wr.sandbox.server import Sandbox

from .api import Api, events


def call(api: Api, endpoint: str) -> requests.Response:
    match endpoint:
        case "trigger":
            return api.call("POST", api.workflow, json={})
        case "update":
            return api.update("Quote", name="New")
        case "get_run":
            return api.call("GET", f"/v1/sdk/workflows/executions/{api.trigger()}")
        case "stream":
            return api.stream(api.trigger())
        case "execute_component":
            return api.execute()
        case "list_components":
            return api.call("GET", "/v1/system/components")
        case "get_execution":
            return api.call("GET", f"/v1/sdk/components/executions/{ended_execution(api)}")
        case "stream_execution":
            return api.stream_execution(ended_execution(api))
        case _:
            return api.replay(ended_execution(api))


def ended_execution(api: Api) -> str:
    execution_id: str = api.execute(callbackUrl="http://127.0.0.1:1/", waitForMs=10_000).json()["id"]
    return execution_id


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_fault_affects_the_given_number_of_calls(api: Api, endpoint: str) -> None:
    api.sandbox.control.fault(endpoint, status=503, times=2)
    assert [call(api, endpoint).status_code // 100 for _ in range(3)] == [5, 5, 2]


def test_a_fault_without_end_lasts_until_cleared(api: Api) -> None:
    api.sandbox.control.fault("trigger", status=500, times=None)
    assert [call(api, "trigger").status_code for _ in range(3)] == [500] * 3
    api.sandbox.control.clear_faults()
    assert call(api, "trigger").status_code == 201


def test_faults_of_one_endpoint_come_in_turn(api: Api) -> None:
    for status in (429, 500):
        api.sandbox.control.fault("trigger", status=status)
    assert [call(api, "trigger").status_code for _ in range(3)] == [429, 500, 201]


@pytest.mark.parametrize("retry_after", ["2", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_the_rate_limit(api: Api, retry_after: str) -> None:
    api.sandbox.control.fault("trigger", status=429, retry_after=retry_after)
    response = call(api, "trigger")
    assert response.headers["Retry-After"] == retry_after
    assert response.json() == {"error": "RATE_LIMITED", "message": "Rate limit exceeded"}


def test_a_page_of_a_proxy(api: Api) -> None:
    api.sandbox.control.fault("get_run", html=True)
    response = call(api, "get_run")
    assert response.status_code == 502
    assert response.headers["Content-Type"].startswith("text/html")
    assert "<h1>502 Bad Gateway</h1>" in response.text


@pytest.mark.parametrize("obey", [False, True])
def test_a_reset_connection(api: Api, obey: bool) -> None:
    api.sandbox.control.fault("trigger", reset=True, obey=obey)
    with pytest.raises(requests.ConnectionError, match="Connection reset by peer"):
        call(api, "trigger")
    assert len(api.sandbox.control.runs()) == obey
    assert [request["status"] for request in api.sandbox.control.requests()] == [None]


@pytest.mark.parametrize("obey", [False, True])
@pytest.mark.parametrize(("how", "words"), [("reset", "reset by peer"), ("close", "closed connection")])
def test_an_execution_whose_answer_is_lost(api: Api, how: str, words: str, obey: bool) -> None:
    api.sandbox.control.fault("execute_component", **{how: True}, obey=obey)
    with pytest.raises(requests.ConnectionError, match=words):
        api.execute()
    assert len(api.sandbox.control.executions()) == obey
    assert [request["status"] for request in api.sandbox.control.requests()] == [None]


@pytest.mark.parametrize("endpoint", ["trigger", "execute_component"])
def test_an_error_may_repeat_the_key(api: Api, endpoint: str) -> None:
    api.sandbox.control.fault(endpoint, status=401, echo_key=True)
    expected = {"error": "UNAUTHORIZED", "message": f"Invalid API key: {api.sandbox.api_key}"}
    assert call(api, endpoint).json() == expected


@pytest.mark.parametrize("obey", [False, True])
def test_a_status_may_hide_that_the_request_was_obeyed(api: Api, obey: bool) -> None:
    api.sandbox.control.fault("update", status=500, obey=obey)
    assert call(api, "update").status_code == 500
    assert api.sandbox.control.components()[0]["name"] == ("New" if obey else "Quote")


def test_a_delayed_answer(api: Api) -> None:
    api.sandbox.control.fault("trigger", delay=0.2)
    before = time.monotonic()
    assert call(api, "trigger").status_code == 201
    assert time.monotonic() - before >= 0.2


def test_a_trigger_may_be_obeyed_long_before_its_answer(api: Api) -> None:
    api.sandbox.control.fault("trigger", delay=60, obey=True)
    with pytest.raises(requests.ReadTimeout):
        api.call("POST", api.workflow, json={}, timeout=0.2)
    assert len(api.sandbox.control.runs()) == 1


def test_a_late_answer_does_not_reach_past_a_reset(api: Api) -> None:
    api.sandbox.control.fault("trigger", delay=60)
    with pytest.raises(requests.ReadTimeout):
        api.call("POST", api.workflow, json={}, timeout=0.2)
    api.sandbox.control.reset()
    assert call(api, "get_run").status_code == 200
    assert len(api.sandbox.control.runs()) == 1, "the waiting trigger woke up in the world before"


def test_a_run_may_end_before_its_trigger_is_answered(api: Api) -> None:
    api.sandbox.control.fault("trigger", finish_first=True)
    api.update("Quote", config={"seconds": 60})
    run = api.run(api.trigger())
    assert run["status"] == "COMPLETED"
    assert len(run["runStages"]) == 9


def test_an_execution_may_end_before_its_request_is_answered(api: Api) -> None:
    api.sandbox.control.fault("execute_component", finish_first=True)
    assert api.execute(config={"seconds": 60}).json()["status"] == "COMPLETED"


def test_an_execution_may_begin_long_before_its_answer(api: Api) -> None:
    api.sandbox.control.fault("execute_component", delay=60, obey=True)
    with pytest.raises(requests.ReadTimeout):
        api.call("POST", "/v1/sdk/components", json={"module": "RANDOM_UUID"}, timeout=0.2)
    assert len(api.sandbox.control.executions()) == 1


def test_the_stream_of_an_execution_cut_before_its_end(api: Api) -> None:
    api.sandbox.control.fault("stream_execution", drop_after=0)
    execution_id = api.execute(config={"seconds": 60}).json()["id"]
    with api.stream_execution(execution_id) as stream, pytest.raises(requests.exceptions.ChunkedEncodingError):
        list(events(stream))


def test_the_terminal_event_of_an_execution_may_be_lost() -> None:
    with Sandbox(heartbeat=0.1) as sandbox:
        api = Api(sandbox)
        sandbox.control.fault("stream_execution", lose_terminal=True)
        execution_id = api.execute(config={"seconds": 0.2}).json()["id"]
        with api.stream_execution(execution_id) as stream:
            lines = stream.iter_lines(chunk_size=1, decode_unicode=True)
            while api.execution(execution_id)["status"] != "COMPLETED":
                assert "COMPLETED" not in next(lines)
            assert all("COMPLETED" not in next(lines) for _ in range(8))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_stream_cut_after_some_events(api: Api, count: int) -> None:
    api.sandbox.control.fault("stream", drop_after=count)
    seen: list[Any] = []
    with api.stream(api.trigger()) as stream, pytest.raises(requests.exceptions.ChunkedEncodingError):
        seen.extend(events(stream))
    assert len(seen) == count


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"endpoint": "teapot", "delay": 1}, "endpoint"),
        ({"endpoint": "trigger"}, "nothing"),
        ({"endpoint": "trigger", "times": 3}, "nothing"),
        ({"endpoint": "trigger", "colour": 1}, "colour"),
        ({"endpoint": "trigger", "status": "500"}, "status"),
        ({"endpoint": "trigger", "status": 99}, "status"),
        ({"endpoint": "trigger", "reset": True, "times": 0}, "times"),
        ({"endpoint": "trigger", "delay": -1}, "delay"),
        ({"endpoint": "trigger", "drop_after": 1}, "drop_after"),
        ({"endpoint": "stream", "finish_first": True}, "finish_first"),
        ({"endpoint": "stream", "stages_by_id": True}, "stages_by_id"),
        ({"endpoint": "trigger", "drift": "yes"}, "drift"),
        ({"endpoint": "get_run", "status": 500, "obey": True}, "obey"),
        ({"endpoint": "get_execution", "drop_after": 1}, "drop_after"),
        ({"endpoint": "get_run", "echo_key": True}, "echo_key"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(api: Api, settings: dict[str, Any], words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        Fault(**settings)
    response = api.call("POST", "/_sandbox/faults", json=settings)
    assert response.status_code == 422
    assert words in response.json()["errors"][0]["message"]
    assert api.sandbox.control.faults() == []


def test_faults_are_listed_with_the_calls_they_have_left(api: Api) -> None:
    api.sandbox.control.fault("trigger", status=500, times=2)
    api.sandbox.control.fault("stream", silent=True, times=None)
    call(api, "trigger")
    assert api.sandbox.control.faults() == [
        Fault("trigger", status=500, times=1),
        Fault("stream", silent=True, times=None),
    ]
