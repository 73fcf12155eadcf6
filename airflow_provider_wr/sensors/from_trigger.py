"""
What a sensor needs to start or end in the triggerer, and what stands in its way.

Airflow renders the templates of a trigger in the triggerer, which cannot decode the answer to a plain
``xcom_pull(task_ids=…)``: the trigger would hang for ever (seen on Airflow 3.3.2). With ``map_indexes=-1`` the
same pull renders. So only what is known to render is let through.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_3_PLUS

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseSensorOperator

_PULL = re.compile(
    r"\{\{\s*(?:ti|task_instance)\.xcom_pull\(\s*(?:task_ids\s*=\s*)?(?P<quote>['\"])(?P<task>[\w.-]+)(?P=quote)"
    r"(?:\s*,\s*key\s*=\s*(?P<quote2>['\"])(?P<key>[\w.-]+)(?P=quote2))?\s*\)\s*\}\}"
)


class CannotStart(Exception):
    """The sensor cannot start in the triggerer; its text says why."""


def check_can_start(sensor: BaseSensorOperator) -> None:
    """Raise :class:`CannotStart` unless the sensor, whatever its fields, may start in the triggerer."""
    if not AIRFLOW_V_3_3_PLUS:
        raise CannotStart("Airflow can do so from 3.3 on")
    if sensor.get_closest_mapped_task_group() is not None:
        raise CannotStart("Airflow cannot do so for a task in a mapped task group")


def template(sensor: BaseSensorOperator, name: str) -> str:
    """
    Return a field of the sensor in a form that the triggerer can render.

    Raises :class:`CannotStart` when there is none.
    """
    value: Any = getattr(sensor, name)
    if isinstance(value, str):
        if match := _PULL.fullmatch(value.strip()):
            _check_not_mapped(name, sensor.dag.task_dict.get(match["task"]) if sensor.has_dag() else None)
            return _pull(match["task"], match["key"] or "return_value")
        if "xcom_pull" in value and "map_indexes" not in value:
            raise CannotStart(f"{name} pulls an XCom in a form that the triggerer cannot render: {value}")
        return value
    if type(value).__name__ != "PlainXComArg":
        raise CannotStart(f"{name} is neither a text nor the plain output of a task")
    _check_not_mapped(name, value.operator)
    return _pull(value.operator.task_id, value.key)


def _check_not_mapped(name: str, upstream: Any) -> None:
    if upstream is not None and (upstream.is_mapped or upstream.get_closest_mapped_task_group() is not None):
        raise CannotStart(f"{name} comes from the mapped task {upstream.task_id}")


def _pull(task_id: str, key: str) -> str:
    return f"{{{{ ti.xcom_pull(task_ids={task_id!r}, key={key!r}, map_indexes=-1) }}}}"


def cannot_end(sensor: BaseSensorOperator) -> str | None:
    """Say why the sensor cannot end in the triggerer here; None when it can."""
    if not AIRFLOW_V_3_3_PLUS:
        return "Airflow can do so from 3.3 on"
    if sensor.outlets:
        return "Airflow updates the assets of its outlets only there"
    from airflow.listeners.listener import get_listener_manager

    if get_listener_manager().has_listeners:
        return "Airflow refuses the DAG while a plugin with listeners is installed, such as OpenLineage's"
    return None
