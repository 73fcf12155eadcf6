"""The operators that update a component and read a run."""

from __future__ import annotations

from typing import Any

import pytest
from dags.running import plain_status, run_tasks
from servers import COMPONENT_ID

from airflow_provider_wr.exceptions import WRNotFoundError, WRValidationError
from airflow_provider_wr.hooks.wr import WRHook
from airflow_provider_wr.operators.wr import WRUpdateComponentOperator
from airflow_provider_wr.sandbox.server import Sandbox

pytestmark = pytest.mark.usefixtures("airflow_db")


def component(sandbox: Sandbox) -> dict[str, Any]:
    return next(dict(each) for each in sandbox.control.components() if each["id"] == COMPONENT_ID)


def update(options: str, **kwargs: Any) -> Any:
    return run_tasks(
        f"WRUpdateComponentOperator(task_id='update', component_id=COMPONENT_ID, {options})", **kwargs
    )


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        ("config={'a': 1, 'b': [True, None]}", {"config": {"a": 1, "b": [True, None]}}),
        ("""config='{"a": 2.5}'""", {"config": {"a": 2.5}}),
        ("""config='{"a": {{ params.number }}}'""", {"config": {"a": 2}}),
        ("config={'a': '{{ params.number }}'}", {"config": {"a": "2"}}),
        ("config_from_params=['number', 'list']", {"config": {"number": 2, "list": [1]}}),
        ("config_from_params={'to': 'number'}, config={'a': 1}", {"config": {"a": 1, "to": 2}}),
        ("name='{{ params.text }}'", {"name": "Angebot"}),
        ("position=[1.5, -2]", {"position": [1.5, -2]}),
        ("position='[1, {{ params.number }}]'", {"position": [1, 2]}),
        ("position=['{{ params.number }}', 3]", {"position": [2, 3]}),
        ("name='n', position=(1, 2), config={'a': 1}", {"name": "n", "position": [1, 2], "config": {"a": 1}}),
    ],
)
def test_what_is_given_is_changed_and_the_rest_is_left(
    sandbox: Sandbox, options: str, changed: dict[str, Any]
) -> None:
    before = component(sandbox)
    done = update(options, params="{'number': 2, 'list': [1], 'text': 'Angebot'}")
    assert done.states == {"update": "success"}
    assert component(sandbox) == {**before, **changed}


@pytest.mark.parametrize(
    "options",
    [
        "config=make([1])",
        "config=make('{')",
        "config=make({'a': 2**60 + 1})",
        "config=make(None), name='n'",
        "config='{{ params.nothing }}', name='n'",
        "name=make(' ')",
        "config={'number': 1}, config_from_params=['number']",
        "config_from_params=['missing']",
        "config_from_params=make('number')",
        "position=make('nowhere')",
        "workflow_id=make('w'), name='n'",
        "workflow_id='{{ params.nothing }}', name='n'",
        "workflow_id=make(None), name='n'",
        "wr_conn_id='{{ params.nothing }}', name='n'",
    ],
)
def test_bad_input_is_refused_before_anything_is_sent_and_not_retried(sandbox: Sandbox, options: str) -> None:
    done = run_tasks(
        f"""
        @task
        def make(value):
            return value

        WRUpdateComponentOperator(task_id='update', component_id=COMPONENT_ID, retries=2, {options})
        """,
        params="{'number': 2, 'nothing': ''}",
    )
    assert isinstance(done.errors["update"], WRValidationError)
    assert done.tries["update"] == 1
    assert sandbox.control.requests() == []


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"config": "[1]"},
        {"config": "{"},
        {"config": {"a": 2**60 + 1}},
        {"config_from_params": None},
        {"position": "nowhere"},
        {"component_id": "Quote", "name": "n"},
        {"component_id": None, "name": "n"},
    ],
    ids=str,
)
def test_what_cannot_become_right_is_refused_when_the_dag_is_parsed(options: dict[str, Any]) -> None:
    with pytest.raises(WRValidationError):
        WRUpdateComponentOperator(task_id="update", **{"component_id": COMPONENT_ID, **options})


@pytest.mark.parametrize("value", [None, "", "w"])
def test_a_mapped_argument_that_is_nothing_is_refused(sandbox: Sandbox, value: str | None) -> None:
    done = run_tasks(
        f"""
        WRUpdateComponentOperator.partial(
            task_id='update', component_id=COMPONENT_ID, name='n', config=None
        ).expand(workflow_id=[{value!r}])
        """
    )
    assert isinstance(done.errors["update"], WRValidationError)
    assert sandbox.control.requests() == []


@pytest.mark.parametrize("outputs", [True, False])
def test_a_run_is_read_as_it_is_now(sandbox: Sandbox, outputs: bool) -> None:
    with WRHook() as hook:
        hook.update_component(COMPONENT_ID, config={"seconds": 1000})
        run_id = hook.trigger_run().run_id
    done = run_tasks(f"WRGetRunOperator(task_id='get', run_id='{run_id}', stage_outputs={outputs})")
    result = done.xcoms["get"]["return_value"]
    assert (result["id"], plain_status(result)) == (run_id, "EXECUTING")
    assert ("output" in result["runStages"][0]) is outputs
    assert done.xcoms["get"]["wr_run_url"] == f"{sandbox.url}/runs/{run_id}"


def test_a_failed_run_is_read_like_any_other(sandbox: Sandbox) -> None:
    with WRHook() as hook:
        hook.update_component(COMPONENT_ID, config={"failWith": "no funds"})
        run_id = hook.trigger_run().run_id
        hook.wait_for_run(run_id)
    done = run_tasks(f"WRGetRunOperator(task_id='get', run_id='{run_id}')")
    assert plain_status(done.xcoms["get"]["return_value"]) == "FAILED"


def test_an_unknown_run_fails_the_task(sandbox: Sandbox) -> None:
    done = run_tasks("WRGetRunOperator(task_id='get', run_id=RUN_ID)")
    assert type(done.errors["get"]) is WRNotFoundError
