"""Components without a workflow: the endpoints follow the API, and executions follow their config."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any
from uuid import UUID

import jsonschema
import pytest
import requests

from airflow_provider_wr.sandbox.components import CATALOGUE
from airflow_provider_wr.sandbox.server import Sandbox

from .api import Api, events, events_of

if TYPE_CHECKING:
    pass

COMPONENTS = "/v1/sdk/components"
UNKNOWN = "00000000-0000-4000-8000-000000000000"
WAIT = 10_000
"""Milliseconds that no test waits for: what it starts has ended before."""

REQUESTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "RANDOM_UUID": ({}, {}),
    "API_CALL": ({}, {"apiUrl": "https://example.com", "method": "GET"}),
    "GET_EVM_ACCOUNT_BALANCE": ({"address": "0x1"}, {}),
    "SEND_EVM_TRANSACTION": ({"to": "0x1", "value": 20 * 10**18}, {"chainId": 1}),
}
"""An input and a config for each module that runs alone."""


@pytest.fixture
def catalogue(api: Api) -> dict[str, Any]:
    return {module["module"]: module for module in api.call("GET", "/v1/system/components").json()}


def test_an_execution_has_every_documented_field(api: Api) -> None:
    response = api.execute()
    assert response.status_code == 201
    record = response.json()
    assert UUID(record["id"])
    assert record.keys() == {
        *("id", "module", "status", "completed", "output", "error", "totalUsage", "createdAt", "updatedAt"),
        "callback",
    }
    assert (record["module"], record["status"], record["completed"]) == ("RANDOM_UUID", "CREATED", False)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record["createdAt"])
    assert record["callback"] == {
        "url": None,
        "signed": False,
        "signatureAlgorithm": None,
        "headerNames": [],
        "deliveredAt": None,
        "lastAttemptAt": None,
        "attemptCount": 0,
        "lastError": None,
    }


def test_a_repeated_request_is_a_second_execution(api: Api) -> None:
    first, second = (api.execute(waitForMs=WAIT).json() for _ in range(2))
    assert first["id"] != second["id"]
    assert [execution["id"] for execution in api.sandbox.control.executions()] == [first["id"], second["id"]]


@pytest.mark.parametrize(
    ("config", "options", "status", "output", "error", "attempts"),
    [
        pytest.param({"answerWith": {"n": 1}}, {}, "COMPLETED", {"n": 1}, None, 1, id="completed"),
        pytest.param({"answerWith": None}, {}, "COMPLETED", None, None, 1, id="null"),
        pytest.param({"failWith": "no node"}, {}, "FAILED", None, {"message": "no node"}, 1, id="failed"),
        pytest.param({"failWith": ["\0", 1]}, {}, "FAILED", None, ["\0", 1], 1, id="odd error"),
        pytest.param({"failWith": "no"}, {"attempts": 3}, "FAILED", None, {"message": "no"}, 3, id="thrice"),
        pytest.param(
            {"failAttempts": 2, "answerWith": 1}, {"attempts": 3}, "COMPLETED", 1, None, 3, id="third attempt"
        ),
        pytest.param(
            {"failAttempts": 2}, {"attempts": 2}, "FAILED", None, {"message": "attempt 2 failed"}, 2, id="twice"
        ),
        pytest.param({"failAttempts": 1}, {}, "FAILED", None, {"message": "attempt 1 failed"}, 1, id="default"),
        pytest.param(
            {"seconds": "2"},
            {"attempts": 3},
            "FAILED",
            None,
            {"message": "seconds must be a number of seconds, not '2'"},
            1,
            id="bad config",
        ),
    ],
)
def test_how_an_execution_ends(
    api: Api,
    config: dict[str, Any],
    options: dict[str, Any],
    status: str,
    output: Any,
    error: Any,
    attempts: int,
) -> None:
    record = api.execute(config=config, waitForMs=WAIT, **options).json()
    assert (record["status"], record["output"], record["error"]) == (status, output, error)
    assert (record["completed"], record["totalUsage"]) == (True, 1)
    assert api.execution(record["id"]) == record
    (summary,) = api.sandbox.control.executions()
    assert (summary["status"], summary["attempts"]) == (status, attempts)


def test_attempts_back_off(api: Api) -> None:
    before = time.monotonic()
    api.execute(config={"failWith": "no"}, attempts=3, waitForMs=WAIT)
    assert 0.6 <= time.monotonic() - before < 5


@pytest.mark.parametrize("module", REQUESTS)
def test_the_modules_fit_their_schemas(api: Api, catalogue: dict[str, Any], module: str) -> None:
    input, config = REQUESTS[module]
    record = api.execute(module, input, config, waitForMs=WAIT).json()
    assert record["totalUsage"] == CATALOGUE[module].credits
    entry = catalogue[module]
    assert "COMPONENT" in entry["executionModes"]
    assert {parameter["name"] for parameter in entry["inputs"]["parameters"]} == input.keys()
    assert {response["name"] for response in entry["outputs"]["response"]} == record["output"].keys()
    with_bigint = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine(
        "bigint", lambda _, value: isinstance(value, int)
    )
    validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, type_checker=with_bigint)
    validator(entry["configs"]).validate(config)
    for parameter in entry["inputs"]["parameters"]:
        validator(parameter["schema"]).validate(input[parameter["name"]])
    for response in entry["outputs"]["response"]:
        validator(response["schema"]).validate(record["output"][response["name"]])


def test_the_catalogue_needs_no_key(api: Api) -> None:
    response = requests.get(f"{api.sandbox.url}/v1/system/components", timeout=10)
    assert response.status_code == 200
    assert {module["module"] for module in response.json()} == {*REQUESTS, "FOR_EACH"}
    assert all(
        module.keys() == {"name", "module", "type", "executionModes", "inputs", "outputs", "configs"}
        for module in response.json()
    )


def test_a_module_for_workflows_does_not_run_alone(api: Api, catalogue: dict[str, Any]) -> None:
    assert catalogue["FOR_EACH"]["executionModes"] == ["WORKFLOW"]
    assert api.execute("FOR_EACH", {"items": []}).status_code == 422


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"module": "TEAPOT"}, "module must be one of the catalogue"),
        ({}, "module must be one of the catalogue"),
        ({"module": ["RANDOM_UUID"]}, "module must be one of the catalogue"),
        ({"module": "FOR_EACH"}, "runs in workflows only"),
        ({"module": "RANDOM_UUID", "input": []}, "input must be an object"),
        ({"module": "RANDOM_UUID", "config": None}, "config must be an object"),
        ({"module": "GET_EVM_ACCOUNT_BALANCE"}, "input.address is required"),
        ({"module": "SEND_EVM_TRANSACTION", "input": {"to": "", "value": 1}}, "config.chainId is required"),
        *(({"module": "RANDOM_UUID", "attempts": each}, "attempts must") for each in (0, 4, True, "2", 1.5, None)),
        *(({"module": "RANDOM_UUID", "waitForMs": each}, "waitForMs must") for each in (-1, 15001, "1", None)),
        ({"module": "RANDOM_UUID", "idempotencyKey": "k"}, "idempotencyKey should not exist"),
    ],
    ids=str,
)
def test_refusals(api: Api, body: dict[str, Any], words: str) -> None:
    response = api.call("POST", COMPONENTS, json=body)
    assert response.status_code == 422
    assert words in response.json()["errors"][0]["message"]
    assert api.sandbox.control.executions() == []


NOT_FOUND = {"error": "NOT_FOUND", "message": f"Execution {UNKNOWN} not found"}


@pytest.mark.parametrize(
    ("method", "path", "key", "status", "expected"),
    [
        ("POST", "", "no", 401, {"error": "UNAUTHORIZED", "message": "Invalid API key"}),
        ("GET", f"/executions/{UNKNOWN}", "no", 401, {"error": "UNAUTHORIZED", "message": "Invalid API key"}),
        ("GET", f"/executions/{UNKNOWN}", "ws_sandbox", 404, NOT_FOUND),
        ("GET", f"/executions/{UNKNOWN}/stream", "ws_sandbox", 404, NOT_FOUND),
        ("POST", f"/executions/{UNKNOWN}/replay-callback", "ws_sandbox", 404, NOT_FOUND),
    ],
)
def test_errors_have_the_shapes_of_the_vendor_sdk(
    api: Api, method: str, path: str, key: str, status: int, expected: dict[str, Any]
) -> None:
    response = api.call(method, COMPONENTS + path, headers={"X-Api-Key": key}, json={})
    assert (response.status_code, response.json()) == (status, expected)


def test_a_wait_ends_with_the_execution_or_its_time(api: Api) -> None:
    before = time.monotonic()
    assert api.execute(config={"seconds": 0.3}, waitForMs=WAIT).json()["status"] == "COMPLETED"
    assert 0.3 <= time.monotonic() - before < 5
    assert api.execute(config={"seconds": 60}, waitForMs=100).json()["status"] == "EXECUTING"


def test_a_steered_module_does_what_it_is_given_until_that_is_taken_back(api: Api) -> None:
    control = api.sandbox.control
    control.steer("RANDOM_UUID", {"failWith": "scripted"})
    assert api.execute(waitForMs=WAIT).json()["error"] == {"message": "scripted"}
    assert api.execute("GET_EVM_ACCOUNT_BALANCE", {"address": "0x1"}, waitForMs=WAIT).json()["output"]
    control.steer("RANDOM_UUID", {})
    assert api.execute(waitForMs=WAIT).json()["status"] == "COMPLETED"


def test_steering_without_hold_releases_held_executions(api: Api) -> None:
    control = api.sandbox.control
    control.steer("RANDOM_UUID", {"hold": True, "seconds": 0})
    held = api.execute(waitForMs=200).json()
    assert held["status"] == "EXECUTING"
    with api.stream_execution(held["id"]) as stream:
        control.steer("RANDOM_UUID", {})
        assert [event["status"] for event in events(stream)] == ["COMPLETED"]
    control.steer("RANDOM_UUID", {"hold": True})
    assert api.execute(waitForMs=100).json()["status"] == "EXECUTING", "a new hold holds again"


@pytest.mark.parametrize(
    ("module", "config", "status", "words"),
    [
        ("TEAPOT", {}, 404, "TEAPOT"),
        ("RANDOM_UUID", {"failwith": "no"}, 422, "failwith should not exist"),
        ("RANDOM_UUID", {"seconds": "1"}, 422, "seconds must"),
    ],
)
def test_steering_that_makes_no_sense_is_refused(
    api: Api, module: str, config: dict[str, Any], status: int, words: str
) -> None:
    response = api.call("POST", f"/_sandbox/modules/{module}", json=config)
    assert response.status_code == status
    assert words in response.text


def test_a_stream_sends_the_end_of_an_execution_and_closes(api: Api) -> None:
    execution_id = api.execute(config={"seconds": 0.2, "answerWith": {"n": 1}}).json()["id"]
    with api.stream_execution(execution_id) as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        text = stream.text
    assert text.endswith("\n\n")
    assert {line.partition(":")[0] for line in text.split("\n") if line} == {"data"}, "no id and no event lines"
    (last,) = (event for event in events_of(text) if event["status"] == "COMPLETED")
    assert last == {
        "id": execution_id,
        "status": "COMPLETED",
        "output": {"n": 1},
        "error": None,
        "timestamp": api.execution(execution_id)["updatedAt"],
    }


def test_the_stream_of_an_ended_execution_has_heartbeats_and_no_replay() -> None:
    with Sandbox(heartbeat=0.05) as sandbox:
        api = Api(sandbox)
        execution_id = api.execute(waitForMs=WAIT).json()["id"]
        with api.stream_execution(execution_id) as stream:
            lines = stream.iter_lines(chunk_size=1, decode_unicode=True)
            assert [next(lines) for _ in range(4)] == [": ping", "", ":ping", ""]


def test_requests_are_logged(api: Api) -> None:
    execution_id = api.execute(waitForMs=WAIT).json()["id"]
    api.execution(execution_id)
    api.replay(execution_id)
    api.call("GET", "/v1/system/components")
    assert [(each["endpoint"], each["status"]) for each in api.sandbox.control.requests()] == [
        ("execute_component", 201),
        ("get_execution", 200),
        ("replay_callback", 409),
        ("list_components", 200),
    ]


def test_reset_ends_executions_and_what_steers_them(api: Api) -> None:
    api.sandbox.control.steer("RANDOM_UUID", {"hold": True, "seconds": 0})
    held = api.execute().json()["id"]
    with api.stream_execution(held) as stream:
        api.sandbox.control.reset()
        assert "COMPLETED" not in [event["status"] for event in events(stream)]
    assert api.sandbox.control.executions() == []
    assert api.execute(waitForMs=WAIT).json()["status"] == "COMPLETED"


def test_close_does_not_wait_for_an_answer_that_is_held() -> None:
    with Sandbox() as sandbox:
        api = Api(sandbox)
        sandbox.control.steer("RANDOM_UUID", {"hold": True})
        with pytest.raises(requests.ReadTimeout):
            api.call("POST", COMPONENTS, json={"module": "RANDOM_UUID", "waitForMs": 15_000}, timeout=0.2)
        before = time.monotonic()
    assert time.monotonic() - before < 1


def test_a_drifting_sandbox_answers_in_other_forms(drifting: Api) -> None:
    response = drifting.execute(config={"failWith": "no node"}, waitForMs=WAIT)
    assert response.status_code == 200
    record = response.json()
    assert (record["status"], record["completed"], record["totalUsage"]) == ("Failed", None, "1.00")
    assert (record["error"], record["callback"]) == ("no node", None)
    assert isinstance(record["createdAt"], int)
    assert drifting.execution(record["id"]) == record
    assert drifting.stream_execution(record["id"]).status_code == 409
    modules = drifting.call("GET", "/v1/system/components").json()
    assert modules[-1]["inputs"] is None
    assert modules[0]["configs"]["properties"]["memo"]["type"] == "text"
    assert drifting.sandbox.control.executions()[0]["status"] == "FAILED", "the controls do not drift"


def test_a_callback_drifts_too(drifting: Api) -> None:
    record = drifting.execute(callbackUrl="http://127.0.0.1:1/", waitForMs=WAIT).json()
    deadline = time.monotonic() + 10
    while not record["callback"]["lastAttemptAt"]:
        assert time.monotonic() < deadline
        record = drifting.execution(record["id"])
    assert record["callback"]["attemptCount"] == "1"
    assert isinstance(record["callback"]["lastAttemptAt"], int)


def test_a_drifting_stream_sends_the_same_events_among_others(drifting: Api) -> None:
    execution_id = drifting.execute(config={"seconds": 0.25, "answerWith": 1}).json()["id"]
    with drifting.stream_execution(execution_id) as stream:
        text = stream.text
    assert {line.partition(":")[0] for line in text.split("\n") if line} == {"", "event", "id", "retry", "data"}
    told = [event for event in events_of(text) if isinstance(event, dict)]
    assert told[0] == {"type": "connected"}
    ours = [event for event in told if event.get("id") == execution_id.upper()]
    assert (ours[-1]["status"], ours[-1]["output"], ours[-1]["error"]) == ("Completed", None, None)
