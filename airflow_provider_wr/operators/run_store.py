"""
What a task remembers, from try to try, of the run it started: so that no run is started twice.

White Rabbit has no idempotency key and no call to cancel, so a second trigger may be a second payment. Airflow
3.3 keeps a store for each task that outlives a dead worker. The attempt is recorded before the trigger is sent,
and the run's id after it. A later try finds one of these:

============================== =========================== ================================
recorded                       Airflow's own retry         cleared by a user
============================== =========================== ================================
run, still active              resumes it                  resumes it
run, COMPLETED, task succeeded returns its result          starts a new one
run, COMPLETED, task did not   returns its result          returns its result
run, FAILED or CANCELED        asks the ``RetryPolicy``    starts a new one
run, not found                 unknown: stops, or risks it unknown: stops; then starts one
attempt, no run                unknown: stops, or risks it unknown: stops; then starts one
============================== =========================== ================================

A run is resumed only with the updates that it was started with: ``on_changed_updates`` is for others.

A user consents to a second run only after a task said that the outcome of the first is unknown: a clear in the
middle of the trigger is no consent. A clear raises the task's ``max_tries``, Airflow's own retry keeps it: that
tells the two apart. (A clear of a task that runs keeps it too, and counts as a retry here.)
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_exponential

from airflow_provider_wr.api.calls import Call
from airflow_provider_wr.api.models import Run, RunStatus, TriggeredRun
from airflow_provider_wr.api.sanitize import sanitize
from airflow_provider_wr.api.text import printable
from airflow_provider_wr.exceptions import WRError, WRNotFoundError, WRTriggerUnknownError, WRValidationError
from airflow_provider_wr.operators.retry_policy import RetryPolicy
from airflow_provider_wr.waiting.rules import NOT_YET_VISIBLE

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_wr.hooks.wr import WRHook

log = logging.getLogger(__name__)

#: Where the store keeps it. Another name would make tasks that are under way forget their runs.
KEY = "wr_run"

#: Seconds for which a store that cannot be reached is tried: an API server may restart.
STORE_TIMEOUT = 300.0

#: Seconds between two reads of a run that may not be visible yet.
VISIBILITY_POLL = 2.0


class ExistingRun(NamedTuple):
    """A run that an earlier try started, and how it is now."""

    triggered: TriggeredRun
    run: Run


@dataclass(frozen=True, slots=True)
class RunRequest:
    """
    What this try would start.

    :param updates: a digest of the exact updates; it tells others from these and holds nothing secret.
    """

    workflow_id: str
    updates: str

    @classmethod
    def of(cls, workflow_id: str, updates: Sequence[Call[None]]) -> RunRequest:
        digest = hashlib.sha256()
        for update in updates:
            digest.update(f"{update.path}\n{len(update.body or b'')}\n".encode() + (update.body or b""))
        return cls(workflow_id, digest.hexdigest())


class RunStore:
    """
    The memory of one task.

    :param context: of the try that runs now.
    :param durable: False remembers nothing, as is the case for all tasks below Airflow 3.3.
    """

    def __init__(self, context: Context, *, durable: bool) -> None:
        self._store: Any = context.get("task_state_store") if durable else None
        self._max_tries = context["ti"].max_tries
        self._facts: dict[str, Any] | None = None

    def find(
        self,
        hook: WRHook,
        request: RunRequest,
        policy: RetryPolicy,
        *,
        on_unknown_trigger: str,
        on_changed_updates: str,
    ) -> ExistingRun | None:
        """
        Return the run that this try should resume; None when it should start one.

        Raises :class:`WRTriggerUnknownError` when an earlier try may have started a run that nobody knows of, the
        error of a run that must not be repeated, and the API's error when it cannot be asked for the run.
        """
        found = self._load()
        if found is None:
            return None
        cleared = found["max_tries"] != self._max_tries
        if found["run_id"] is None:
            what = f"an earlier try was about to trigger workflow {found['workflow_id']} at {found['at']}"
            self._stop(found, f"{what}, and died before it recorded the answer", cleared, on_unknown_trigger)
            return None
        triggered = TriggeredRun(found["run_id"], found["job_id"])
        run = _read(hook, found)
        if run is None:
            if not (cleared and found["delivered"]):
                what = f"White Rabbit does not know run {triggered.run_id}, which an earlier try started at"
                self._stop(found, f"{what} {found['at']}", cleared, on_unknown_trigger)
            return None
        if run.is_terminal and ((cleared and found["delivered"]) or run.status != RunStatus.COMPLETED):
            if not cleared and (error := policy.error(run)) is not None and not error.retryable:
                raise error
            log.info("Run %s of an earlier try ended %s: starting a new one", run.id, run.status)
            return None
        if not self._may_resume(found, request, run, on_changed_updates):
            return None
        log.info("Run %s, started at %s by an earlier try, is %s: resuming it", run.id, found["at"], run.status)
        self._save({**found, "max_tries": self._max_tries, "delivered": False})
        return ExistingRun(triggered, run)

    @property
    def run_id(self) -> str | None:
        """The run that was recorded last; None where there is none."""
        return (self._load() or {}).get("run_id")

    def record_attempt(self, request: RunRequest) -> None:
        """Record that a trigger is about to be sent."""
        self._save(
            {
                "workflow_id": request.workflow_id,
                "updates": request.updates,
                "run_id": None,
                "job_id": None,
                "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                "max_tries": self._max_tries,
                "delivered": False,
                "doubt_reported": False,
            }
        )

    def record_run(self, triggered: TriggeredRun) -> None:
        """Record which run the attempt started."""
        self._change(run_id=triggered.run_id, job_id=triggered.job_id)

    def record_success(self) -> None:
        """Record that the task succeeds with its run: a clear from now on asks for another."""
        self._change(delivered=True)

    def record_doubt(self) -> None:
        """Record that the task failed for its doubt: a clear from now on accepts that another run may start."""
        self._change(doubt_reported=True)

    def discard_attempt(self) -> None:
        """Forget the attempt: it is certain that no run was started."""
        if self._store is not None:
            self._facts = None
            try:
                retry_store(lambda: self._store.delete(KEY))
            except Exception:
                log.exception("Airflow could not forget an attempt: a retry of this task will stop")

    def _stop(self, found: dict[str, Any], doubt: str, cleared: bool, on_unknown_trigger: str) -> None:
        """Raise :class:`WRTriggerUnknownError`, unless the author, or a user who knows, risks another run."""
        if on_unknown_trigger == "retrigger":
            log.warning("Starting a run that may be the second, as on_unknown_trigger='retrigger' asks: %s", doubt)
        elif cleared and found["doubt_reported"]:
            log.warning(
                "An earlier trigger, at %s, may have started a run. Starting another, since the task was cleared",
                found["at"],
            )
        else:
            self._save({**found, "max_tries": self._max_tries, "doubt_reported": True})
            reason = WRError("the earlier try left no answer")
            raise WRTriggerUnknownError(doubt, reason=reason)

    def _may_resume(self, found: dict[str, Any], request: RunRequest, run: Run, on_changed_updates: str) -> bool:
        """Return whether to resume a run; False to start another, which has the updates that are request now."""
        changed = [
            what
            for what, before, now in (
                ("workflow_id", found["workflow_id"], request.workflow_id),
                ("component_updates", found["updates"], request.updates),
            )
            if before != now
        ]
        if not changed or on_changed_updates == "resume":
            return True
        since = (
            f"run {run.id}, started at {found['at']}, is {run.status}, and {' and '.join(changed)} changed since"
        )
        if on_changed_updates == "restart":
            log.warning("Starting another run, as on_changed_updates='restart' asks: %s", since)
            return False
        raise WRValidationError(
            f"{since}: on_changed_updates='resume' resumes that run with its own values, 'restart' starts another"
        )

    def _load(self) -> dict[str, Any] | None:
        if self._facts is None and self._store is not None:
            self._facts = retry_store(lambda: self._store.get(KEY)) or None
        return self._facts

    def _change(self, **facts: Any) -> None:
        """Change what is recorded. A store that stays away must not hide what this try knows: it fails nothing."""
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
            retry_store(lambda: self._store.set(KEY, kept))


def _read(hook: WRHook, found: dict[str, Any]) -> Run | None:
    """Read the run; None where White Rabbit does not know it, although it has had the time to become visible."""
    started = datetime.fromisoformat(found["at"])
    while True:
        try:
            return hook.get_run(found["run_id"])
        except WRNotFoundError:
            if (datetime.now(timezone.utc) - started).total_seconds() > NOT_YET_VISIBLE:
                return None
            time.sleep(VISIBILITY_POLL)


def retry_store(use: Callable[[], Any]) -> Any:
    """Use Airflow's stores, and retry while they are away."""
    retrying = Retrying(
        retry=retry_if_exception(_may_be_away),
        stop=stop_after_delay(STORE_TIMEOUT),
        wait=wait_exponential(multiplier=1, max=30),
        before_sleep=_log_retry,
        reraise=True,
    )
    return retrying(use)


def _may_be_away(error: BaseException) -> bool:
    """Return whether time may help: not where the API server refused (4xx), nor for a fault of ours."""
    detail = getattr(getattr(error, "error", None), "detail", None) or {}
    refused = 400 <= (detail.get("status_code") or 0) < 500
    return isinstance(error, Exception) and not refused and not isinstance(error, (TypeError, ValueError))


def _log_retry(state: RetryCallState) -> None:
    if state.outcome and state.next_action:
        error = state.outcome.exception()
        log.warning("Airflow's store is away: %s; retrying in %.1f s", error, state.next_action.sleep)
