"""How long to pause before the next attempt, and when to repeat a plain call."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Any

from tenacity import RetryCallState, retry_if_exception, stop_after_attempt

from airflow_provider_wr.api.answers import CALL_ATTEMPTS, may_repeat
from airflow_provider_wr.exceptions import WRError

log = logging.getLogger(__name__)

#: Seconds that a pause grows to.
MAX_PAUSE = 60.0

#: The longest Retry-After, in seconds, that is waited out as it is.
MAX_RETRY_AFTER = 86400.0


def pause(failures: int, because: object, *, jitter: Callable[[], float] = random.random) -> float:
    """
    Return the seconds to wait after failures in a row: 1, doubled each time, at most 60, with full jitter.

    :param failures: how many there were before this one.
    :param because: the last of them; the ``Retry-After`` of an answer is waited out before the jitter.
    """
    seconds = min(MAX_PAUSE, 2.0 ** min(failures, 10)) * jitter()
    asked = because.retry_after if isinstance(because, WRError) else None
    return min(asked or 0.0, MAX_RETRY_AFTER) + seconds


def _pause_after(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return pause(state.attempt_number - 1, error)


def _log_retry(state: RetryCallState) -> None:
    if state.outcome and state.next_action:
        log.warning("%s; retrying in %.1f s", state.outcome.exception(), state.next_action.sleep)


#: How both hooks repeat a plain call, for tenacity.
RETRYING: dict[str, Any] = {
    "retry": retry_if_exception(may_repeat),
    "stop": stop_after_attempt(CALL_ATTEMPTS),
    "wait": _pause_after,
    "before_sleep": _log_retry,
    "reraise": True,
}
