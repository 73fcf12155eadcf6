"""A cluster policy: through the entry point ``airflow.policy``, Airflow calls it for each task that it parses."""

from __future__ import annotations

import logging
import sys
from typing import Any

from airflow.policies import hookimpl

log = logging.getLogger(__name__)


# Last, since another policy may give the task its pool.
@hookimpl(trylast=True)
def task_policy(task: Any) -> None:
    """Warn where the updates of a task may overlap with those of another run. The task is left as it is."""
    # Every Airflow process loads this file, and most DAGs have no task of ours. Those that have loaded the checks.
    if checks := sys.modules.get("airflow_provider_wr.operators.shared_config"):
        try:
            checks.warn_of_overlap(task)
        except Warning:  # where warnings are errors
            raise
        except Exception:
            log.exception("The check for updates that may overlap failed: the DAG is parsed without it")
