"""Events of a run's stream, and heartbeats."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_wr.api import events
from airflow_provider_wr.models import RunStage, StageStatus

RUN = "9e4c7b1a-1111-4222-8333-944455556666"
OTHER_RUN = "9e4c7b1a-1111-4222-8333-000000000000"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(None, id="null"),
        pytest.param(5, id="number"),
        pytest.param("ping", id="text"),
        pytest.param([{"id": RUN, "status": "COMPLETED"}], id="list"),
        pytest.param({"type": "connected"}, id="a framework's own"),
        pytest.param({"status": "COMPLETED"}, id="no id"),
        pytest.param({"id": {"run": RUN}, "status": "COMPLETED"}, id="id of another type"),
        pytest.param({"id": RUN}, id="no status"),
        pytest.param({"id": RUN, "status": 3}, id="status of another type"),
        pytest.param({"id": OTHER_RUN, "status": "COMPLETED"}, id="another run"),
    ],
)
def test_json_that_is_no_event_of_this_run_is_a_sign_of_life(body: object) -> None:
    assert events.read_run_event(RUN, json.dumps(body)) is None


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param({"status": " completed\n"}, {"is_terminal": True}, id="status in another case"),
        pytest.param({"status": "Cancelled"}, {"status": "CANCELED", "is_terminal": True}, id="CANCELLED"),
        pytest.param({"output": {"totalUsage": "14.5"}}, {"total_usage": 14.5}, id="number as a text"),
        pytest.param({"output": "none"}, {"total_usage": None, "active_stages": ()}, id="output a text"),
        pytest.param({"output": [1]}, {"total_usage": None, "active_stages": ()}, id="output a list"),
        pytest.param({"timestamp": 1767225600000}, {"timestamp": 1767225600000}, id="date as a number"),
        pytest.param(
            {"output": {"nonTerminalStages": {"s": {"status": "running"}}}},
            {"active_stages": (RunStage("s", "", StageStatus.RUNNING),)},
            id="stages by id",
        ),
        pytest.param(
            {"output": {"nonTerminalStages": [None, "s", {"id": "t", "module": None, "status": None}]}},
            {"active_stages": (RunStage("t", "", ""),)},
            id="stages of other types",
        ),
    ],
)
def test_an_unexpected_event_of_this_run_is_read(change: dict[str, Any], expected: dict[str, Any]) -> None:
    event = events.read_run_event(RUN, json.dumps({"id": RUN, "status": "EXECUTING", **change}))
    assert {name: getattr(event, name) for name in expected} == expected
