"""A cluster policy, which Airflow calls for each task it parses, through the entry point ``airflow.policy``."""

from __future__ import annotations

import logging
import sys
from typing import Any

from airflow.policies import hookimpl

log = logging.getLogger(__name__)


# Last, since another policy may set the task's pool.
@hookimpl(trylast=True)
def task_policy(task: Any) -> None:
    """Warn if the updates of a task may overlap with those of another run. Does not change the task."""
    # Every Airflow process loads this file, but only DAGs with our operators have loaded the checks.
    if checks := sys.modules.get("airflow_provider_wr.operators.shared_config"):
        try:
            checks.warn_of_overlap(task)
        except Warning:  # where warnings are errors
            raise
        except Exception:
            log.exception("The check for overlapping updates failed: the DAG is parsed without it")
