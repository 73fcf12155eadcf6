"""The endpoints keep the API's contract."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
import requests

from airflow_provider_wr.sandbox.server import Sandbox
from airflow_provider_wr.sandbox.workflow import COMPONENTS, SCOPED_API_KEY, WORKFLOW_ID

if TYPE_CHECKING:
    from .api import Api

RECORDED = json.loads((Path(__file__).parents[1] / "wire/sdk-requests.json").read_text())
RECORDED_RUN = "9e4c7b1a-1111-4222-8333-944455556666"

WORKFLOW = f"/v1/sdk/workflows/{WORKFLOW_ID}"
COMPONENT = f"{WORKFLOW}/components/{COMPONENTS['Quote']}"
KEY = "ws_sandbox"
UNKNOWN = "00000000-0000-4000-8000-000000000000"
RUNS = "/v1/sdk/workflows/executions"


def test_what_the_vendor_sdk_sends_is_answered() -> None:
    with Sandbox(api_key="ws_k") as sandbox:
        run_id = RECORDED_RUN
        for recorded in RECORDED:
            with requests.request(
                recorded["method"],
                sandbox.url + recorded["path"].replace(RECORDED_RUN, run_id),
                headers=recorded["headers"],
                data=recorded["body"],
                stream=True,
                timeout=10,
            ) as response:
                expected = 201 if recorded["method"] == "POST" else 200
                assert response.status_code == expected, recorded["path"]
                if recorded["path"].endswith("/stream"):
                    assert response.headers["Content-Type"].startswith("text/event-stream")
                else:
                    run_id = response.json().get("runId", run_id)
        assert sandbox.control.components()[0] == {
            "id": COMPONENTS["Quote"],
            "name": "n",
            "module": "HTTP_REQUEST",
            "position": [1, 2],
            "config": {"a": 1},
        }


def test_a_trigger_names_its_run_and_job(api: Api) -> None:
    answer = api.call("POST", api.workflow, json={}).json()
    assert answer.keys() == {"runId", "jobId"}
    assert UUID(answer["runId"])
    assert re.fullmatch(r"bull-\d+", answer["jobId"])
    assert [run["id"] for run in api.sandbox.control.runs()] == [answer["runId"]]


def test_a_run_has_every_documented_field(api: Api) -> None:
    run = api.run(api.trigger())
    assert run.keys() == {
        "id",
        "status",
        "pendingStageCount",
        "failedStageCount",
        "cancelRequestedAt",
        "cancelReason",
        "totalUsage",
        "createdAt",
        "updatedAt",
        "runStages",
    }
    assert run["runStages"][0].keys() == {
        "id",
        "module",
        "status",
        "output",
        "error",
        "creditUsage",
        "executionAttempt",
        "updatedAt",
        "executionEventId",
        "executionDispatchedAt",
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", run["createdAt"])


def test_config_is_merged_one_level_deep(api: Api) -> None:
    api.update("Quote", config={"a": {"x": 1}, "b": 1})
    api.update("Quote", config={"a": {"y": 2}}, name="New", position=[1.5, -2])
    quote = api.sandbox.control.components()[0]
    assert quote["config"] == {"a": {"y": 2}, "b": 1}
    assert (quote["name"], quote["position"]) == ("New", [1.5, -2])


@pytest.mark.parametrize(
    ("method", "path", "key", "body", "status", "words"),
    [
        pytest.param("POST", WORKFLOW, None, "{}", 401, "Invalid API key", id="no key"),
        pytest.param("POST", WORKFLOW, "ws_bad", "{}", 401, "Invalid API key", id="wrong key"),
        pytest.param("GET", f"{RUNS}/{UNKNOWN}", "ws_bad", None, 401, "Invalid API key", id="read"),
        pytest.param("POST", WORKFLOW, SCOPED_API_KEY, "{}", 403, "no access", id="trigger"),
        pytest.param("POST", COMPONENT, SCOPED_API_KEY, '{"name":"n"}', 403, "no access", id="update"),
        pytest.param("POST", f"/v1/sdk/workflows/{UNKNOWN}", KEY, "{}", 404, UNKNOWN, id="workflow"),
        pytest.param("GET", f"{RUNS}/{UNKNOWN}", KEY, None, 404, UNKNOWN, id="run"),
        pytest.param("GET", f"{RUNS}/{UNKNOWN}/stream", KEY, None, 404, UNKNOWN, id="stream"),
        pytest.param(
            "POST",
            f"{WORKFLOW}/components/{UNKNOWN}",
            KEY,
            '{"name":"n"}',
            404,
            UNKNOWN,
            id="component",
        ),
        pytest.param("POST", f"{RUNS}/{UNKNOWN}/cancel", KEY, "{}", 404, "Cannot POST", id="no endpoint"),
        pytest.param("DELETE", WORKFLOW, KEY, None, 404, "Cannot DELETE", id="no method"),
        pytest.param("POST", WORKFLOW, KEY, "{", 400, "Malformed", id="cut JSON"),
        pytest.param("POST", COMPONENT, KEY, '{"config":{"a":NaN}}', 400, "Malformed", id="NaN"),
        pytest.param("POST", COMPONENT, KEY, '{"config":{"a":1e999}}', 400, "Malformed", id="infinite"),
        pytest.param("POST", COMPONENT, KEY, '{"name":"\\ud800"}', 400, "Malformed", id="surrogate"),
        pytest.param("POST", COMPONENT, KEY, "[" * 100_000, 400, "Malformed", id="deep"),
        pytest.param("POST", WORKFLOW, KEY, "[]", 422, "object", id="no object"),
        pytest.param("POST", WORKFLOW, KEY, '{"inputs":{}}', 422, "inputs", id="trigger with inputs"),
        pytest.param("POST", COMPONENT, KEY, "{}", 422, "at least one", id="empty update"),
        pytest.param("POST", COMPONENT, KEY, '{"config":[]}', 422, "config must", id="config"),
        pytest.param("POST", COMPONENT, KEY, '{"config":null}', 422, "config must", id="null"),
        pytest.param("POST", COMPONENT, KEY, '{"name":1}', 422, "name must", id="name"),
        pytest.param("POST", COMPONENT, KEY, '{"position":[1]}', 422, "position must", id="short position"),
        pytest.param("POST", COMPONENT, KEY, '{"position":[1,true]}', 422, "position must", id="true"),
        pytest.param("POST", COMPONENT, KEY, '{"colour":1}', 422, "colour", id="unknown field"),
    ],
)
def test_refusals(
    api: Api, method: str, path: str, key: str | None, body: str | None, status: int, words: str
) -> None:
    response = api.call(method, path, headers={"X-Api-Key": key}, data=body)
    assert response.status_code == status
    assert words in response.text
    assert api.sandbox.control.runs() == []
    assert all(component["config"] == {} for component in api.sandbox.control.components())


def test_a_scoped_key_cannot_read_the_run(api: Api) -> None:
    run_id = api.trigger()
    response = api.call("GET", f"{RUNS}/{run_id}", headers={"X-Api-Key": SCOPED_API_KEY})
    assert response.status_code == 403


INVALID = "property {} should not exist"


@pytest.mark.parametrize(
    ("method", "path", "key", "status", "expected"),
    [
        ("POST", WORKFLOW, "no", 401, {"error": "UNAUTHORIZED", "message": "Invalid API key"}),
        (
            "POST",
            WORKFLOW,
            SCOPED_API_KEY,
            403,
            {"error": "FORBIDDEN", "message": "API key has no access to this workflow"},
        ),
        ("GET", f"{RUNS}/{UNKNOWN}", KEY, 404, {"error": "NOT_FOUND", "message": f"Run {UNKNOWN} not found"}),
        (
            "POST",
            WORKFLOW,
            KEY,
            422,
            {"errors": [{"code": "INVALID_INPUT", "message": INVALID.format(name)} for name in "ab"]},
        ),
    ],
    ids=["401", "403", "404", "422"],
)
def test_errors_have_the_shapes_of_the_vendor_sdk(
    api: Api, method: str, path: str, key: str, status: int, expected: dict[str, Any]
) -> None:
    response = api.call(method, path, headers={"X-Api-Key": key}, json={"a": 1, "b": 2})
    assert (response.status_code, response.json()) == (status, expected)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (401, {"error": "UNAUTHORIZED", "message": "Invalid API key"}),
        (409, {"error": "CONFLICT", "message": "Conflict"}),
        (422, {"errors": [{"code": "INVALID_INPUT", "message": "Unprocessable Entity"}]}),
        (429, {"error": "RATE_LIMITED", "message": "Rate limit exceeded"}),
        (500, {"error": "INTERNAL_ERROR", "message": "Internal Server Error"}),
        (503, {"error": "SERVICE_UNAVAILABLE", "message": "Service Unavailable"}),
    ],
)
def test_errors_of_a_fault_have_them_too(api: Api, status: int, expected: dict[str, Any]) -> None:
    api.sandbox.control.fault("trigger", status=status)
    response = api.call("POST", WORKFLOW, json={})
    assert (response.status_code, response.json()) == (status, expected)
