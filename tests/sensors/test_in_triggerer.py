"""What may start and end in the triggerer: only what is known to work the same there."""

from __future__ import annotations

import copy
import inspect
import warnings
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_3_PLUS
from servers import RUN_ID

from airflow_provider_wr.sensors.wr import WRRunSensor

if not AIRFLOW_V_3_3_PLUS:
    pytest.skip("Airflow starts and ends nothing of ours in the triggerer", allow_module_level=True)

from airflow.sdk import DAG, Asset, BaseOperator, BaseSensorOperator, Param, task, task_group
from airflow.serialization.serialized_objects import DagSerialization

BOTH: dict[str, Any] = {"start_from_trigger": True, "end_from_trigger": True}
PULL = "{{{{ ti.xcom_pull(task_ids={!r}, key={!r}, map_indexes={}) }}}}"


def nothing(*args: object) -> None:
    pass


# A setting, and whether a sensor that has it may start, and end, in the triggerer.
NEED_WORKER: dict[str, tuple[Any, bool, bool]] = {
    "on_execute_callback": (nothing, False, False),
    "pre_execute": (nothing, False, False),
    "map_index_template": ("{{ ti.task_id }}", False, False),
    "on_success_callback": (nothing, True, False),
    "post_execute": (nothing, True, False),
    "do_xcom_push": (False, True, False),
    "multiple_outputs": (True, True, False),
    "inlets": ([Asset("in")], True, False),
    "outlets": ([Asset("out")], True, False),
    "pool": ("small", False, True),
    "pool_slots": (2, False, True),
    "queue": ("far", False, True),
    "max_active_tis_per_dag": (1, False, True),
    "max_active_tis_per_dagrun": (1, False, True),
    "params": ({"own": 1}, False, True),
    "render_template_as_native_obj": (True, False, True),
}
HOLD: dict[str, Any] = {
    "owner": "me",
    "retries": 3,
    "retry_delay": timedelta(seconds=1),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(seconds=9),
    "retry_policy": None,
    "start_date": datetime(2026, 1, 1, tzinfo=timezone.utc),
    "end_date": datetime(2027, 1, 1, tzinfo=timezone.utc),
    "depends_on_past": True,
    "ignore_first_depends_on_past": True,
    "wait_for_past_depends_before_skipping": True,
    "wait_for_downstream": True,
    "priority_weight": 7,
    "weight_rule": "upstream",
    "execution_timeout": timedelta(seconds=60),
    "on_failure_callback": nothing,
    "on_retry_callback": nothing,
    "on_skipped_callback": nothing,
    "trigger_rule": "all_done",
    "run_as_user": "me",
    "executor": None,
    "executor_config": {"KubernetesExecutor": {}},
    "doc": "doc",
    "doc_md": "doc",
    "doc_json": "{}",
    "doc_yaml": "a: 1",
    "doc_rst": "doc",
    "task_display_name": "Wait",
    "logger_name": "mine",
    "allow_nested_operators": False,
    "poke_interval": 5,
    "timeout": 30,
    "soft_fail": True,
    "mode": "reschedule",
    "exponential_backoff": True,
    "max_wait": timedelta(seconds=9),
    "silent_fail": True,
    "never_fail": True,
}
#: Not settings, or tested separately, or deprecated.
OTHERS = {
    *("self", "args", "kwargs", "task_id", "dag", "task_group", "default_args", "sla", "resources"),
    *("email", "email_on_retry", "email_on_failure"),
}


def make(dag: DAG | None = None, /, **options: Any) -> tuple[WRRunSensor, set[str]]:
    """Return a sensor, and the warnings of its constructor."""
    with warnings.catch_warnings(record=True) as caught, dag or DAG("waits", schedule=None):
        warnings.simplefilter("ignore")  # such as an event loop that another test left
        warnings.simplefilter("always", UserWarning)
        sensor = WRRunSensor(task_id="wait", **{"run_id": RUN_ID, **BOTH, **options})
    return sensor, {str(each.message) for each in caught}


def told(what: str, why: str) -> str:
    return f"wait cannot {what} in the triggerer, and does so in a worker: {why}"


def start_of(sensor: WRRunSensor) -> dict[str, Any]:
    """Return the fields as the triggerer renders them."""
    args = sensor.start_trigger_args
    assert args is not None
    assert args.trigger_kwargs is not None
    return {field: args.trigger_kwargs[field] for field in sensor.template_fields}


def test_a_plain_sensor_needs_no_worker() -> None:
    sensor, said = make()

    assert said == set()
    assert (sensor.start_from_trigger, sensor.end_from_trigger) == (True, True)
    assert start_of(sensor) == {"run_id": RUN_ID, "wr_conn_id": "wr_default"}


