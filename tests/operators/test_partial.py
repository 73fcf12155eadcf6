"""``partial()``: a mapped operator has the defaults, checks and warnings of one that is not mapped."""

from __future__ import annotations

import textwrap
import warnings
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_3_PLUS
from dags.running import read_dags
from servers import COMPONENT_ID, RUN_ID, WORKFLOW_ID

pytestmark = pytest.mark.usefixtures("airflow_db")

UPDATES = [{"component_id": COMPONENT_ID, "config": {"count": 3}}]

#: Where the defaults are set.
PLACES = {
    "DAG": "with DAG('pay', schedule=None, default_args={defaults}):\n    {task}",
    "task group": (
        "with DAG('pay', schedule=None), TaskGroup('group', default_args={defaults}, prefix_group_id=False):\n"
        "    {task}"
    ),
    "task": "with DAG('pay', schedule=None):\n    {task_with_defaults}",
}
TASKS = {
    "trigger": "Trigger(task_id='task'{arguments})",
    "trigger, mapped": "Trigger.partial(task_id='task'{arguments}).expand(stage_outputs=[True])",
    "sensor": f"Sensor(task_id='task', run_id='{RUN_ID}'{{arguments}})",
    "sensor, mapped": f"Sensor.partial(task_id='task'{{arguments}}).expand(run_id=['{RUN_ID}'])",
}
HEADER = """
from airflow.providers.common.compat.sdk import DAG, TaskGroup
from airflow_provider_wr.operators.wr import WRTriggerRunOperator as Trigger
from airflow_provider_wr.sensors.wr import WRRunSensor as Sensor
"""


def parse(tmp_path: Path, kind: str, place: str, defaults: dict[str, Any], arguments: str = "") -> tuple[Any, str]:
    """Let Airflow parse a DAG with one task; return the bag and the warnings."""
    task = TASKS[kind].format(arguments=arguments)
    with_defaults = TASKS[kind].format(arguments=f"{arguments}, default_args={defaults}")
    path = tmp_path / "pay.py"
    body = PLACES[place].format(defaults=defaults, task=task, task_with_defaults=with_defaults)
    path.write_text(textwrap.dedent(HEADER) + body + "\n")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        bag = read_dags(path)
    ours = [str(each.message) for each in caught if each.category is UserWarning]
    return bag, "\n".join(ours)


def made(bag: Any) -> Any:
    """Return the task, or an instance of a mapped one."""
    assert not bag.import_errors
    task = bag.dags["pay"].task_dict["task"]
    if (mapped := getattr(task, "expand_input", None)) is None:
        return task
    return task.unmap({name: each[0] for name, each in mapped.value.items()})


in_all_places = pytest.mark.parametrize("place", PLACES)
trigger_both = pytest.mark.parametrize("kind", ["trigger", "trigger, mapped"])
sensor_both = pytest.mark.parametrize("kind", ["sensor", "sensor, mapped"])


@in_all_places
@trigger_both
def test_a_trigger_has_the_defaults(tmp_path: Path, kind: str, place: str) -> None:
    defaults = {
        "durable": False,
        "retries": 2,
        "timeout": "300",
        "retry_run": "never",
        "workflow_id": WORKFLOW_ID,
        "on_changed_updates": "restart",
    }
    bag, told = parse(tmp_path, kind, place, defaults)
    task = made(bag)
    assert told == ""
    assert {name: getattr(task, name) for name in defaults} == {**defaults, "timeout": 300.0}


@in_all_places
@trigger_both
@pytest.mark.parametrize(("arguments", "durable"), [("", False), (", durable=True", True)])
def test_what_is_given_counts_before_a_default(
    tmp_path: Path, kind: str, place: str, arguments: str, durable: bool
) -> None:
    bag, _ = parse(tmp_path, kind, place, {"durable": False, "retries": 0}, arguments)
    assert made(bag).durable is durable


@in_all_places
@trigger_both
def test_retries_without_memory_are_warned_of(tmp_path: Path, kind: str, place: str) -> None:
    _, told = parse(tmp_path, kind, place, {"retries": 2})
    assert ("cannot remember" in told) == (not AIRFLOW_V_3_3_PLUS)


@in_all_places
@trigger_both
def test_a_none_counts_before_a_default(tmp_path: Path, kind: str, place: str) -> None:
    bag, _ = parse(tmp_path, kind, place, {"workflow_id": WORKFLOW_ID}, ", workflow_id=None")
    task = made(bag)
    assert task.workflow_id is None
    task._given.check(task)


@in_all_places
@trigger_both
def test_updates_that_may_overlap_are_warned_of(tmp_path: Path, kind: str, place: str) -> None:
    _, told = parse(tmp_path, kind, place, {"component_updates": UPDATES})
    assert "updates may overlap" in told
    _, told = parse(tmp_path, kind, place, {"component_updates": UPDATES, "allow_concurrent_updates": True})
    assert told == ""


@in_all_places
@trigger_both
@pytest.mark.parametrize(
    "bad",
    [
        {"timeout": "soon"},
        {"retry_run": "perhaps"},
        {"harmless_modules": "HTTP_REQUEST"},
        {"on_unknown_trigger": "retry"},
        {"on_changed_updates": "ignore"},
        {"component_updates": UPDATES[0]},
    ],
    ids=lambda bad: next(iter(bad)),
)
def test_a_bad_default_is_refused_with_the_file(
    tmp_path: Path, kind: str, place: str, bad: dict[str, Any]
) -> None:
    bag, _ = parse(tmp_path, kind, place, bad)
    (error,) = bag.import_errors.values()
    assert f"{next(iter(bad))} should be" in error


@trigger_both
def test_a_bad_argument_is_refused_with_the_file(tmp_path: Path, kind: str) -> None:
    bag, _ = parse(tmp_path, kind, "DAG", {}, ", timeout='soon'")
    (error,) = bag.import_errors.values()
    assert "timeout should be seconds or a timedelta, not 'soon'" in error


@in_all_places
@sensor_both
@pytest.mark.parametrize("bad", [{"timeout": "soon"}, {"allowed_statuses": ["DONE"]}], ids=str)
def test_a_bad_default_of_a_sensor_is_refused_with_the_file(
    tmp_path: Path, kind: str, place: str, bad: dict[str, Any]
) -> None:
    bag, _ = parse(tmp_path, kind, place, bad)
    (error,) = bag.import_errors.values()
    assert f"{next(iter(bad))} should be" in error


@in_all_places
@sensor_both
def test_a_sensor_has_the_defaults(tmp_path: Path, kind: str, place: str) -> None:
    defaults = {"timeout": "300", "deferrable": True, "allowed_statuses": ["FAILED"], "stage_outputs": False}
    bag, told = parse(tmp_path, kind, place, defaults)
    task = made(bag)
    assert told == ""
    assert {name: getattr(task, name) for name in defaults} == {
        **defaults,
        "timeout": 300.0,
        "allowed_statuses": ("FAILED",),
    }


@in_all_places
@pytest.mark.parametrize("option", ["start_from_trigger", "end_from_trigger"])
def test_a_mapped_sensor_is_warned_of_what_needs_a_worker(tmp_path: Path, place: str, option: str) -> None:
    bag, told = parse(tmp_path, "sensor, mapped", place, {option: True, "multiple_outputs": True})
    assert f"task cannot {option.partition('_')[0]} in the triggerer, and does so in a worker: " in told
    task = made(bag)
    assert task.deferrable
    assert not getattr(task, option)
