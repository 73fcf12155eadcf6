"""No run is started twice: all rows of the table in ``run_store.py``."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_wr.api.calls import update_component
from airflow_provider_wr.exceptions import (
    WRAuthError,
    WRNotFoundError,
    WRRunFailedError,
    WRTriggerUnknownError,
    WRValidationError,
)
from airflow_provider_wr.models import Run, TriggeredRun
from airflow_provider_wr.operators import run_store
from airflow_provider_wr.operators.retry_policy import RetryPolicy
from airflow_provider_wr.operators.run_store import KEY, ExistingRun, RunRequest, RunStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_wr.hooks.wr import WRHook

WORKFLOW = "7d0b6f1e-4a51-4c1e-9a57-0d5a2f6f0001"
OTHER_WORKFLOW = "7d0b6f1e-4a51-4c1e-9a57-0d5a2f6f0002"
COMPONENT = "c0ffee00-1111-4222-8333-944455556666"
RUN = "9e4c7b1a-1111-4222-8333-944455556666"
TRIGGERED = TriggeredRun(RUN, "bull-1")
AT = "2026-01-01T00:00:00+00:00"

#: A retry keeps the task's max_tries, a clear increases it.
MAX_TRIES, AFTER_A_CLEAR = 2, 4

RETRY = pytest.param(MAX_TRIES, id="retry")
CLEARED = pytest.param(AFTER_A_CLEAR, id="cleared")


class Store(dict[str, Any]):
    """Airflow's state store of a task, in memory. Values go through JSON, as in Airflow's."""

    def set(self, key: str, value: Any) -> None:
        self[key] = json.loads(json.dumps(value))

    def delete(self, key: str) -> None:
        del self[key]


class FakeHook:
    """Answers for one run, and counts its reads."""

    def __init__(self, answer: str | Exception) -> None:
        self._answer = answer
        self.asked: list[str] = []

    def get_run(self, run_id: str) -> Run:
        self.asked.append(run_id)
        if isinstance(self._answer, Exception):
            raise self._answer
        return a_run(self._answer)


def a_run(status: str) -> Run:
    return Run.from_json({"id": RUN, "status": status, "runStages": []})


def wanted(config: dict[str, Any] | None = None, workflow_id: str = WORKFLOW) -> RunRequest:
    updates = [update_component(workflow_id, COMPONENT, config=config)] if config else []
    return RunRequest.of(workflow_id, updates)


def memory(store: Store | None, *, max_tries: int = MAX_TRIES, durable: bool = True) -> RunStore:
    context: Any = {"ti": SimpleNamespace(max_tries=max_tries)}
    if store is not None:
        context["task_state_store"] = store
    return RunStore(context, durable=durable)


def find(
    store: Store | None,
    api: FakeHook,
    *,
    want: RunRequest | None = None,
    max_tries: int = MAX_TRIES,
    durable: bool = True,
    retry_run: str = "if_harmless",
    on_unknown_trigger: str = "fail",
    on_changed_updates: str = "fail",
) -> ExistingRun | None:
    return memory(store, max_tries=max_tries, durable=durable).find(
        cast("WRHook", api),
        want or wanted(),
        RetryPolicy(retry_run),
        on_unknown_trigger=on_unknown_trigger,
        on_changed_updates=on_changed_updates,
    )


def recorded_attempt(*, doubt_reported: bool = False) -> Store:
    store = Store()
    memory(store).record_attempt(wanted())
    store[KEY]["at"] = AT
    if doubt_reported:
        memory(store).record_doubt()
    return store


def recorded_run(*, delivered: bool = False, want: RunRequest | None = None) -> Store:
    store = Store()
    earlier = memory(store)
    earlier.record_attempt(want or wanted())
    earlier.record_run(TRIGGERED)
    if delivered:
        earlier.record_success()
    store[KEY]["at"] = AT
    return store


# --- a run was recorded -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "max_tries", "delivered", "resumes"),
    [
        pytest.param("CREATED", MAX_TRIES, False, True, id="created, retry"),
        pytest.param("CREATED", AFTER_A_CLEAR, False, True, id="created, cleared"),
        pytest.param("EXECUTING", MAX_TRIES, False, True, id="active, retry"),
        pytest.param("EXECUTING", AFTER_A_CLEAR, False, True, id="active, cleared"),
        pytest.param("PAUSED", MAX_TRIES, False, True, id="unknown status, retry"),
        pytest.param("PAUSED", AFTER_A_CLEAR, False, True, id="unknown status, cleared"),
        pytest.param("COMPLETED", MAX_TRIES, False, True, id="completed, retry"),
        pytest.param("COMPLETED", MAX_TRIES, True, True, id="completed and delivered, retry"),
        pytest.param("COMPLETED", AFTER_A_CLEAR, True, False, id="completed and delivered, cleared"),
        # The user has not seen its result: the task was cleared while it waited, or after it timed out.
        pytest.param("COMPLETED", AFTER_A_CLEAR, False, True, id="completed, cleared"),
        pytest.param("FAILED", AFTER_A_CLEAR, False, False, id="failed, cleared"),
        pytest.param("CANCELED", AFTER_A_CLEAR, False, False, id="canceled, cleared"),
    ],
)
@pytest.mark.parametrize("on_unknown_trigger", ["fail", "retrigger"])
def test_a_run_was_recorded(
    status: str, max_tries: int, delivered: bool, resumes: bool, on_unknown_trigger: str
) -> None:
    api = FakeHook(status)
    found = find(
        recorded_run(delivered=delivered), api, max_tries=max_tries, on_unknown_trigger=on_unknown_trigger
    )
    assert found == (ExistingRun(TRIGGERED, a_run(status)) if resumes else None)
    assert api.asked == [RUN]


@pytest.mark.parametrize(("retry_run", "starts"), [("if_harmless", True), ("always", True), ("never", False)])
def test_a_run_was_recorded_that_failed_with_nothing_dispatched(retry_run: str, starts: bool) -> None:
    if starts:
        assert find(recorded_run(), FakeHook("FAILED"), retry_run=retry_run) is None
        return
    with pytest.raises(WRRunFailedError) as stopped:
        find(recorded_run(), FakeHook("FAILED"), retry_run=retry_run)
    assert not stopped.value.retryable


@pytest.mark.parametrize("max_tries", [RETRY, CLEARED])
def test_a_run_was_recorded_and_the_api_cannot_be_asked(max_tries: int) -> None:
    store = recorded_run()
    before = dict(store[KEY])
    with pytest.raises(WRAuthError):
        find(store, FakeHook(WRAuthError("key refused")), max_tries=max_tries)
    assert store[KEY] == before


# --- doubt ------------------------------------------------------------------------------------------------

DOUBTS: dict[str, Callable[[], Store]] = {"an attempt": recorded_attempt, "a run that is unknown": recorded_run}
NOT_FOUND = FakeHook(WRNotFoundError("gone"))


@pytest.mark.parametrize("max_tries", [RETRY, CLEARED])
@pytest.mark.parametrize("recorded", DOUBTS.values(), ids=DOUBTS)
def test_not_knowing_stops(recorded: Callable[[], Store], max_tries: int) -> None:
    """A clear fails, too: it may have come during the trigger, before anyone knew of the doubt."""
    with pytest.raises(WRTriggerUnknownError, match="whether a run started is not known") as stopped:
        find(recorded(), NOT_FOUND, max_tries=max_tries)
    assert isinstance(stopped.value, AirflowFailException)
    assert AT in str(stopped.value)


@pytest.mark.parametrize("recorded", DOUBTS.values(), ids=DOUBTS)
def test_a_clear_after_a_reported_doubt_starts_a_run_and_logs_the_earlier_trigger(
    recorded: Callable[[], Store], caplog: pytest.LogCaptureFixture
) -> None:
    store = recorded()
    with pytest.raises(WRTriggerUnknownError):
        find(store, NOT_FOUND)
    with caplog.at_level(logging.WARNING, "airflow_provider_wr"):
        assert find(store, NOT_FOUND, max_tries=AFTER_A_CLEAR) is None
    assert [record.getMessage() for record in caplog.records] == [
        f"An earlier trigger, at {AT}, may have started a run. Starting another, since the task was cleared"
    ]


def test_a_clear_after_a_doubt_of_the_trigger_itself_starts_a_run() -> None:
    assert find(recorded_attempt(doubt_reported=True), NOT_FOUND, max_tries=AFTER_A_CLEAR) is None


@pytest.mark.parametrize("recorded", DOUBTS.values(), ids=DOUBTS)
@pytest.mark.parametrize("max_tries", [RETRY, CLEARED])
def test_the_author_accepts_a_second_run(
    recorded: Callable[[], Store], max_tries: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "airflow_provider_wr"):
        assert find(recorded(), NOT_FOUND, max_tries=max_tries, on_unknown_trigger="retrigger") is None
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "Starting a run that may be the second, as on_unknown_trigger='retrigger' asks"
    ]


def test_a_delivered_run_that_no_longer_exists_does_not_block_a_clear() -> None:
    assert find(recorded_run(delivered=True), NOT_FOUND, max_tries=AFTER_A_CLEAR) is None


def test_a_run_that_may_not_be_visible_yet_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_store, "VISIBILITY_POLL", 0.01)
    store = Store()
    memory(store).record_attempt(wanted())
    memory(store).record_run(TRIGGERED)
    answers = iter([WRNotFoundError("not yet"), WRNotFoundError("not yet")])

    class LaterVisible(FakeHook):
        def get_run(self, run_id: str) -> Run:
            super().get_run(run_id)
            for error in answers:
                raise error
            return a_run("EXECUTING")

    api = LaterVisible("EXECUTING")
    assert find(store, api) == ExistingRun(TRIGGERED, a_run("EXECUTING"))
    assert len(api.asked) == 3


# --- other updates ----------------------------------------------------------------------------------------

CHANGES = {
    "another value": (wanted({"a": 1}), wanted({"a": 2}), "component_updates"),
    "another type": (wanted({"a": 1}), wanted({"a": "1"}), "component_updates"),
    "no updates any more": (wanted({"a": 1}), wanted(), "component_updates"),
    "another workflow": (wanted(), wanted(workflow_id=OTHER_WORKFLOW), "workflow_id"),
}


@pytest.mark.parametrize("max_tries", [RETRY, CLEARED])
@pytest.mark.parametrize("status", ["EXECUTING", "COMPLETED"])
@pytest.mark.parametrize(("before", "now", "what"), CHANGES.values(), ids=CHANGES)
def test_a_run_with_other_updates_is_not_resumed_without_a_word(
    before: RunRequest, now: RunRequest, what: str, status: str, max_tries: int
) -> None:
    store = recorded_run(want=before)
    with pytest.raises(WRValidationError, match=f"is {status}, and {what} changed since") as stopped:
        find(store, FakeHook(status), want=now, max_tries=max_tries)
    assert not stopped.value.retryable
    api = FakeHook(status)
    assert find(store, api, want=now, max_tries=max_tries, on_changed_updates="resume") is not None
    assert find(store, api, want=now, max_tries=max_tries, on_changed_updates="restart") is None


def test_the_digest_holds_no_value() -> None:
    store = recorded_run(want=wanted({"secret": "hush"}))
    assert "hush" not in json.dumps(store)


def test_after_a_failed_run_other_updates_are_no_matter() -> None:
    store = recorded_run(want=wanted({"a": 1}))
    assert find(store, FakeHook("FAILED"), want=wanted({"a": 2}), max_tries=AFTER_A_CLEAR) is None


# --- nothing was recorded ---------------------------------------------------------------------------------


@pytest.mark.parametrize("max_tries", [RETRY, CLEARED])
def test_nothing_was_recorded(max_tries: int) -> None:
    api = FakeHook("EXECUTING")
    assert find(Store(), api, max_tries=max_tries) is None
    assert api.asked == []


@pytest.mark.parametrize(
    ("store", "durable"),
    [
        pytest.param(None, True, id="Airflow without a store"),
        pytest.param(recorded_run(), False, id="not durable"),
        pytest.param(recorded_attempt(), False, id="not durable, attempt"),
    ],
)
def test_nothing_is_remembered(store: Store | None, durable: bool) -> None:
    before = dict(store) if store is not None else None
    api = FakeHook("EXECUTING")
    assert find(store, api, durable=durable) is None
    assert api.asked == []
    forgetful = memory(store, durable=durable)
    forgetful.record_attempt(wanted())
    forgetful.record_run(TRIGGERED)
    forgetful.record_doubt()
    forgetful.record_success()
    forgetful.discard_attempt()
    assert forgetful.run_id is None
    assert store == before


# --- from try to try --------------------------------------------------------------------------------------


def test_a_retry_after_a_clear_that_resumed_is_not_taken_for_another_clear() -> None:
    store = recorded_run()
    assert find(store, FakeHook("EXECUTING"), max_tries=AFTER_A_CLEAR) is not None
    # The run completes, the worker dies, and Airflow retries: the task returns that run.
    assert find(store, FakeHook("COMPLETED"), max_tries=AFTER_A_CLEAR) == ExistingRun(
        TRIGGERED, a_run("COMPLETED")
    )


def test_resuming_keeps_when_the_run_was_started() -> None:
    store = recorded_run()
    find(store, FakeHook("EXECUTING"))
    assert store[KEY]["at"] == AT


def test_a_second_clear_of_a_completed_task_starts_a_new_run_again() -> None:
    store = recorded_run(delivered=True)
    assert find(store, FakeHook("COMPLETED"), max_tries=AFTER_A_CLEAR) is None
    cleared = memory(store, max_tries=AFTER_A_CLEAR)
    cleared.record_attempt(wanted())
    cleared.record_run(TRIGGERED)
    assert find(store, FakeHook("COMPLETED"), max_tries=AFTER_A_CLEAR) is not None
    memory(store, max_tries=AFTER_A_CLEAR).record_success()
    assert find(store, FakeHook("COMPLETED"), max_tries=AFTER_A_CLEAR + 2) is None


def test_the_attempt_takes_the_place_of_the_run_before() -> None:
    store = recorded_run()
    memory(store).record_attempt(wanted())
    with pytest.raises(WRTriggerUnknownError):
        find(store, FakeHook("COMPLETED"))


def test_an_attempt_that_certainly_came_to_nothing_is_forgotten() -> None:
    store = recorded_attempt()
    memory(store).discard_attempt()
    assert store == {}
    assert find(store, FakeHook("EXECUTING")) is None


def test_a_job_id_may_be_missing() -> None:
    store = Store()
    memory(store).record_attempt(wanted())
    memory(store).record_run(TriggeredRun(RUN, None))
    assert find(store, FakeHook("EXECUTING")) == ExistingRun(TriggeredRun(RUN, None), a_run("EXECUTING"))


# --- a store that is away ---------------------------------------------------------------------------------


class AwayStore(Store):
    """Fails a few times, like Airflow's during a restart of its API server."""

    def __init__(self, error: Exception, times: int) -> None:
        super().__init__()
        self._errors = [error] * times
        self.calls = 0

    def set(self, key: str, value: Any) -> None:
        self.calls += 1
        if self._errors:
            raise self._errors.pop()
        super().set(key, value)