@pytest.mark.parametrize("name", NEED_WORKER)
@pytest.mark.parametrize("by", ["argument", "default_args of the task", "default_args of the DAG"])
def test_a_setting_that_only_a_worker_goes_by_needs_one(name: str, by: str) -> None:
    value, starts, ends = NEED_WORKER[name]
    given = {name: value}
    if by == "argument":
        sensor, said = make(**given)
    elif by == "default_args of the task":
        sensor, said = make(default_args=given)
    else:
        sensor, said = make(DAG("waits", schedule=None, default_args=given))
        if name == "params":  # the same as the DAG's
            starts = True

    assert (sensor.start_from_trigger, sensor.end_from_trigger) == (starts, ends)
    assert said == {
        told(what, "params of its own are checked only there" if name == "params" else f"{name} counts only there")
        for what, there in (("start", starts), ("end", ends))
        if not there
    }


@pytest.mark.parametrize("name", HOLD)
def test_a_setting_that_holds_in_the_triggerer_needs_no_worker(name: str) -> None:
    sensor, said = make(**{name: HOLD[name]})

    assert said == set()
    assert (sensor.start_from_trigger, sensor.end_from_trigger) == (True, True)


def test_the_tables_have_every_setting_of_this_airflow() -> None:
    settings = set().union(
        *(inspect.signature(each.__init__).parameters for each in (BaseOperator, BaseSensorOperator))
    )
    assert settings - OTHERS == NEED_WORKER.keys() | HOLD.keys()


def test_an_unknown_setting_needs_a_worker() -> None:
    """An attribute of a later Airflow, or a replaced method."""
    sensor, _ = make()
    sensor.execute_complete = nothing  # type: ignore[method-assign,assignment]

    with pytest.warns(UserWarning, match="execute_complete counts only there"):
        sensor.resolve_template_files()
    assert (sensor.start_from_trigger, sensor.end_from_trigger) == (False, False)


# --- the templates ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "there"),
    [
        ("", ""),
        (RUN_ID, RUN_ID),
        ("{{ params.run }}", "{{ params.run }}"),
        ("wr_{{params['run']}}_{{ params.conn }}", "wr_{{ params['run'] }}_{{ params.conn }}"),
        ("wr_{{ var.value.run }}", "wr_{{ var.value.run }}"),
        ("{{ ti.xcom_pull('up') }}", PULL.format("up", "return_value", -1)),
        ("{{ task_instance.xcom_pull(task_ids='up') }}", PULL.format("up", "return_value", -1)),
        (' {{ ti.xcom_pull("up", key="it\'s") }}', " " + PULL.format("up", "it's", -1)),
        ("{{ ti.xcom_pull('up', map_indexes=-1) }}", PULL.format("up", "return_value", -1)),
        ("{{ ti.xcom_pull('mapped', map_indexes=2) }}", PULL.format("mapped", "return_value", 2)),
        # A value that may be missing is the whole template.
        ("{{ dag_run.conf['run'] }}", "{{ dag_run.conf['run'] }}"),
        ("{{ dag_run.conf.run[0].id }}", "{{ dag_run.conf.run[0].id }}"),
        ("{{ params.run.x }}", "{{ params.run.x }}"),
        ("{{ ti.xcom_pull('up')['id'] }}", PULL.format("up", "return_value", -1)[:-3] + "['id'] }}"),
        ("wr_{{ dag_run.conf['run'] }}", None),
        ("{{ ti.xcom_pull('up')['id'] }}.", None),
        # Any other form needs a worker.
        ("{{ ti.xcom_pull(task_ids=['up'])[0] }}", None),
        ("{{ ti.xcom_pull('up', 'other_dag') }}", None),
        ("{{ ti.xcom_pull('up', dag_id='other_dag') }}", None),
        ("{{ ti.xcom_pull('up', include_prior_dates=True) }}", None),
        ("{{ ti.xcom_pull('up', map_indexes=[0]) }}", None),
        ("{{ ti.xcom_pull('up', key=params.run) }}", None),
        ("{{ ti.xcom_pull(*['up']) }}", None),
        ("{{ ti.xcom_pull('up') | upper }}", None),
        ("{{ ti.xcom_pull('up') or params.run }}", None),
        ("{{ params.missing }}", None),
        ("{{ params.get('run') }}", None),
        ("{{ dag_run.conf.get('run') }}", None),
        ("{{ dag_run.run_id }}", None),
        ("{{ var.json.run }}", None),
        ("{{ conn.wr_default.host }}", None),
        ("{{ my_macro }}", None),
        ("{{ my_macro() }}", None),
        ("{{ run_id }}", None),
        ("{{ triggering_asset_events }}", None),
        ("{% if params.run %}a{% endif %}", None),
        ("{% raw %}{{ params.run }}{% endraw %}", None),
        ("{{ unfinished", None),
        pytest.param(RUN_ID.lower, None, id="no text"),
    ],
    ids=str,
)
def test_a_template_starts_there_in_a_form_that_renders_there(template: Any, there: str | None) -> None:
    sensor, said = make(DAG("waits", schedule=None, params={"run": RUN_ID, "conn": Param("a")}), run_id=template)

    assert sensor.end_from_trigger is True
    if there is not None:
        assert said == set()
        assert start_of(sensor)["run_id"] == there
    else:
        assert sensor.start_from_trigger is False
        (text,) = said
        assert text.startswith(told("start", "run_id is "))


