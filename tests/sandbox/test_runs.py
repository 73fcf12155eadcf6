"""Runs follow the config of their components, and publish events."""

from __future__ import annotations

import time
from typing import Any

import pytest

from .api import Api, events

Configs = dict[str, dict[str, Any]]


@pytest.mark.parametrize(
    ("configs", "status", "stages", "usage"),
    [
        pytest.param({}, "COMPLETED", ["COMPLETED"] * 9, 14, id="completed"),
        pytest.param({"Suppliers": {"count": 0}}, "COMPLETED", ["COMPLETED"] * 4, 4, id="no items"),
        pytest.param(
            {"Balance": {"failWith": "no node"}},
            "FAILED",
            ["COMPLETED", "FAILED", "CANCELED", "CANCELED"],
            2,
            id="failed",
        ),
        pytest.param(
            {"Payment": {"failWith": "reverted"}, "Suppliers": {"count": 2}},
            "FAILED",
            ["COMPLETED", "COMPLETED", "FAILED", "CANCELED", "FAILED", "FAILED"],
            7,
            id="items failed",
        ),
        pytest.param(
            {"Balance": {"cancelRun": "by hand"}},
            "CANCELED",
            ["COMPLETED", "CANCELED", "CANCELED", "CANCELED"],
            1,
            id="canceled",
        ),
        pytest.param(
            {"Quote": {"seconds": "2"}},
            "FAILED",
            ["FAILED", "CANCELED", "CANCELED", "CANCELED"],
            1,
            id="bad config",
        ),
        pytest.param(
            {"Notify": {"hold": "no"}},
            "FAILED",
            ["COMPLETED"] * 3 + ["FAILED"] + ["COMPLETED"] * 5,
            14,
            id="bad hold",
        ),
    ],
)
def test_how_a_run_ends(api: Api, configs: Configs, status: str, stages: list[str], usage: int) -> None:
    api.configure(configs)
    run = api.finish(api.trigger())
    assert run["status"] == status
    assert [stage["status"] for stage in run["runStages"]] == stages
    assert run["totalUsage"] == usage == sum(stage["creditUsage"] for stage in run["runStages"])
    assert run["pendingStageCount"] == 0
    assert run["failedStageCount"] == stages.count("FAILED")


def test_a_failed_stage_has_an_error(api: Api) -> None:
    api.configure({"Quote": {"failWith": "no quote"}})
    quote = api.finish(api.trigger())["runStages"][0]
    assert quote["error"] == {"message": "no quote"}
    assert quote["output"] is None


def test_outputs_and_errors_may_be_any_json(api: Api) -> None:
    api.configure({"Quote": {"answerWith": None}, "Balance": {"failWith": ["no", {"n": 1}]}})
    quote, balance, *_ = api.finish(api.trigger())["runStages"]
    assert (quote["status"], quote["output"]) == ("COMPLETED", None)
    assert (balance["status"], balance["error"]) == ("FAILED", ["no", {"n": 1}])


def test_a_canceled_run_has_a_reason_and_a_time(api: Api) -> None:
    api.configure({"Quote": {"cancelRun": "wrong supplier"}})
    run = api.finish(api.trigger())
    assert run["cancelReason"] == "wrong supplier"
    assert run["cancelRequestedAt"] >= run["createdAt"]


@pytest.mark.parametrize(
    ("config", "status", "attempt"),
    [({"failAttempts": 2}, "COMPLETED", 3), ({"failAttempts": 1, "failWith": "still no"}, "FAILED", 2)],
    ids=["succeeds in the end", "fails in the end"],
)
def test_failed_attempts_are_repeated(api: Api, config: dict[str, Any], status: str, attempt: int) -> None:
    api.configure({"Quote": config})
    quote = api.finish(api.trigger())["runStages"][0]
    assert (quote["status"], quote["executionAttempt"]) == (status, attempt)


def test_the_quote_echoes_its_whole_config(api: Api) -> None:
    config = {"seconds": 0, "apiUrl": "https://example.org/ü", "limit": 1, "deep": {"list": [None, 1.5]}}
    api.configure({"Quote": config})
    assert api.finish(api.trigger())["runStages"][0]["output"] == config


def test_config_is_shared_by_runs_and_read_when_a_stage_starts(api: Api) -> None:
    api.configure({"Quote": {"seconds": 0.2}, "Notify": {"for": "first"}})
    first = api.trigger()
    api.update("Notify", config={"for": "second"})
    assert api.finish(first)["runStages"][3]["output"]["for"] == "second"


def test_held_runs_end_when_they_are_let_go(api: Api) -> None:
    api.configure({"Quote": {"seconds": 0, "hold": True, "limit": 1}})
    runs = [api.trigger() for _ in range(2)]
    time.sleep(0.3)
    assert [api.run(run_id)["runStages"][0]["status"] for run_id in runs] == ["RUNNING"] * 2
    api.update("Quote", config={"hold": False, "limit": 2})
    assert [api.finish(run_id)["runStages"][0]["output"]["limit"] for run_id in runs] == [1, 1]


def test_a_stream_sends_every_change_and_ends(api: Api) -> None:
    api.configure({"Quote": {"seconds": 0.2, "failAttempts": 1}, "Suppliers": {"seconds": 0.05}})
    run_id = api.trigger()
    with api.stream(run_id) as stream:
        seen = list(events(stream))
    assert {event["id"] for event in seen} == {run_id}
    assert [event["status"] for event in seen] == ["EXECUTING"] * (len(seen) - 1) + ["COMPLETED"]
    retried = seen[0]["output"]["nonTerminalStages"][0]
    assert retried.keys() == {"id", "module", "status", "executionEventId", "executionAttempt"}
    assert (retried["status"], retried["executionAttempt"]) == ("RUNNING", 2)
    pending = [event["output"]["pendingStageCount"] for event in seen]
    assert 9 - 2 in pending, "the fan-out is seen while it runs"
    usages = [event["output"]["totalUsage"] for event in seen]
    assert usages == sorted(usages)
    assert usages[-1] == 14
    assert seen[-1]["output"]["nonTerminalStages"] == []


def test_a_fan_out_of_thousands_makes_large_events_but_few(api: Api) -> None:
    api.configure({"Quote": {"seconds": 0.1}, "Suppliers": {"count": 3000}, "Payment": {"seconds": 0.2}})
    with api.stream(api.trigger()) as stream:
        sizes = [len(line) for line in stream.iter_lines(chunk_size=65536) if line]
    assert max(sizes) > 3000 * 100
    assert len(sizes) < 300


def test_every_subscriber_gets_the_events_of_its_own_run(api: Api) -> None:
    api.configure({"Quote": {"seconds": 0.3}})
    runs = [api.trigger() for _ in range(3)] * 2
    streams = [Api(api.sandbox).stream(run_id) for run_id in runs]
    for run_id, stream in zip(runs, streams, strict=True):
        with stream:
            assert [(event["id"], event["status"]) for event in events(stream)][-1] == (run_id, "COMPLETED")


def test_every_event_has_a_number_before_its_data(api: Api) -> None:
    api.configure({"Quote": {"seconds": 0.1}})
    with api.stream(api.trigger()) as stream:
        lines = [line for line in stream.iter_lines(chunk_size=1) if line]
    assert lines[0::2] == [b"id: %d" % number for number in range(1, len(lines) // 2 + 1)]
    assert all(line.startswith(b"data: {") for line in lines[1::2])
