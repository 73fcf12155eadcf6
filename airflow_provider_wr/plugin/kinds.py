"""What a page shows: a run, or an execution of a component as a run of one stage."""

from __future__ import annotations

from typing import Any

from airflow_provider_wr.api import watched
from airflow_provider_wr.api.executions import ComponentExecution, ExecutionStatus
from airflow_provider_wr.api.models import Run, StageStatus
from airflow_provider_wr.api.watched import Watched


def watch(watched_id: str, *, is_execution: bool) -> Watched[Any]:
    """Return what to read; raises :class:`WRValidationError` for an invalid id."""
    return watched.execution(watched_id) if is_execution else watched.run(watched_id)


def read(body: Any, *, is_execution: bool) -> Run:
    """Read the API's JSON; raises :class:`WRProtocolError` if the id or the status is missing."""
    return as_run(ComponentExecution.from_json(body)) if is_execution else Run.from_json(body)


def as_run(found: Run | ComponentExecution) -> Run:
    """Return a run unchanged, and an execution as a run of one stage, which starts when it was created."""
    if isinstance(found, Run):
        return found
    status = StageStatus.RUNNING if found.status == ExecutionStatus.EXECUTING else found.status
    stage = {
        "id": found.id,
        "module": found.module,
        "status": str(status),
        "output": found.output,
        "error": found.error,
        "creditUsage": found.total_usage,
        "executionDispatchedAt": found.created_at,
        "updatedAt": found.updated_at,
    }
    run = {
        "id": found.id,
        "status": str(found.status),
        "totalUsage": found.total_usage,
        "createdAt": found.created_at,
        "updatedAt": found.updated_at,
        "runStages": [stage],
    }
    return Run.from_json(run)
