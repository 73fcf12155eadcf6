"""
Whether a sensor may start or end in the triggerer without any difference to one that runs in a worker.

Airflow does less in the triggerer. At the start, it skips ``pre_execute``, ``on_execute_callback`` and pools, and
renders templates without the DAG's macros. At the end, it skips ``on_success_callback``, ``post_execute`` and
asset updates, and no task can be mapped over the result. So this is an allowlist: a setting that is not known to
work there, such as one of a later Airflow, needs a worker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_3_PLUS
from jinja2 import Environment, TemplateError, nodes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from airflow.providers.common.compat.sdk import BaseSensorOperator

#: Settings that work in the triggerer with any value: the scheduler applies them, or they are for humans, or for a
#: task that did not succeed, which ends in a worker.
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
    # Where a worker runs, if one is needed.
    *("executor", "executor_config", "resources", "run_as_user"),
    # The sensor itself handles these.
    *("execution_timeout", "timeout", "mode", "poke_interval", "exponential_backoff", "max_wait"),
    *("soft_fail", "silent_fail", "never_fail"),
    *("run_id", "execution_id", "wr_conn_id", "deferrable", "allowed_statuses", "stage_outputs", "max_credits"),
    *("start_from_trigger", "end_from_trigger"),
}

#: Settings that matter only at the end, or only at the start.
_HOLD_AT_START = _HOLD | {
    *("on_success_callback", "_post_execute_hook", "do_xcom_push", "multiple_outputs", "inlets", "outlets"),
    "params",  # see _check_params
}
_HOLD_AT_END = _HOLD | {
    *("pool", "pool_slots", "queue", "max_active_tis_per_dag", "max_active_tis_per_dagrun"),
    *("params", "render_template_as_native_obj"),
}

#: Settings that work with their default value, if that is not empty.
_DEFAULTS = {"do_xcom_push": True, "pool": "default_pool", "pool_slots": 1}

#: Attributes whose argument has a different name.
_HOOKS = {"_pre_execute_hook": "pre_execute", "_post_execute_hook": "post_execute"}


T = TypeVar("T")


class InstanceProperty(Generic[T]):
    """
    A property with another value on the class.

    Airflow reads these attributes after it has read the whole DAG file and applied the cluster policies, so the
    value cannot be computed in the constructor.

    :param compute: returns the value for a sensor.
    :param of_class: the value on the class, which Airflow reads for a mapped sensor.
    """

    def __init__(self, compute: Callable[[Any], T], of_class: T) -> None:
        self._compute = compute
        self._of_class = of_class

    def __get__(self, sensor: object | None, owner: type | None = None) -> T:
        return self._of_class if sensor is None else self._compute(sensor)


class NeedsWorker(Exception):
    """The sensor needs a worker to start or to end; the message is the reason."""


def check_end(sensor: BaseSensorOperator, known: type) -> None:
    """Raise :class:`NeedsWorker` unless the sensor may end in the triggerer. Subclasses of ``known`` may not."""
    check_mapped_end(type(sensor), vars(sensor), known)
    if sensor.has_dag() and next(iter(sensor.iter_mapped_dependants()), None) is not None:
        raise NeedsWorker("a mapped task takes its result")


def check_mapped_end(kind: type, settings: Mapping[str, Any], known: type) -> None:
    """Raise :class:`NeedsWorker` unless mapped sensors of this class and settings may end in the triggerer."""
    _check_kind(kind, known)
    _check_settings(settings, _HOLD_AT_END)
    if _has_listeners():
        raise NeedsWorker(
            "Airflow refuses the DAG while a plugin with listeners is installed, such as OpenLineage's"
        )


def check_start(sensor: BaseSensorOperator, known: type) -> dict[str, str]:
    """
    Return the templated fields of a sensor, rewritten so that the triggerer renders them like a worker.

    Raises :class:`NeedsWorker` unless the sensor may start there. Subclasses of ``known`` may not.
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
        # Private attributes are not settings, except the two hooks.
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
    Airflow validates a DAG run's params when it is created, but a task's own params only when the task starts.

    In the triggerer, an invalid param kills the process, and all waits with it (seen on 3.3.2).
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
        raise unknown  # they may change the template syntax
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
    """A template that is not known to render the same in the triggerer."""


def _parts(template: str) -> Iterator[nodes.Node]:
    for statement in Environment().parse(template).body:  # noqa: S701 nothing is rendered
        if not isinstance(statement, nodes.Output):
            raise _UnknownForm
        yield from statement.nodes


def _write(sensor: BaseSensorOperator, field: str, part: nodes.Node, *, alone: bool) -> str:
    """
    Rewrite a part of a template.

    A value that may be missing must be the whole template. It then renders to an empty string in the triggerer,
    with which no wait succeeds, and the worker that follows fails like one from the start.
    """
    match part:
        case nodes.TemplateData(data=text) if "{" not in text:
            return text
        case nodes.TemplateData():
            raise _UnknownForm
    return f"{{{{ {_write_value(sensor, field, part, alone)} }}}}"


def _write_value(sensor: BaseSensorOperator, field: str, value: nodes.Node, may_miss: bool) -> str:
    """Rewrite a param, a Variable, the DAG run's conf or the pull of one XCom, or an item of one of them."""
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
            # The second positional argument is the DAG id.
            positional = dict(zip(("task_ids", "dag_id"), [each.as_const() for each in value.args], strict=False))
            return _write_pull(sensor, field, {"key": "return_value", **positional, **given})
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
    # Without map_indexes, the triggerer cannot decode the result and hangs forever (seen on 3.3.2).
    return f"ti.xcom_pull(task_ids={task_id!r}, key={key!r}, map_indexes={map_index})"


def _check_not_mapped(field: str, upstream: Any) -> None:
    # A task further down in the DAG file does not exist yet.
    if upstream is not None and (upstream.is_mapped or upstream.get_closest_mapped_task_group() is not None):
        raise NeedsWorker(f"{field} comes from the mapped task {upstream.task_id}")
