"""``max_credits``: the credits that a task lets what it waits for use, before the wait ends in an error."""

from __future__ import annotations

from airflow_provider_wr.api.models import Run, credits_text
from airflow_provider_wr.api.watched import State
from airflow_provider_wr.exceptions import WRCreditLimitError


def exceeds(now: State, max_credits: float | None) -> bool:
    """
    Return whether more credits were used than allowed.

    :param max_credits: None for any number.
    """
    return max_credits is not None and now.total_usage is not None and now.total_usage > max_credits


def running_error(watched: object, now: State, max_credits: float | None, goes_on: str) -> WRCreditLimitError:
    """
    Return the error of a wait for what is still active.

    :param watched: what is waited for, in words.
    :param goes_on: the end of the sentence, which says that it goes on.
    """
    return _error(f"{watched} has used {_amounts(now, max_credits)}, and {goes_on}", now, max_credits)


def ended_error(run: Run, max_credits: float | None, link: str | None) -> WRCreditLimitError:
    """
    Return the error of a task whose run has ended, in whatever status.

    :param link: URL of the run's page; None where there is none.
    """
    lines = [f"{_amounts(run, max_credits)}: {run.ending}", link]
    return _error("\n".join(filter(None, lines)), run, max_credits)


def _amounts(now: State, max_credits: float | None) -> str:
    return f"{credits_text(now.total_usage or 0)}, more than max_credits={max_credits:.12g}"


def _error(text: str, now: State, max_credits: float | None) -> WRCreditLimitError:
    return WRCreditLimitError(text, credits=now.total_usage, max_credits=max_credits)
