"""What an operator knows of its run, for OpenLineage's listener to ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_wr.api.models import Run


class OpenLineageMixin:
    """
    An operator that tells OpenLineage what it knows of its run: it sets each of these as soon as it knows it.

    Where OpenLineage's provider is not installed nobody asks, and nothing of it is imported.
    """

    _run_id: str | None = None
    _workflow_id: str | None = None
    _run: Run | None = None

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage:
        """
        Return the facet of the run.

        OpenLineage's listener calls this when the task has ended, well or not, in the task's process or a fork of
        it. A task that defers has not ended; a failure here fails no task.
        """
        from airflow_provider_wr.openlineage_facet import lineage

        return lineage(self._run_id, self._workflow_id, self._run)
