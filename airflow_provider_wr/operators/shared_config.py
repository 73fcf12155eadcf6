"""
Detect concurrent updates: with a warning when a DAG is parsed, and a check before an update is sent.

All runs of a workflow share the config of its components. From an update to the end of its run, no other update
may be sent, or a run could use the values of another.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_3_PLUS

from airflow_provider_wr.arguments import default_args, value_or_none
from airflow_provider_wr.exceptions import WRConcurrentUpdateError

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_wr.connection import WRSettings

DEFAULT_POOL = "default_pool"

#: States of a task between its update and the end of its run.
ACTIVE_STATES = ["running", "deferred", "restarting"]

POOL = 'pool="…", of one slot and with deferred tasks included'
ALLOW = "Where all runs set the same values: allow_concurrent_updates=True"


class SharesConfig:
    """An operator that updates components or starts runs."""

    allow_concurrent_updates: bool

    #: Whether it starts runs, with optional ``component_updates``; otherwise it only updates.
    starts_runs: ClassVar[bool]


def warn_of_overlap(task: Any) -> None:
    """Warn if the updates of a task may overlap with those of another run. Ignores tasks of other operators."""
    if not issubclass(_operator(task), SharesConfig) or _argument(task, "allow_concurrent_updates"):
        return
    if (remedy := _remedy(task)) and not _is_allowed(task):
        warnings.warn_explicit(
            f"Task {task.task_id} of DAG {task.dag.dag_id}: updates may overlap. All runs of a workflow share the "
            f"config of its components, so a run could use the values of another. Set {remedy}. {ALLOW}",
            UserWarning,
            filename=task.dag.fileloc,
            lineno=_line(task),
        )


def check_alone(context: Context, task: Any, settings: WRSettings) -> None:
    """
    Refuse to update while another update of this DAG, or its run, may be active.

    Airflow counts a task as active before this check runs: of two that start at once, at least one sees the other.
    Airflow 2.11 has no way to count other tasks, so nothing is checked there.

    Raises :class:`WRConcurrentUpdateError`.
    """
    ti: Any = context["ti"]
    if task.allow_concurrent_updates or settings.allow_concurrent_updates or not hasattr(ti, "get_ti_count"):
        return
    defined = task.dag.get_task(task.task_id)  # the mapped operator, if this is an instance of one
    if _has_updates(task):
        tasks = [each.task_id for each in task.dag.tasks if _has_updates(each) and _may_share(each, task)]
        others = ti.get_ti_count(dag_id=ti.dag_id, task_ids=tasks, states=ACTIVE_STATES) - 1
    elif triggers := _triggers_behind(task):
        # Between an update and its trigger no task is active, so any other DAG run counts.
        others = ti.get_dr_count(dag_id=ti.dag_id, states=["running"]) - 1
        if _repeat(defined, triggers):
            others += ti.get_ti_count(dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id]) - 1
    else:
        return
    if others > 0:
        raise WRConcurrentUpdateError(
            f"nothing was sent, since {others} other updates or their runs may be active: all runs of a "
            f"workflow share the config of its components. Set {_remedy(defined) or _checked(defined)}. {ALLOW}"
        )


def _is_allowed(task: Any) -> bool:
    """Return whether the connection allows concurrent updates; False if it cannot be looked up."""
    conn_id = _argument(task, "wr_conn_id") or "wr_default"
    if "{" in conn_id:
        return False

    from airflow_provider_wr.connection import WRSettings

    try:
        return WRSettings.load(conn_id).allow_concurrent_updates
    except Exception:  # a secrets backend may raise anything, which must not break DAG parsing
        return False


def _remedy(task: Any) -> str | None:
    """Return the settings that would prevent overlaps; None if the task has them, or no updates."""
    one_run = task.dag.max_active_runs == 1
    if _has_updates(task):
        if task.pool != DEFAULT_POOL:
            return None
        if rivals := _rivals(task):
            others = f"{rivals[0]} and {len(rivals) - 1} more" if rivals[1:] else rivals[0]
            return (
                f"on this task and {others} the same {POOL}, or max_active_runs=1 on the DAG and an order of them"
            )
        if _is_limited(task, "max_active_tis_per_dag"):
            return None
        if not _is_repeated(task):
            return None if one_run else f"max_active_runs=1 on the DAG, or on the task {POOL}"
        if one_run and _is_limited(task, "max_active_tis_per_dagrun"):
            return None
        return f"max_active_runs=1 on the DAG and max_active_tis_per_dagrun=1 on the task, or on the task {POOL}"
    if not (triggers := _triggers_behind(task)):
        return None
    together = f"component_updates and wait_for_completion=True on the trigger in place of this task, and {POOL}"
    if _repeat(task, triggers):
        return together
    return None if one_run else f"max_active_runs=1 on the DAG, or {together}"


def _checked(task: Any) -> str:
    """Return what to change although the settings look right."""
    if task.pool != DEFAULT_POOL:
        return f"the slots of pool {task.pool} to 1, and let it include deferred tasks"
    return f"{POOL} on the task, which also holds back backfills and other tasks"


def _has_updates(task: Any) -> bool:
    updates = _argument(task, "component_updates")
    return updates is not None and not (isinstance(updates, (list, tuple, str)) and len(updates) == 0)


def _rivals(task: Any) -> list[str]:
    """Return the ids of other updating tasks that may run in parallel with this one in the same DAG run."""
    from airflow.providers.common.compat.sdk import SkipMixin

    before = task.get_flat_relatives(upstream=True)
    related = {each.task_id for each in (task, *before, *task.get_flat_relatives())}
    # After a branch, only some tasks run.
    forks = {each.task_id for each in before if issubclass(_operator(each), SkipMixin)}
    return [
        each.task_id
        for each in task.dag.tasks
        if each.task_id not in related
        and _has_updates(each)
        and _may_share(each, task)
        and each.trigger_rule == task.trigger_rule  # otherwise one may be for failure, the other for success
        and forks.isdisjoint(one.task_id for one in each.get_flat_relatives(upstream=True))
    ]


def _triggers_behind(task: Any) -> list[Any]:
    """Return the downstream tasks that may start a run with the values of an updating task."""
    operator = _operator(task)
    if not issubclass(operator, SharesConfig) or operator.starts_runs:
        return []
    return [each for each in task.get_flat_relatives() if _starts_runs(each) and _may_share(each, task)]


def _starts_runs(task: Any) -> bool:
    operator = _operator(task)
    return issubclass(operator, SharesConfig) and operator.starts_runs


def _repeat(task: Any, triggers: list[Any]) -> bool:
    """Return whether a DAG run may have several pairs of update and trigger."""
    return _is_repeated(task) and any(map(_is_repeated, triggers))


def _is_repeated(task: Any) -> bool:
    """Return whether a DAG run may have several instances of a task."""
    return _expanded(task) is not None or next(task.iter_mapped_task_groups(), None) is not None


def _is_limited(task: Any, limit: str) -> bool:
    # Before Airflow 3.3, these limits do not count deferred tasks.
    return getattr(task, limit) == 1 and (AIRFLOW_V_3_3_PLUS or not _argument(task, "deferrable"))


def _may_share(task: Any, other: Any) -> bool:
    """Return whether two tasks may use the same workflow: not if both name different ones."""
    names = [_argument(each, "workflow_id") for each in (task, other)]
    return names[0] == names[1] or not all(isinstance(each, str) and "{" not in each for each in names)


def _operator(task: Any) -> type[Any]:
    return getattr(task, "operator_class", None) or type(task)


def _expanded(task: Any) -> Any:
    """Return what a task is mapped over; None if it is not mapped."""
    expand_input = getattr(task, "expand_input", None)
    return None if expand_input is None else expand_input.value


def _argument(task: Any, name: str) -> Any:
    """Return an argument of a task as the DAG sets it; None if it is left out or not known yet."""
    expanded = _expanded(task)
    if expanded is None:
        return getattr(task, name, None)
    several = expanded if isinstance(expanded, (list, tuple)) else ()
    for given in (expanded, *several, task.partial_kwargs, default_args(task.dag, task.task_group)):
        if isinstance(given, Mapping) and given.get(name) is not None:
            return value_or_none(given[name])
    return None


def _line(task: Any) -> int:
    """Return the line of the DAG file that creates the task; 1 if unknown, such as in a loop."""
    with suppress(OSError, SyntaxError, ValueError):
        for node in ast.walk(ast.parse(Path(task.dag.fileloc).read_bytes())):
            if isinstance(node, ast.Call) and any(_is_id(each, task.label) for each in node.keywords):
                return node.lineno
    return 1


def _is_id(keyword: ast.keyword, task_id: str) -> bool:
    return keyword.arg == "task_id" and isinstance(keyword.value, ast.Constant) and keyword.value.value == task_id
