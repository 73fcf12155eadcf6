"""Describe a run in the asset events of a task."""

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
    assets = [outlet for outlet in outlets or () if isinstance(outlet, Asset)]
    if not assets:
        return
    dag_run: Any = context["dag_run"]
    facts, _ = sanitize(
        {
            "wr_run_id": run_id,
            "wr_workflow_id": workflow_id,
            "wr_status": None if run is None else str(run.status),
            "wr_credits": None if run is None else run.total_usage,
            "dag_run_id": dag_run.run_id,
            "dag_run_type": str(getattr(dag_run.run_type, "value", dag_run.run_type)),
            # Since Airflow 3.1, and only if a user triggered the DAG run.
            "triggered_by": getattr(dag_run, "triggering_user_name", None),
        }
    )
    for asset in assets:
        event = context["outlet_events"][asset]
        event.extra = {**facts, **event.extra}
