"""
The OpenLineage facet of a run, on the Airflow task that started it, waited for it or read it.

It does not contain outputs and errors of stages, which may be secret. Imported only if OpenLineage's provider is
installed.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.openlineage.facet import RunFacet
from airflow.providers.openlineage.extractors import OperatorLineage
from attrs import define

from airflow_provider_wr import __version__
from airflow_provider_wr.api.models import StageStatus
from airflow_provider_wr.api.sanitize import sanitize
from airflow_provider_wr.api.text import printable

if TYPE_CHECKING:
    from airflow_provider_wr.api.models import Run, RunStage

#: The facet's key in an event.
NAME = "whiteRabbit_run"

#: The facet's producer: a package URL, which needs no host.
PRODUCER = f"pkg:pypi/airflow-provider-wr@{__version__}"

#: Maximum number of stages in the facet. A fan-out has hundreds, and some servers reject large events.
MAX_STAGES = 100


@define
class WhiteRabbitRunFacet(RunFacet):  # type: ignore[misc]  # not installed where types are checked
    """
    The state of a run when the task ended. None means unknown, and is left out of the event.

    :param runId: UUID of the run.
    :param workflowId: UUID of its workflow.
    :param status: the run's status.
    :param totalUsage: credits.
    :param stageCounts: number of stages by status.
    :param stages: id, module, status, credits and attempt of each stage, failed ones first, at most
        ``MAX_STAGES``.
    """

    runId: str
    workflowId: str | None = None
    status: str | None = None
    totalUsage: float | None = None
    stageCounts: dict[str, int] | None = None
    stages: list[dict[str, Any]] | None = None


def lineage(run_id: str | None, workflow_id: str | None, run: Run | None) -> OperatorLineage:
    """
    Return the lineage of a task.

    :param run_id: UUID of the task's run; None without one.
    :param workflow_id: UUID of the run's workflow; None if unknown.
    :param run: the last known state of the run; None if it was never read.
    """
    if run_id is None:
        return OperatorLineage()
    facts: dict[str, Any] = {"runId": run_id, "workflowId": workflow_id, "producer": PRODUCER}
    if run is not None:
        facts |= _facts(run)
    return OperatorLineage(run_facets={NAME: WhiteRabbitRunFacet(**sanitize(facts)[0])})


def _facts(run: Run) -> dict[str, Any]:
    failed_first = sorted(run.stages, key=lambda stage: stage.status != StageStatus.FAILED)
    return {
        "status": printable(run.status),
        "totalUsage": run.total_usage,
        "stageCounts": dict(Counter(printable(stage.status) for stage in run.stages)),
        "stages": [_stage(stage) for stage in failed_first[:MAX_STAGES]],
    }


def _stage(stage: RunStage) -> dict[str, Any]:
    return {
        "id": printable(stage.id),
        "module": printable(stage.module),
        "status": printable(stage.status),
        "creditUsage": stage.credit_usage,
        "executionAttempt": stage.execution_attempt,
    }
