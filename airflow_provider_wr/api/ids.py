"""Validate ids before they go into a path."""

from __future__ import annotations

import re

from airflow_provider_wr.api.text import printable
from airflow_provider_wr.exceptions import WRValidationError

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

# The documentation says that the ids of runs and executions are UUIDs, but the server decides. Airflow's own run
# ids, such as "manual__2026-01-01T00:00:00+00:00", are rejected as a likely mix-up.
_RUN_ID = re.compile(r"(?=.*[0-9])(?!.*__)[0-9A-Za-z][0-9A-Za-z_.:~-]{0,127}")


def check_uuid(value: object, name: str) -> str:
    """Return ``value`` if it is a UUID; raises :class:`WRValidationError` with ``name`` if not."""
    return _check(_UUID, value, name)


def check_run_id(value: object, name: str = "run_id") -> str:
    """
    Return ``value`` if it can be the id of a run or an execution, UUID or not.

    Raises :class:`WRValidationError`, which names it, if not.
    """
    return _check(_RUN_ID, value, name)


def choose_workflow(*candidates: str | None) -> str:
    """Return the first workflow id that is not None; raises :class:`WRValidationError` if there is none."""
    for workflow_id in candidates:
        if workflow_id is not None:
            return check_uuid(workflow_id, "workflow_id")
    raise WRValidationError(
        "no workflow id: give workflow_id to the call or the operator, or put it into the connection's extra"
    )


def _check(pattern: re.Pattern[str], value: object, name: str) -> str:
    if isinstance(value, str) and pattern.fullmatch(value):
        return value
    shown = printable(value) if isinstance(value, str) else type(value).__name__
    raise WRValidationError(
        f"{name} should be a UUID, such as 123e4567-e89b-12d3-a456-426614174000, not {shown!r}"
    )