@pytest.mark.parametrize(
    ("dag_options", "run_id", "starts"),
    [
        ({"render_template_as_native_obj": True}, RUN_ID, True),
        ({"render_template_as_native_obj": True}, "{{ params.run }}", False),
        ({"jinja_environment_kwargs": {"variable_start_string": "<<"}}, RUN_ID, False),
        ({"user_defined_macros": {"my_macro": nothing}}, "{{ params.run }}", True),
        ({"user_defined_filters": {"upper": nothing}}, "{{ params.run | upper }}", False),
    ],
)
def test_what_a_dag_changes_of_its_templates(dag_options: dict[str, Any], run_id: str, starts: bool) -> None:
    dag = DAG("waits", schedule=None, params={"run": RUN_ID}, **dag_options)

    assert make(dag, run_id=run_id)[0].start_from_trigger is starts


def test_outputs_of_tasks() -> None:
    @task
    def up() -> dict[str, str]:
        return {}

    @task
    def each(index: int) -> str:
        return RUN_ID

    dag = DAG("waits", schedule=None)
    with dag:
        plain, mapped, many = up(), each.expand(index=[1]), up.override(task_id="many")()
    expected = [
        (plain, PULL.format("up", "return_value", -1)),
        (many["id"], PULL.format("many", "id", -1)),
        (mapped, None),
        (plain.map(str), None),
        (plain.zip(many), None),
    ]
    for number, (output, there) in enumerate(expected):
        with warnings.catch_warnings(), dag:
            warnings.simplefilter("ignore")
            sensor = WRRunSensor(task_id=f"wait_{number}", run_id=output, start_from_trigger=True)  # type: ignore[arg-type]
        assert (start_of(sensor)["run_id"] if sensor.start_from_trigger else None) == there


# --- subclasses -------------------------------------------------------------------------------------------


