"""The models that hooks return; :mod:`airflow_provider_wr.api.models` defines them."""

from __future__ import annotations

from airflow_provider_wr.api.models import Run, RunEvent, RunStage, RunStatus, StageStatus, TriggeredRun

__all__ = ["Run", "RunEvent", "RunStage", "RunStatus", "StageStatus", "TriggeredRun"]
