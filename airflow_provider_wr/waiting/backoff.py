"""How long to pause before the next attempt, and when to retry a plain call."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Any

from tenacity import RetryCallState, retry_if_exception, stop_after_attempt

from airflow_provider_wr.api.answers import CALL_ATTEMPTS, may_repeat
from airflow_provider_wr.exceptions import WRError

log = logging.getLogger(__name__)

#: Upper bound of a pause, in seconds; ``Retry-After`` may exceed it.
MAX_PAUSE = 60.0

#: Upper bound of an honoured ``Retry-After``, in seconds.
MAX_RETRY_AFTER = 86400.0


def pause(failures: int, because: object, *, jitter: Callable[[], float] = random.random) -> float:
    """
    Return the seconds to wait: exponential backoff from 1 s up to :data:`MAX_PAUSE`, with full jitter.

        :param failures: earlier failures in a row, without the current one.
        :param because: the current failure; its ``Retry-After``, if any, is added to the backoff.
    """
    seconds = min(MAX_PAUSE, 2.0 ** min(failures, 10)) * jitter()
    asked = because.retry_after if isinstance(because, WRError) else None
    return min(asked or 0.0, MAX_RETRY_AFTER) + seconds


def _pause_after(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return pause(state.attempt_number - 1, error)


def _log_retry(state: RetryCallState) -> None:
    if state.outcome and state.next_action and isinstance(error := state.outcome.exception(), WRError):
        # What changes comes first; only the last error says what to do.
        log.warning(
            "%s; retrying in %.1f s (%s %s)", error.cause, state.next_action.sleep, error.method, error.path
        )


#: Arguments for tenacity: how both hooks retry a plain call.
RETRYING: dict[str, Any] = {
    "retry": retry_if_exception(may_repeat),
    "stop": stop_after_attempt(CALL_ATTEMPTS),
    "wait": _pause_after,
    "before_sleep": _log_retry,
    "reraise": True,
}
