"""Report an operator's run to OpenLineage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_wr.api.models import Run


class OpenLineageMixin:
    """
    Adds OpenLineage to an operator, which sets these attributes as soon as they are known.

    Without OpenLineage's provider, nothing is imported.
    """

    _run_id: str | None = None
    _workflow_id: str | None = None
    _run: Run | None = None

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage:
        """
        Return the facet of the run.

        OpenLineage's listener calls this after the task has succeeded or failed, but not when it defers, in the
        task's process or a fork of it. An exception here does not fail the task.
        """
        from airflow_provider_wr.openlineage_facet import lineage

        return lineage(self._run_id, self._workflow_id, self._run)
