"""The models that hooks return, from :mod:`airflow_provider_wr.api`."""

from __future__ import annotations

from airflow_provider_wr.api.catalogue import Component
from airflow_provider_wr.api.executions import (
    ComponentExecution,
    ExecutionCallback,
    ExecutionEvent,
    ExecutionStatus,
)
from airflow_provider_wr.api.models import Run, RunEvent, RunStage, RunStatus, StageStatus, TriggeredRun

__all__ = [
    "Component",
    "ComponentExecution",
    "ExecutionCallback",
    "ExecutionEvent",
    "ExecutionStatus",
    "Run",
    "RunEvent",
    "RunStage",
    "RunStatus",
    "StageStatus",
    "TriggeredRun",
]
