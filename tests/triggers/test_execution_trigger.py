"""The trigger that waits for an execution of a component: what differs from that of a run."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_wr.exceptions import WRNotFoundError, WRTimeoutError, WRValidationError
from airflow_provider_wr.hooks.wr import WRHook
from airflow_provider_wr.sandbox.server import Sandbox
from airflow_provider_wr.triggers.wr import WaitEnd, WRComponentExecutionTrigger
from airflow_provider_wr.waiting import rules

ID = "e1ec0000-1111-4222-8333-944455556666"


async def event_of(trigger: WRComponentExecutionTrigger) -> dict[str, Any]:
    (event,) = [each async for each in trigger.run()]
    payload: dict[str, Any] = event.payload
    return payload


def test_it_is_built_again_from_what_it_serializes() -> None:
    options: dict[str, Any] = {
        "execution_id": ID,
        "wr_conn_id": "wr_other",
        "deadline": 7.5,
        "grace": None,
        "end_from_trigger": True,
        "allowed_statuses": ["FAILED"],
        "max_credits": 3.0,
        "confirm_end": False,
        "outputs": False,
    }
    classpath, arguments = WRComponentExecutionTrigger(**options).serialize()
    assert (classpath, arguments) == ("airflow_provider_wr.triggers.wr.WRComponentExecutionTrigger", options)
    assert WRComponentExecutionTrigger(**arguments).serialize() == (classpath, arguments)


@pytest.mark.parametrize("config", [{}, {"failWith": "no node"}], ids=["COMPLETED", "FAILED"])
async def test_its_event_names_the_execution_that_ended_and_holds_no_output(
    sandbox: Sandbox, config: dict[str, str]
) -> None:
    with WRHook() as hook:
        execution_id = hook.execute_component("RANDOM_UUID", None, config).id
    payload = await event_of(WRComponentExecutionTrigger(execution_id=execution_id))
    assert payload == {"execution_id": execution_id, "deadline": None, "error": None}
    assert WaitEnd.from_event(payload) == WaitEnd(execution_id, None, None, "execution")


async def test_its_deadline_is_an_error_of_the_event(sandbox: Sandbox) -> None:
    with WRHook() as hook:
        execution_id = hook.execute_component("RANDOM_UUID", None, {"seconds": 600}).id
    end = WaitEnd.from_event(await event_of(WRComponentExecutionTrigger(execution_id=execution_id, deadline=0)))
    assert isinstance(end.error, WRTimeoutError)
    assert f"execution {execution_id}" in str(end.error)


@pytest.mark.parametrize(("execution_id", "kind"), [(ID, WRNotFoundError), ("an execution", WRValidationError)])
async def test_an_execution_that_is_not_there_is_an_error_of_the_event(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, execution_id: str, kind: type[Exception]
) -> None:
    monkeypatch.setattr(rules, "NOT_YET_VISIBLE", 0)
    end = WaitEnd.from_event(await event_of(WRComponentExecutionTrigger(execution_id=execution_id)))
    assert (type(end.error), end.id) == (kind, execution_id)
