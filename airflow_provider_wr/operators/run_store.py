"""
Remember the run that a task started, across tries, so that no run is started twice. The same holds for an
execution of a component, which is a run here as well: what differs is in the :class:`Request`.

White Rabbit has no idempotency key and no call to cancel, so a second trigger may be a second payment. Airflow
3.3 has a state store for each task, which survives the worker. We record the attempt before the trigger is sent,
and the run's id after it. A later try finds one of these:

============================== =========================== ================================
recorded                       Airflow's own retry         cleared by a user
============================== =========================== ================================
run, still active              resumes it                  resumes it
run, COMPLETED, task succeeded returns its result          starts a new one
run, COMPLETED, task did not   returns its result          returns its result
run, FAILED or CANCELED        asks the ``RetryPolicy``    starts a new one
run, not found                 unknown: fails or risks it  unknown: fails; then starts one
attempt, no run                unknown: fails or risks it  unknown: fails; then starts one
============================== =========================== ================================

A run is resumed only if the updates are still the same; otherwise ``on_changed_updates`` decides. For an
execution, that is the input, the config and ``on_changed_input``.

A clear counts as consent to a second run only after the task failed with the outcome of the first unknown: a
clear in the middle of the trigger is no consent. A clear increases the task's ``max_tries`` and a retry does not,
which tells the two apart. (Clearing a running task does not increase it either, and counts as a retry here.)
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_exponential

from airflow_provider_wr import observability
from airflow_provider_wr.api.models import RunStatus
from airflow_provider_wr.api.sanitize import sanitize
from airflow_provider_wr.api.text import printable
from airflow_provider_wr.exceptions import WRError, WRNotFoundError, WRTriggerUnknownError, WRValidationError
from airflow_provider_wr.operators.request import Request, RunRequest
from airflow_provider_wr.operators.retry_policy import RetryPolicy
from airflow_provider_wr.waiting.rules import NOT_YET_VISIBLE

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_wr.hooks.wr import WRHook

log = logging.getLogger(__name__)

#: Seconds to retry while Airflow's store is unavailable, such as during a restart of the API server.
STORE_TIMEOUT = 300.0

#: Seconds between two reads of a run that may not be visible yet.
VISIBILITY_POLL = 2.0


class Existing(NamedTuple):
    """
    A run or an execution that an earlier try started.

    :param facts: what was recorded of it.
    :param state: its current state.
    """

    facts: dict[str, Any]
    state: Any


class RunStore:
    """
    What one task remembers across tries.

    :param context: of the current try.
    :param durable: False stores nothing. Before Airflow 3.3, nothing is stored either.
    :param kind: what the task starts.
    """

    def __init__(self, context: Context, *, durable: bool, kind: type[Request[Any]] = RunRequest) -> None:
        self._kind = kind
        self._store: Any = context.get("task_state_store") if durable else None
        self._max_tries = context["ti"].max_tries
        self._facts: dict[str, Any] | None = None

    def find(
        self,
        hook: WRHook,
        request: Request[Any],
        policy: RetryPolicy,
        *,
        on_unknown_trigger: str,
        on_changed: str,
    ) -> Existing | None:
        """
        Return the run to resume; None to start a new one.

        Raises :class:`WRTriggerUnknownError` if an earlier try may have started a run whose id is unknown, the
        error of a run that must not be repeated, or the API's error if the run cannot be read.
        """
        found = self._load()
        if found is None:
            return None
        cleared = found["max_tries"] != self._max_tries
        noun, identifier = self._kind.noun, found[self._kind.id_name]
        if identifier is None:
            what = f"an earlier try was about to trigger {self._kind.subject(found)} at {found['at']}"
            self._check_doubt(
                found, f"{what}, and died before it recorded the answer", cleared, on_unknown_trigger
            )
            return None
        state = self._read(hook, identifier, found["at"])
        if state is None:
            if not (cleared and found["delivered"]):
                what = f"White Rabbit does not know {noun} {identifier}, which an earlier try started at"
                self._check_doubt(found, f"{what} {found['at']}", cleared, on_unknown_trigger)
            return None
        what, status = f"{noun.capitalize()} {identifier}", state.status
        if state.is_terminal and ((cleared and found["delivered"]) or status != RunStatus.COMPLETED):
            if not cleared and (error := policy.error(state)) is not None and not error.retryable:
                raise error
            log.info("%s of an earlier try ended %s: starting a new one", what, status)
            return None
        if not self._may_resume(found, request, state, on_changed):
            return None
        log.info("%s, started at %s by an earlier try, is %s: resuming it", what, found["at"], status)
        self._save({**found, "max_tries": self._max_tries, "delivered": False})
        return Existing(found, state)

    @property
    def started_id(self) -> str | None:
        """The id of the recorded run; None without one."""
        return (self._load() or {}).get(self._kind.id_name)

    def record_attempt(self, request: Request[Any]) -> None:
        """Record that a trigger is about to be sent."""
        self._save(
            {
                **request.facts(),
                self._kind.id_name: None,
                "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                "max_tries": self._max_tries,
                "delivered": False,
                "doubt_reported": False,
            }
        )

    def record_start(self, **ids: str | None) -> None:
        """Record what the attempt started, by the names of its ids."""
        self._change(**ids)

    def record_success(self) -> None:
        """Record that the task succeeds with this run: a later clear starts a new one."""
        self._change(delivered=True)

    def record_doubt(self) -> None:
        """Record that the task failed with an unknown outcome: a later clear accepts a second run."""
        self._change(doubt_reported=True)

    def discard_attempt(self) -> None:
        """Forget the attempt: it certainly started no run."""
        if self._store is not None:
            self._facts = None
            try:
                retry_store(lambda: self._store.delete(self._kind.key))
            except Exception:
                log.exception("Airflow could not delete the record of an attempt: a retry of this task will fail")

    def _check_doubt(self, found: dict[str, Any], doubt: str, cleared: bool, on_unknown_trigger: str) -> None:
        """Raise :class:`WRTriggerUnknownError`, unless the author or a clear accepts a second run."""
        one = f"an {self._kind.noun}" if self._kind.noun == "execution" else f"a {self._kind.noun}"
        if on_unknown_trigger == "retrigger":
            log.warning(
                "Starting %s that may be the second, as on_unknown_trigger='retrigger' asks: %s", one, doubt
            )
        elif cleared and found["doubt_reported"]:
            log.warning(
                "An earlier trigger, at %s, may have started %s. Starting another, since the task was cleared",
                found["at"],
                one,
            )
        else:
            self._save({**found, "max_tries": self._max_tries, "doubt_reported": True})
            observability.outcome_unknown(self._kind.noun, self._kind.source(found))
            reason = WRError("the earlier try left no answer")
            raise WRTriggerUnknownError(doubt, reason=reason, starts=self._kind.noun)

    def _may_resume(self, found: dict[str, Any], request: Request[Any], state: Any, on_changed: str) -> bool:
        """Return whether to resume a run; False to start a new one with the changed values."""
        changed = request.changed_since(found)
        if not changed or on_changed == "resume":
            return True
        noun, option = request.noun, request.on_changed
        since = f"{noun} {state.id}, started at {found['at']}, is {state.status}, and {changed} changed since"
        if on_changed == "restart":
            log.warning("Starting another %s, as %s='restart' asks: %s", noun, option, since)
            return False
        raise WRValidationError(
            f"{since}: {option}='resume' resumes that {noun} with its own values, 'restart' starts another"
        )

    def _read(self, hook: WRHook, identifier: str, at: str) -> Any:
        """Return the current state; None if White Rabbit does not know it although it should be visible by now."""
        while True:
            try:
                return self._kind.read(hook, identifier)
            except WRNotFoundError:
                age = datetime.now(timezone.utc) - datetime.fromisoformat(at)
                if age.total_seconds() > NOT_YET_VISIBLE:
                    return None
                time.sleep(VISIBILITY_POLL)

    def _load(self) -> dict[str, Any] | None:
        if self._facts is None and self._store is not None:
            self._facts = retry_store(lambda: self._store.get(self._kind.key)) or None
        return self._facts

    def _change(self, **facts: Any) -> None:
        """Update the record. A failure is only logged: it must not hide the result of this try."""
        try:
            if (found := self._load()) is not None:
                self._save({**found, **facts})
        except Exception:
            what = printable(", ".join(f"{name}={value!r}" for name, value in facts.items()))
            log.exception("Airflow could not store %s: a later try of this task cannot know it", what)

    def _save(self, facts: dict[str, Any]) -> None:
        if self._store is not None:
            self._facts = facts
            kept, _ = sanitize(facts)
            retry_store(lambda: self._store.set(self._kind.key, kept))


def retry_store(use: Callable[[], Any]) -> Any:
    """Call Airflow's API server, with retries while it is unavailable."""
    retrying = Retrying(
        retry=retry_if_exception(_is_transient),
        stop=stop_after_delay(STORE_TIMEOUT),
        wait=wait_exponential(multiplier=1, max=30),
        before_sleep=_log_retry,
        reraise=True,
    )
    return retrying(use)


def _is_transient(error: BaseException) -> bool:
    """Return whether a retry may help: not for a 4xx of the API server, nor for our own bugs."""
    detail = getattr(getattr(error, "error", None), "detail", None) or {}
    refused = 400 <= (detail.get("status_code") or 0) < 500
    return isinstance(error, Exception) and not refused and not isinstance(error, (TypeError, ValueError))


def _log_retry(state: RetryCallState) -> None:
    if state.outcome and state.next_action:
        error = state.outcome.exception()
        log.warning("Airflow's store is unavailable: %s; retrying in %.1f s", error, state.next_action.sleep)
