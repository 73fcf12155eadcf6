"""``max_credits``: how many credits a run may use before the wait for it fails."""

from __future__ import annotations

from airflow_provider_wr.api.executions import ComponentExecution
from airflow_provider_wr.api.models import Run, credits_text
from airflow_provider_wr.api.watched import State
from airflow_provider_wr.exceptions import WRCreditLimitError


def exceeds(now: State, max_credits: float | None) -> bool:
    """
    Return whether a state reports more credits than allowed.

    :param max_credits: None for no limit.
    """
    return max_credits is not None and now.total_usage is not None and now.total_usage > max_credits


def running_error(watched: object, now: State, max_credits: float | None, note: str) -> WRCreditLimitError:
    """
    Return the error for a run that is still active.

    :param watched: the run, for the message.
    :param note: the end of the message: that the run keeps running.
    """
    return _error(f"{watched} has used {_amounts(now, max_credits)}, and {note}", now, max_credits)


def ended_error(run: Run | ComponentExecution, max_credits: float | None, link: str | None) -> WRCreditLimitError:
    """
    Return the error for a run or an execution that has ended, whatever its status.

    :param link: URL of the run's page; None if it has none.
    """
    lines = [f"{_amounts(run, max_credits)}: {run.ending}", link]
    return _error("\n".join(filter(None, lines)), run, max_credits)


def _amounts(now: State, max_credits: float | None) -> str:
    return f"{credits_text(now.total_usage or 0)}, more than max_credits={max_credits:.12g}"


def _error(text: str, now: State, max_credits: float | None) -> WRCreditLimitError:
    return WRCreditLimitError(text, credits=now.total_usage, max_credits=max_credits)
