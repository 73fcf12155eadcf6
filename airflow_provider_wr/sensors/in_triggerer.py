"""
Whether a sensor may start or end in the triggerer, and be no different from one that runs in a worker.

Airflow does less there. Without a worker at the start nothing calls ``pre_execute`` or ``on_execute_callback``, no
pool is counted, and the templates are rendered without the DAG's macros. Without one at the end nothing calls
``on_success_callback`` or ``post_execute``, no asset is updated, no result is mapped over. So what is let through
is what is known to hold there, and anything else needs a worker: a setting that a later Airflow brings, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_3_PLUS
from jinja2 import Environment, TemplateError, nodes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from airflow.providers.common.compat.sdk import BaseSensorOperator

#: Airflow's settings that hold in the triggerer whatever they are: the scheduler goes by them, or only people
#: read them, or they are for a task that did not succeed, which ends in a worker.
_HOLD = {
    *("task_id", "dag", "task_group", "upstream_task_ids", "downstream_task_ids", "allow_nested_operators"),
    *(
        "owner",
        "task_display_name",
        "logger_name",
        "doc",
        "doc_md",
        "doc_json",
        "doc_yaml",
        "doc_rst",
        "is_setup",
        "is_teardown",
    ),
    *("start_date", "end_date", "trigger_rule", "depends_on_past", "ignore_first_depends_on_past"),
    *("wait_for_past_depends_before_skipping", "wait_for_downstream", "priority_weight", "weight_rule"),
    *("retries", "retry_delay", "retry_exponential_backoff", "max_retry_delay", "retry_policy"),
    *("email", "email_on_failure", "email_on_retry"),
    *("on_failure_callback", "on_retry_callback", "on_skipped_callback"),
    # Where a worker runs, if there is one.
    *("executor", "executor_config", "resources", "run_as_user"),
    # The sensor itself sees to these.
    *("execution_timeout", "timeout", "mode", "poke_interval", "exponential_backoff", "max_wait"),
    *("soft_fail", "silent_fail", "never_fail"),
    *("run_id", "wr_conn_id", "deferrable", "allowed_statuses", "stage_outputs", "max_credits"),
    *("start_from_trigger", "end_from_trigger"),
}

#: What hold in addition at one of the two ends: it is for the other.
_HOLD_AT_START = _HOLD | {
    *("on_success_callback", "_post_execute_hook", "do_xcom_push", "multiple_outputs", "inlets", "outlets"),
    "params",  # see `_check_params`
}
_HOLD_AT_END = _HOLD | {
    *("pool", "pool_slots", "queue", "max_active_tis_per_dag", "max_active_tis_per_dagrun"),
    *("params", "render_template_as_native_obj"),
}

#: The settings that hold as they are by default, where the default is not "none".
_DEFAULTS = {"do_xcom_push": True, "pool": "default_pool", "pool_slots": 1}

#: The names that Airflow gives to arguments whose attribute has another.
_HOOKS = {"_pre_execute_hook": "pre_execute", "_post_execute_hook": "post_execute"}


T = TypeVar("T")


class Asked(Generic[T]):
    """
    An attribute of a sensor that is found each time that it is asked for.

    Airflow asks when the DAG's file has been read to its end and the cluster's policies have been applied; what
    was true in the constructor may not be so any more.

    :param find: finds the value for a sensor.
    :param of_class: the value of the class itself, which Airflow asks for a mapped sensor.
    """

    def __init__(self, find: Callable[[Any], T], of_class: T) -> None:
        self._find = find
        self._of_class = of_class

    def __get__(self, sensor: object | None, owner: type | None = None) -> T:
        return self._of_class if sensor is None else self._find(sensor)


class NeedsWorker(Exception):
    """The sensor needs a worker to start, or to end; the text says why."""


def check_end(sensor: BaseSensorOperator, known: type) -> None:
    """Raise :class:`NeedsWorker` unless the sensor, of the ``known`` class, may end in the triggerer."""
    check_mapped_end(type(sensor), vars(sensor), known)
    if sensor.has_dag() and next(iter(sensor.iter_mapped_dependants()), None) is not None:
        raise NeedsWorker("a mapped task takes its result")


def check_mapped_end(kind: type, settings: Mapping[str, Any], known: type) -> None:
    """Raise :class:`NeedsWorker` unless mapped sensors of this kind, with these settings, may end there."""
    _check_kind(kind, known)
    _check_settings(settings, _HOLD_AT_END)
    if _has_listeners():
        raise NeedsWorker(
            "Airflow refuses the DAG while a plugin with listeners is installed, such as OpenLineage's"
        )


def check_start(sensor: BaseSensorOperator, known: type) -> dict[str, str]:
    """
    Return the templated fields of a sensor in a form that the triggerer renders as a worker does.

    Raises :class:`NeedsWorker` unless the sensor, of the ``known`` class, may start there.
    """
    _check_kind(type(sensor), known)
    if sensor.get_closest_mapped_task_group() is not None:
        raise NeedsWorker("Airflow cannot do so for a task in a mapped task group")
    _check_settings(vars(sensor), _HOLD_AT_START)
    if _has_listeners():
        raise NeedsWorker("a plugin with listeners is installed, such as OpenLineage's, which only a worker calls")
    _check_params(sensor)
    return {field: _field(sensor, field) for field in sensor.template_fields}


def _check_kind(kind: type, known: type) -> None:
    if not AIRFLOW_V_3_3_PLUS:
        raise NeedsWorker("Airflow can do so from 3.3 on")
    if kind is not known:
        raise NeedsWorker(f"{kind.__name__} may do what only a worker does")


def _check_settings(settings: Mapping[str, Any], hold: set[str]) -> None:
    for name, value in settings.items():
        # Private attributes are no settings, but for the two hooks.
        if name in hold or (name.startswith("_") and name not in _HOOKS):
            continue
        if value != _default(name) if name in (*_DEFAULTS, "queue") else value:
            raise NeedsWorker(f"{_HOOKS.get(name, name)} counts only there")


def _default(name: str) -> Any:
    from airflow.providers.common.compat.sdk import conf

    return conf.get("operators", "default_queue") if name == "queue" else _DEFAULTS[name]


def _has_listeners() -> bool:
    from airflow.listeners.listener import get_listener_manager

    return get_listener_manager().has_listeners


def _check_params(sensor: BaseSensorOperator) -> None:
    """
    A DAG run's params were checked when it was made; a task's own are checked when it starts.

    In the triggerer a param that is not valid ends the process, and every wait in it with it (seen on 3.3.2).
    """

    def facts(params: Any) -> dict[str, Any]:
        return {name: (param.value, param.schema) for name, param in params.items()}

    if not facts(sensor.params).items() <= facts(sensor.dag.params if sensor.has_dag() else {}).items():
        raise NeedsWorker("params of its own are checked only there")


def _field(sensor: BaseSensorOperator, name: str) -> str:
    from airflow.sdk.definitions.xcom_arg import PlainXComArg

    value: Any = getattr(sensor, name)
    if type(value) is PlainXComArg:
        _check_not_mapped(name, value.operator)
        return f"{{{{ {_pull(value.operator.task_id, value.key)} }}}}"
    if not isinstance(value, str):
        raise NeedsWorker(f"{name} is neither a string nor the plain output of a task")
    unknown = NeedsWorker(f"{name} is a template that the triggerer is not known to render: {value}")
    if sensor.has_dag() and sensor.dag.jinja_environment_kwargs:
        raise unknown  # they may change what a template is
    if "{" not in value:
        return value
    if sensor.has_dag() and sensor.dag.render_template_as_native_obj:
        raise unknown
    try:
        parts = list(_parts(value))
        return "".join(_write(sensor, name, part, alone=len(parts) == 1) for part in parts)
    except (TemplateError, nodes.Impossible, _UnknownForm):
        raise unknown from None


class _UnknownForm(Exception):
    """A template of a form that is not known to render."""


def _parts(template: str) -> Iterator[nodes.Node]:
    for statement in Environment().parse(template).body:  # noqa: S701 nothing is rendered
        if not isinstance(statement, nodes.Output):
            raise _UnknownForm
        yield from statement.nodes


def _write(sensor: BaseSensorOperator, field: str, part: nodes.Node, *, alone: bool) -> str:
    """
    Write a part of a template anew.

    What may be missing must be all there is in the template. A worker refuses it then; in the triggerer it is an
    empty text, with which no wait succeeds, and then the worker refuses it.
    """
    match part:
        case nodes.TemplateData(data=text) if "{" not in text:
            return text
        case nodes.TemplateData():
            raise _UnknownForm
    return f"{{{{ {_write_value(sensor, field, part, alone)} }}}}"


def _write_value(sensor: BaseSensorOperator, field: str, value: nodes.Node, may_miss: bool) -> str:
    """Write a param, a Variable, the conf of the DAG run, or the pull of one XCom; or an item of one of them."""
    match value:
        case nodes.Getattr(node=nodes.Name(name="params"), attr=key) if key in sensor.params:
            return f"params.{key}"
        case nodes.Getitem(node=nodes.Name(name="params"), arg=nodes.Const(value=key)) if key in sensor.params:
            return f"params[{key!r}]"
        case nodes.Getattr(node=nodes.Getattr(node=nodes.Name(name="var"), attr="value"), attr=key):
            return f"var.value.{key}"
        case nodes.Call(
            node=nodes.Getattr(node=nodes.Name(name="ti" | "task_instance"), attr="xcom_pull"),
            dyn_args=None,
            dyn_kwargs=None,
        ):
            given = {each.key: each.value.as_const() for each in value.kwargs}
            # The second argument that goes by its place is the DAG's id.
            by_place = dict(zip(("task_ids", "dag_id"), [each.as_const() for each in value.args], strict=False))
            return _write_pull(sensor, field, {"key": "return_value", **by_place, **given})
        case nodes.Getattr(node=nodes.Name(name="dag_run"), attr="conf") if may_miss:
            return "dag_run.conf"
        case nodes.Getattr(node=inner, attr=key) if may_miss:
            return f"{_write_value(sensor, field, inner, may_miss)}.{key}"
        case nodes.Getitem(node=inner, arg=nodes.Const(value=str() | int() as key)) if may_miss:
            return f"{_write_value(sensor, field, inner, may_miss)}[{key!r}]"
    raise _UnknownForm


def _write_pull(sensor: BaseSensorOperator, field: str, args: dict[str, Any]) -> str:
    match args:
        case {"task_ids": str(task_id), "key": str(key)} if len(args) == 2:
            _check_not_mapped(field, sensor.dag.task_dict.get(task_id) if sensor.has_dag() else None)
            return _pull(task_id, key)
        case {"task_ids": str(task_id), "key": str(key), "map_indexes": int(index)} if len(args) == 3:
            return _pull(task_id, key, index)
    raise _UnknownForm


def _pull(task_id: str, key: str, map_index: int = -1) -> str:
    # The triggerer cannot decode the answer to a pull without map_indexes: the trigger would hang for ever, as
    # seen on Airflow 3.3.2.
    return f"ti.xcom_pull(task_ids={task_id!r}, key={key!r}, map_indexes={map_index})"


def _check_not_mapped(field: str, upstream: Any) -> None:
    # A task further down in the DAG's file is not there until the file is read to its end.
    if upstream is not None and (upstream.is_mapped or upstream.get_closest_mapped_task_group() is not None):
        raise NeedsWorker(f"{field} comes from the mapped task {upstream.task_id}")
