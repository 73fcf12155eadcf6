"""
What a task remembers, from try to try, of the run it started: so that no run is started twice.

White Rabbit has no idempotency key and no call to cancel, so a second trigger may be a second payment. Airflow
3.3 keeps a store for each task that outlives a dead worker. Before the trigger is sent, the intent is noted;
after it, the run's id. A later try reads what is there:

========================== ======================== ===========================
noted                      Airflow's own retry      cleared by a user
========================== ======================== ===========================
run, still active          go on with it            go on with it
run, COMPLETED, delivered  its result               start a new one
run, COMPLETED, not so     its result               its result
run, otherwise ended       start a new one          start a new one
run, not found             start a new one          start a new one
intent, no run             unknown: stop, or risk   start a new one: a user looked
========================== ======================== ===========================

A run is delivered once the task has succeeded with it. A user who clears a task before that – while it waits, or
after its time ran out – has not seen a result, and does not ask to pay for another.

A clear raises the task's ``max_tries``, Airflow's own retry keeps it: that tells the two apart.
"""

from __future__ import annotations

import logging
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_wr.api.models import Run, RunStatus, TriggeredRun
from airflow_provider_wr.api.sanitize import sanitize
from airflow_provider_wr.exceptions import WRError, WRNotFoundError, WRTriggerUnknownError
from airflow_provider_wr.waiting.rules import NOT_YET_VISIBLE

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_wr.hooks.wr import WRHook

log = logging.getLogger(__name__)

#: Where the store keeps it. Another name would make tasks that are under way forget their runs.
KEY = "wr_run"


class Found(NamedTuple):
    """A run that an earlier try started, and how it is now."""

    triggered: TriggeredRun
    run: Run


class RunMemory:
    """
    The memory of one task.

    :param context: of the try that runs now.
    :param durable: False remembers nothing, as is the case for all tasks below Airflow 3.3.
    """

    def __init__(self, context: Context, *, durable: bool) -> None:
        self._store: Any = context.get("task_state_store") if durable else None
        self._max_tries = context["ti"].max_tries

    def find(self, hook: WRHook, workflow_id: str, *, retrigger: bool) -> Found | None:
        """
        Return the run that this try should go on with; None when it should start one.

        :param retrigger: whether to start one even where an earlier try may have done so.

        Raises :class:`WRTriggerUnknownError` when an earlier try may have started a run, and the error of the
        API when it cannot be asked for the run that was started.
        """
        noted = self._store.get(KEY) if self._store is not None else None
        if not noted or noted["workflow_id"] != workflow_id:
            return None
        cleared = noted["max_tries"] != self._max_tries
        if noted["run_id"] is None:
            if not cleared:
                _doubt(noted, retrigger=retrigger)
            return None
        triggered = TriggeredRun(noted["run_id"], noted["job_id"])
        try:
            run = hook.get_run(triggered.run_id)
        except WRNotFoundError:
            if _seconds_since(noted["at"]) < NOT_YET_VISIBLE:
                raise  # it may have been started so lately that it is not visible yet: no reason for another
            log.warning("Run %s of an earlier try is unknown to the API: starting a new one", triggered.run_id)
            return None
        if not _can_resume(run, again=cleared and noted["delivered"]):
            log.info("Run %s of an earlier try ended %s: starting a new one", run.id, run.status)
            return None
        log.info(
            "Run %s, started at %s by an earlier try, is %s: going on with it, no new run is started",
            run.id,
            noted["at"],
            run.status,
        )
        self.note_run(workflow_id, triggered, at=noted["at"])
        return Found(triggered, run)

    def note_intent(self, workflow_id: str) -> None:
        """Note that a trigger is about to be sent."""
        self._note(workflow_id, None, None, _now())

    def note_run(self, workflow_id: str, triggered: TriggeredRun, *, at: str | None = None) -> None:
        """
        Note which run was started.

        :param at: when, in ISO 8601; None for now.
        """
        self._note(workflow_id, triggered.run_id, triggered.job_id, at or _now())

    def note_delivered(self) -> None:
        """Note that the task succeeds with its run: whoever clears it from now on asks for another."""
        if self._store is not None and (noted := self._store.get(KEY)):
            self._store.set(KEY, {**noted, "delivered": True})

    def forget(self) -> None:
        """Take the intent back: it is certain that no run was started."""
        if self._store is not None:
            self._store.delete(KEY)

    def _note(self, workflow_id: str, run_id: str | None, job_id: str | None, at: str) -> None:
        if self._store is not None:
            noted, _ = sanitize({"workflow_id": workflow_id, "run_id": run_id, "job_id": job_id, "at": at})
            self._store.set(KEY, {**noted, "max_tries": self._max_tries, "delivered": False})


def _can_resume(run: Run, *, again: bool) -> bool:
    return not run.is_terminal or (run.status == RunStatus.COMPLETED and not again)


def _doubt(noted: dict[str, Any], *, retrigger: bool) -> None:
    doubt = (
        f"an earlier try was about to trigger workflow {noted['workflow_id']} at {noted['at']}, and died before "
        "it noted the answer: whether a run started is not known"
    )
    if not retrigger:
        raise WRTriggerUnknownError(doubt, reason=WRError("the earlier try left no answer"))
    log.warning("Starting a run which may be the second, as on_unknown_trigger='retrigger' asks for: %s", doubt)


def _seconds_since(at: str) -> float:
    return (datetime.now(timezone.utc) - datetime.fromisoformat(at)).total_seconds()


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