class Refused(Exception):
    """Like Airflow's own error for an answer of its API server."""

    def __init__(self, status: int | None) -> None:
        super().__init__(str(status))
        self.error = SimpleNamespace(detail={"status_code": status})


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    pauses: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", pauses.append)
    return pauses


@pytest.mark.parametrize(
    "error", [RuntimeError("away"), OSError("refused"), Refused(None), Refused(503)], ids=repr
)
def test_a_store_that_is_away_is_tried_again(error: Exception, pauses: list[float]) -> None:
    store = AwayStore(error, 3)
    memory(store).record_attempt(wanted())
    assert (store[KEY]["run_id"], len(pauses)) == (None, 3)


@pytest.mark.parametrize("error", [TypeError("a fault of ours"), Refused(413), Refused(422)], ids=repr)
def test_a_store_that_refuses_is_not(error: Exception, pauses: list[float]) -> None:
    with pytest.raises(type(error)):
        memory(AwayStore(error, 1)).record_attempt(wanted())
    assert pauses == []


def test_a_doubt_that_cannot_be_stored_hides_nothing(pauses: list[float]) -> None:
    store = AwayStore(Refused(413), 0)
    earlier = memory(store)
    earlier.record_attempt(wanted())
    store._errors = [Refused(413)] * 2
    earlier.record_doubt()
    assert store[KEY]["doubt_reported"] is False  # so the first clear fails, and reports it


def test_a_run_that_cannot_be_stored_fails_nothing_and_a_retry_stops(
    pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    store = AwayStore(Refused(413), 0)
    earlier = memory(store)
    earlier.record_attempt(wanted())
    store._errors = [Refused(413)]
    earlier.record_run(TRIGGERED)
    assert f"Airflow could not store run_id='{RUN}'" in caplog.text
    with pytest.raises(WRTriggerUnknownError):
        find(store, FakeHook("EXECUTING"))
