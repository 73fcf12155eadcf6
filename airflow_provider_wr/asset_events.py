"""What the asset events of a task's outlets say of its run."""

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
    Add a run to the ``extra`` of each asset event that a task will leave. What the task's author put there stays.

    :param context: of the try that runs now.
    :param outlets: the task's. The assets of an alias are the author's to name, so an alias gets nothing.
    :param run_id: UUID of the run.
    :param workflow_id: UUID of its workflow; None where the task does not know it.
    :param run: as it was last read; None where the task did not wait for it.
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
            # Airflow knows it from 3.1 on, and only where a user did it.
            "triggered_by": getattr(dag_run, "triggering_user_name", None),
        }
    )
    for asset in assets:
        event = context["outlet_events"][asset]
        event.extra = {**facts, **event.extra}
