"""Describe a run, or an execution of a component, in the asset events of a task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import Asset

from airflow_provider_wr.api.sanitize import sanitize

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_wr.api.watched import State


def describe(
    context: Context, outlets: Any, run_id: str, *, workflow_id: str | None, run: State | None = None
) -> None:
    """
    Add a run to the ``extra`` of each asset event of a task. Existing keys are kept.

    :param context: of the current try.
    :param outlets: of the task. Aliases are skipped, since the DAG's author chooses their assets.
    :param run_id: UUID of the run.
    :param workflow_id: UUID of its workflow; None if unknown.
    :param run: its last known state; None if the task did not wait for it.
    """
    ids = {"wr_run_id": run_id, "wr_workflow_id": workflow_id}
    _describe(context, outlets, ids, run)


def describe_execution(
    context: Context, outlets: Any, execution_id: str, *, module: str | None, execution: State | None = None
) -> None:
    """
    Add an execution of a component, as :func:`describe` adds a run.

    :param execution_id: UUID of the execution.
    :param module: the component; None where the task does not know it.
    :param execution: as it was last read; None where the task did not wait for it.
    """
    _describe(context, outlets, {"wr_execution_id": execution_id, "wr_module": module}, execution)


def _describe(context: Context, outlets: Any, ids: dict[str, str | None], state: State | None) -> None:
    assets = [outlet for outlet in outlets or () if isinstance(outlet, Asset)]
    if not assets:
        return
    dag_run: Any = context["dag_run"]
    facts, _ = sanitize(
        {
            **ids,
            "wr_status": None if state is None else str(state.status),
            "wr_credits": None if state is None else state.total_usage,
            "dag_run_id": dag_run.run_id,
            "dag_run_type": str(getattr(dag_run.run_type, "value", dag_run.run_type)),
            # Since Airflow 3.1, and only if a user triggered the DAG run.
            "triggered_by": getattr(dag_run, "triggering_user_name", None),
        }
    )
    for asset in assets:
        event = context["outlet_events"][asset]
        event.extra = {**facts, **event.extra}