class WithField(WRRunSensor):
    template_fields = (*WRRunSensor.template_fields, "memo")

    def __init__(self, *, memo: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.memo = memo


class WithHook(WRRunSensor):
    def post_execute(self, context: Any, result: Any = None) -> None:
        pass


@pytest.mark.parametrize(("kind", "options"), [(WithField, {"memo": "{{ mine }}"}), (WithHook, {})])
def test_a_subclass_may_need_a_worker_so_it_has_one(kind: type[WRRunSensor], options: dict[str, Any]) -> None:
    dag = DAG("waits", schedule=None)
    with dag, pytest.warns(UserWarning, match=f"{kind.__name__} may do what only a worker does"):
        sensor = kind(task_id="wait", run_id=RUN_ID, **BOTH, **options)

    assert (sensor.start_from_trigger, sensor.end_from_trigger, sensor.deferrable) == (False, False, True)
    DagSerialization.to_dict(dag)


# --- what comes later in the DAG's file -------------------------------------------------------------------


def read_to_the_end(dag: DAG) -> tuple[dict[str, Any], set[str]]:
    """Return the sensor after Airflow has read the whole DAG file, and the warnings."""
    dag.fileloc = "/dags/waits.py"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")  # such as an event loop that another test left
        warnings.simplefilter("always", UserWarning)
        dag.resolve_template_files()  # Airflow calls this before it reads the properties
        warned = {str(each.message) for each in caught}
        kept = DagSerialization.to_dict(dag)["dag"]["tasks"]
        assert {str(each.message) for each in caught} == warned
    assert {each.filename for each in caught} <= {dag.fileloc}
    (sensor,) = (each["__var"] for each in kept if each["__var"]["task_id"] == "wait")
    return sensor, warned


def test_an_upstream_that_is_mapped_later() -> None:
    dag = DAG("waits", schedule=None)
    sensor, said = make(dag, run_id="{{ ti.xcom_pull('later') }}", end_from_trigger=False)
    assert (sensor.start_from_trigger, said) == (True, set())

    @task
    def later(index: int) -> str:
        return RUN_ID

    with dag:
        later.expand(index=[1])
    kept, said = read_to_the_end(dag)
    assert said == {told("start", "run_id comes from the mapped task later")}
    assert kept.get("start_from_trigger", False) is False
    assert kept.get("start_trigger_args") is None


def test_an_upstream_in_a_group_that_is_mapped_later() -> None:
    dag = DAG("waits", schedule=None)
    make(dag, run_id="{{ ti.xcom_pull('group.later') }}", end_from_trigger=False)

    @task
    def later(index: int) -> str:
        return RUN_ID

    @task_group
    def group(index: int) -> None:
        later(index)

    with dag:
        group.expand(index=[1])
    _, said = read_to_the_end(dag)
    assert said == {told("start", "run_id comes from the mapped task group.later")}


def test_a_task_that_maps_over_the_result_later() -> None:
    dag = DAG("waits", schedule=None)
    sensor, said = make(dag)
    assert (sensor.end_from_trigger, said) == (True, set())

    @task
    def item(pair: Any) -> None:
        pass

    with dag:
        item.expand(pair=sensor.output)
    kept, said = read_to_the_end(dag)
    assert said == {told("end", "a mapped task takes its result")}
    assert sensor.end_from_trigger is False
    assert kept["start_trigger_args"]["trigger_kwargs"]["__var"]["end_from_trigger"] is False


@pytest.mark.parametrize("asked", [["start"], ["end"], ["start", "end"]], ids=str)
def test_a_setting_that_is_changed_later(asked: list[str]) -> None:
    dag = DAG("waits", schedule=None)
    sensor, said = make(dag, start_from_trigger="start" in asked, end_from_trigger="end" in asked)
    assert said == set()
    sensor.on_execute_callback = [nothing]
    _, said = read_to_the_end(dag)
    assert said == {told(what, "on_execute_callback counts only there") for what in asked}


def test_it_is_warned_once_and_applies_to_copies() -> None:
    dag = DAG("waits", schedule=None)
    sensor, said = make(dag, outlets=[Asset("out")])
    assert said == {told("end", "outlets counts only there")}
    assert read_to_the_end(dag)[1] == set()
    twin = copy.deepcopy(sensor)
    assert (twin.start_from_trigger, twin.end_from_trigger) == (True, False)


def test_nothing_happens_without_the_options() -> None:
    sensor, said = make(start_from_trigger=False, end_from_trigger=False, outlets=[Asset("out")])
    assert (sensor.start_from_trigger, sensor.end_from_trigger, said) == (False, False, set())


def test_airflow_starts_no_mapped_sensor_there() -> None:
    dag = DAG("waits", schedule=None)
    with dag, pytest.warns(UserWarning, match="cannot do so for a mapped task") as caught:
        WRRunSensor.partial(task_id="wait", start_from_trigger=True).expand(run_id=[RUN_ID])
    assert {each.filename for each in caught} == {__file__}
    assert (WRRunSensor.start_from_trigger, WRRunSensor.start_trigger_args) == (False, None)
    kept, said = read_to_the_end(dag)
    assert said == set()
    assert kept.get("start_from_trigger", False) is False
    assert kept.get("start_trigger_args") is None


@pytest.mark.parametrize("name", [None, *NEED_WORKER, *HOLD])
def test_a_mapped_sensor_ends_there_as_any_other(name: str | None) -> None:
    given = {name: NEED_WORKER[name][0] if name in NEED_WORKER else HOLD[name]} if name is not None else {}
    dag = DAG("waits", schedule=None)
    with warnings.catch_warnings(record=True) as caught, dag:
        warnings.simplefilter("ignore")  # such as an event loop that another test left
        warnings.simplefilter("always", UserWarning)
        mapped = WRRunSensor.partial(task_id="wait", end_from_trigger=True, **given).expand(run_id=[RUN_ID])
        said = {(str(each.message), each.filename) for each in caught}
        sensor = mapped.unmap({"run_id": RUN_ID})
    ends = NEED_WORKER[name][2] if name in NEED_WORKER else True

    assert said == (set() if ends else {(told("end", f"{name} counts only there"), __file__)})
    assert (sensor.start_from_trigger, sensor.end_from_trigger, sensor.deferrable) == (False, ends, True)
