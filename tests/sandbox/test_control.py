"""The control API shows the state of the sandbox, and resets it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .api import events

if TYPE_CHECKING:
    from .api import Api


def test_requests_are_logged_without_headers(api: Api) -> None:
    run_id = api.trigger()
    api.run(run_id)
    api.update("Quote", name=1)
    api.call("GET", "/v1/invented")
    assert api.sandbox.control.requests() == [
        {"endpoint": "trigger", "method": "POST", "path": api.workflow, "status": 201},
        {
            "endpoint": "get_run",
            "method": "GET",
            "path": f"/v1/sdk/workflows/executions/{run_id}",
            "status": 200,
        },
        {
            "endpoint": "update",
            "method": "POST",
            "path": f"{api.workflow}/components/{api.sandbox.components['Quote']}",
            "status": 422,
        },
        {"endpoint": "unknown", "method": "GET", "path": "/v1/invented", "status": 404},
    ]


def test_runs_are_listed_oldest_first(api: Api) -> None:
    ids = [api.trigger() for _ in range(3)]
    runs = api.sandbox.control.runs()
    assert [run["id"] for run in runs] == ids
    assert runs[0].keys() == {"id", "status", "workflowId", "createdAt"}


def test_a_rotated_key_is_the_only_one_accepted(api: Api) -> None:
    api.sandbox.control.rotate_key("ws_new")
    assert api.call("POST", api.workflow, json={}).status_code == 401
    assert api.call("POST", api.workflow, json={}, headers={"X-Api-Key": "ws_new"}).status_code == 201


def test_a_new_key_must_be_text_in_json(api: Api) -> None:
    assert api.call("POST", "/_sandbox/key", json={"apiKey": 1}).status_code == 422
    assert api.call("POST", "/_sandbox/key", data="no JSON").status_code == 400


def test_components_alone_can_be_reset(api: Api) -> None:
    control = api.sandbox.control
    before = control.components()
    api.update("Quote", config={"seconds": 60}, name="New", position=[9, 9])
    api.update("Payment", config={"seconds": 60})
    control.rotate_key("ws_new")
    control.reset_components()
    assert control.components() == before
    assert api.call("POST", api.workflow, json={}).status_code == 401, "nothing else is"


def test_a_reset_of_the_components_ends_a_hold_and_no_run(api: Api) -> None:
    api.configure({"Notify": {"hold": True}})
    run_id = api.trigger()
    while api.run(run_id)["pendingStageCount"] != 1:
        pass
    api.sandbox.control.reset_components()
    assert api.finish(run_id)["status"] == "COMPLETED"


def test_reset_puts_everything_back(api: Api) -> None:
    control = api.sandbox.control
    before = control.components()
    api.update("Quote", config={"seconds": 60}, name="New", position=[9, 9])
    control.fault("trigger", status=500, times=None)
    control.rotate_key("ws_new")
    control.reset()
    assert (control.components(), control.faults(), control.runs(), control.requests()) == (
        before,
        [],
        [],
        [],
    )
    assert api.trigger()


def test_reset_ends_runs_and_streams(api: Api) -> None:
    run_id = api.trigger()
    with api.stream(run_id) as stream:
        api.sandbox.control.reset()
        assert "COMPLETED" not in [event["status"] for event in events(stream)]
    assert api.call("GET", f"/v1/sdk/workflows/executions/{run_id}").status_code == 404
