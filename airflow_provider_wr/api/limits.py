"""The limits of an execution of a component, which the API documents."""

from __future__ import annotations

from typing import Any

from airflow_provider_wr.api.text import printable
from airflow_provider_wr.exceptions import WRValidationError

#: How often the server tries an execution at most, and the milliseconds for which it may hold its answer.
MAX_ATTEMPTS = 3
MAX_WAIT_MS = 15000


def check_whole(value: Any, name: str, least: int, most: int) -> int:
    """Return an integer within its limits; raises :class:`WRValidationError`, which names it, for all else."""
    if type(value) is int and least <= value <= most:
        return value
    raise WRValidationError(f"{name} should be an integer from {least} to {most}, not {printable(repr(value))}")
