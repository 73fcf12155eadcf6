"""
What OpenLineage learns about a run: one facet on the Airflow task that started it, waited for it or read it.

It holds no output and no error of a stage, which may be secret. Imported only where OpenLineage's provider is
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

#: The facet's name among those of an event.
NAME = "whiteRabbit_run"

#: Who says so: a package URL, which needs no host.
PRODUCER = f"pkg:pypi/airflow-provider-wr@{__version__}"

#: Stages that the facet lists. A fan-out has hundreds, and some servers refuse large events.
MAX_STAGES = 100


@define
class WhiteRabbitRunFacet(RunFacet):  # type: ignore[misc]  # not installed where types are checked
    """
    A run as the task knew it when it ended; None, which is left out of the event, where it did not know.

    :param runId: UUID of the run.
    :param workflowId: UUID of its workflow.
    :param status: the run's.
    :param totalUsage: credits.
    :param stageCounts: how many stages have each status.
    :param stages: id, module, status, credits and attempt of each stage, the failed ones first; not all of them
        where there are more than ``MAX_STAGES``.
    """

    runId: str
    workflowId: str | None = None
    status: str | None = None
    totalUsage: float | None = None
    stageCounts: dict[str, int] | None = None
    stages: list[dict[str, Any]] | None = None


def lineage(run_id: str | None, workflow_id: str | None, run: Run | None) -> OperatorLineage:
    """
    Return what the listener is told.

    :param run_id: UUID of the task's run; None when it has none.
    :param workflow_id: UUID of the run's workflow; None when the task does not know it.
    :param run: the run as it was last read; None when it was not.
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
