"""No run is started twice: all rows of the table in ``run_store.py``."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_wr.api.calls import execute_component, update_component
from airflow_provider_wr.exceptions import (
    WRAuthError,
    WRComponentFailedError,
    WRNotFoundError,
    WRRunFailedError,
    WRTriggerUnknownError,
    WRValidationError,
)
from airflow_provider_wr.models import ComponentExecution, Run
from airflow_provider_wr.operators import run_store
from airflow_provider_wr.operators.request import ExecutionRequest, Request, RunRequest
from airflow_provider_wr.operators.retry_policy import RetryPolicy
from airflow_provider_wr.operators.run_store import Existing, RunStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_wr.hooks.wr import WRHook

WORKFLOW = "7d0b6f1e-4a51-4c1e-9a57-0d5a2f6f0001"
OTHER_WORKFLOW = "7d0b6f1e-4a51-4c1e-9a57-0d5a2f6f0002"
COMPONENT = "c0ffee00-1111-4222-8333-944455556666"
RUN = "9e4c7b1a-1111-4222-8333-944455556666"
AT = "2026-01-01T00:00:00+00:00"

#: A retry keeps the task's max_tries, a clear increases it.
MAX_TRIES, AFTER_A_CLEAR = 2, 4

RETRY = pytest.param(MAX_TRIES, id="retry")
CLEARED = pytest.param(AFTER_A_CLEAR, id="cleared")


ONE = {"run": "a run", "execution": "an execution"}


class Store(dict[str, Any]):
    """Airflow's state store of a task, in memory. Values go through JSON, as in Airflow's."""

    def set(self, key: str, value: Any) -> None:
        self[key] = json.loads(json.dumps(value))

    def delete(self, key: str) -> None:
        del self[key]


class FakeHook:
    """Answers for one run or execution, and counts its reads."""

    def __init__(self, answer: str | Exception) -> None:
        self._answer = answer
        self.asked: list[str] = []

    def get_run(self, run_id: str) -> Run:
        return cast("Run", self._get(run_id))

    def get_execution(self, execution_id: str) -> ComponentExecution:
        return cast("ComponentExecution", self._get(execution_id))

    def _get(self, identifier: str) -> Run | ComponentExecution:
        self.asked.append(identifier)
        if isinstance(self._answer, Exception):
            raise self._answer
        return as_it_is(self._answer)


#: What a task may start. Every test of this file is run for both.
KINDS: list[type[Request[Any]]] = [RunRequest, ExecutionRequest]
kind: type[Request[Any]]


@pytest.fixture(autouse=True, params=KINDS, ids=lambda kind: kind.noun)
def _each_kind(request: pytest.FixtureRequest) -> None:
    global kind
    kind = request.param


def key() -> str:
    return kind.key


def as_it_is(status: str) -> Run | ComponentExecution:
    if kind is RunRequest:
        return Run.from_json({"id": RUN, "status": status, "runStages": []})
    return ComponentExecution.from_json({"id": RUN, "module": "GET_EVM_ACCOUNT_BALANCE", "status": status})


def wanted(config: dict[str, Any] | None = None, subject: str = WORKFLOW) -> Request[Any]:
    """Return what a try would start: a run of a workflow, or an execution of a component."""
    if kind is RunRequest:
        updates = [update_component(subject, COMPONENT, config=config)] if config else []
        return RunRequest.of(subject, updates)
    return ExecutionRequest.of(execute_component(subject, {"of": "an input"}, config))


def memory(store: Store | None, *, max_tries: int = MAX_TRIES, durable: bool = True) -> RunStore:
    context: Any = {"ti": SimpleNamespace(max_tries=max_tries)}
    if store is not None:
        context["task_state_store"] = store
    return RunStore(context, durable=durable, kind=kind)


def record_start(memory: RunStore) -> None:
    ids = {kind.id_name: RUN, **({"job_id": "bull-1"} if kind is RunRequest else {})}
    memory.record_start(**ids)


def find(
    store: Store | None,
    api: FakeHook,
    *,
    want: Request[Any] | None = None,
    max_tries: int = MAX_TRIES,
    durable: bool = True,
    retry_run: str = "if_harmless",
    on_unknown_trigger: str = "fail",
    on_changed: str = "fail",
) -> Existing | None:
    return memory(store, max_tries=max_tries, durable=durable).find(
        cast("WRHook", api),
        want or wanted(),
        RetryPolicy(retry_run),
        on_unknown_trigger=on_unknown_trigger,
        on_changed=on_changed,
    )


def is_resumed(found: Existing | None, status: str) -> bool:
    assert found is None or found.facts[kind.id_name] == RUN
    return found is not None and found.state == as_it_is(status)


def recorded_attempt(*, doubt_reported: bool = False) -> Store:
    store = Store()
    memory(store).record_attempt(wanted())
    store[key()]["at"] = AT
    if doubt_reported:
        memory(store).record_doubt()
    return store


def recorded_run(*, delivered: bool = False, want: Request[Any] | None = None) -> Store:
    store = Store()
    earlier = memory(store)
    earlier.record_attempt(want or wanted())
    record_start(earlier)
    if delivered:
        earlier.record_success()
    store[key()]["at"] = AT
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
    if kind is ExecutionRequest and status == "CANCELED":
        resumes = True  # an unknown status, and no end
    assert is_resumed(found, status) is resumes
    assert api.asked == [RUN]


@pytest.mark.parametrize(("retry_run", "starts"), [("if_harmless", True), ("always", True), ("never", False)])
def test_a_run_was_recorded_that_failed_with_nothing_dispatched(retry_run: str, starts: bool) -> None:
    if starts:
        assert find(recorded_run(), FakeHook("FAILED"), retry_run=retry_run) is None
        return
    failed = WRRunFailedError if kind is RunRequest else WRComponentFailedError
    with pytest.raises(failed) as stopped:
        find(recorded_run(), FakeHook("FAILED"), retry_run=retry_run)
    assert not stopped.value.retryable


@pytest.mark.parametrize("max_tries", [RETRY, CLEARED])
def test_a_run_was_recorded_and_the_api_cannot_be_asked(max_tries: int) -> None:
    store = recorded_run()
    before = dict(store[key()])
    with pytest.raises(WRAuthError):
        find(store, FakeHook(WRAuthError("key refused")), max_tries=max_tries)
    assert store[key()] == before


# --- doubt ------------------------------------------------------------------------------------------------

DOUBTS: dict[str, Callable[[], Store]] = {"an attempt": recorded_attempt, "a run that is unknown": recorded_run}
NOT_FOUND = FakeHook(WRNotFoundError("gone"))


@pytest.mark.parametrize("max_tries", [RETRY, CLEARED])
@pytest.mark.parametrize("recorded", DOUBTS.values(), ids=DOUBTS)
def test_not_knowing_stops(recorded: Callable[[], Store], max_tries: int) -> None:
    """A clear fails, too: it may have come during the trigger, before anyone knew of the doubt."""
    with pytest.raises(WRTriggerUnknownError, match=f"whether an? {kind.noun} started is not known") as stopped:
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
        f"An earlier trigger, at {AT}, may have started {ONE[kind.noun]}. "
        "Starting another, since the task was cleared"
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
        f"Starting {ONE[kind.noun]} that may be the second, as on_unknown_trigger='retrigger' asks"
    ]


def test_a_delivered_run_that_no_longer_exists_does_not_block_a_clear() -> None:
    assert find(recorded_run(delivered=True), NOT_FOUND, max_tries=AFTER_A_CLEAR) is None


def test_a_run_that_may_not_be_visible_yet_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_store, "VISIBILITY_POLL", 0.01)
    store = Store()
    memory(store).record_attempt(wanted())
    record_start(memory(store))
    answers = iter([WRNotFoundError("not yet"), WRNotFoundError("not yet")])

    class LaterVisible(FakeHook):
        def _get(self, identifier: str) -> Run | ComponentExecution:
            super()._get(identifier)
            for error in answers:
                raise error
            return as_it_is("EXECUTING")

    api = LaterVisible("EXECUTING")
    assert is_resumed(find(store, api), "EXECUTING")
    assert len(api.asked) == 3


# --- other updates ----------------------------------------------------------------------------------------

OF_CONFIG = {"run": "component_updates", "execution": "input or config"}
OF_SUBJECT = {"run": "workflow_id", "execution": "module"}
CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, str]]] = {
    "another value": ({"config": {"a": 1}}, {"config": {"a": 2}}, OF_CONFIG),
    "another type": ({"config": {"a": 1}}, {"config": {"a": "1"}}, OF_CONFIG),
    "no config any more": ({"config": {"a": 1}}, {}, OF_CONFIG),
    "another workflow or component": ({}, {"subject": OTHER_WORKFLOW}, OF_SUBJECT),
}


@pytest.mark.parametrize("max_tries", [RETRY, CLEARED])
@pytest.mark.parametrize("status", ["EXECUTING", "COMPLETED"])
@pytest.mark.parametrize(("before", "now", "what"), CHANGES.values(), ids=CHANGES)
def test_a_run_with_other_values_is_not_resumed_without_a_word(
    before: dict[str, Any], now: dict[str, Any], what: dict[str, str], status: str, max_tries: int
) -> None:
    store, want = recorded_run(want=wanted(**before)), wanted(**now)
    with pytest.raises(WRValidationError, match=f"is {status}, and {what[kind.noun]} changed since") as stopped:
        find(store, FakeHook(status), want=want, max_tries=max_tries)
    assert f"{kind.on_changed}='resume'" in str(stopped.value)
    assert not stopped.value.retryable
    api = FakeHook(status)
    assert find(store, api, want=want, max_tries=max_tries, on_changed="resume") is not None
    assert find(store, api, want=want, max_tries=max_tries, on_changed="restart") is None


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
    ("recorded", "durable"),
    [
        pytest.param(None, True, id="Airflow without a store"),
        pytest.param("recorded_run", False, id="not durable"),
        pytest.param("recorded_attempt", False, id="not durable, attempt"),
    ],
)
def test_nothing_is_remembered(recorded: str | None, durable: bool) -> None:
    store = globals()[recorded]() if recorded else None
    before = dict(store) if store is not None else None
    api = FakeHook("EXECUTING")
    assert find(store, api, durable=durable) is None
    assert api.asked == []
    forgetful = memory(store, durable=durable)
    forgetful.record_attempt(wanted())
    record_start(forgetful)
    forgetful.record_doubt()
    forgetful.record_success()
    forgetful.discard_attempt()
    assert forgetful.started_id is None
    assert store == before


# --- across tries ------------------------------------------------------------------------------------------


def test_a_retry_after_a_clear_that_resumed_is_not_taken_for_another_clear() -> None:
    store = recorded_run()
    assert find(store, FakeHook("EXECUTING"), max_tries=AFTER_A_CLEAR) is not None
    # The run completes, the worker dies, and Airflow retries: the task returns that run.
    assert is_resumed(find(store, FakeHook("COMPLETED"), max_tries=AFTER_A_CLEAR), "COMPLETED")


def test_resuming_keeps_when_the_run_was_started() -> None:
    store = recorded_run()
    find(store, FakeHook("EXECUTING"))
    assert store[key()]["at"] == AT


def test_a_second_clear_of_a_completed_task_starts_a_new_run_again() -> None:
    store = recorded_run(delivered=True)
    assert find(store, FakeHook("COMPLETED"), max_tries=AFTER_A_CLEAR) is None
    cleared = memory(store, max_tries=AFTER_A_CLEAR)
    cleared.record_attempt(wanted())
    record_start(cleared)
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
    memory(store).record_start(**{kind.id_name: RUN, "job_id": None})
    found = find(store, FakeHook("EXECUTING"))
    assert found is not None
    assert found.facts["job_id"] is None


def test_the_places_in_the_store_stay_as_they_are() -> None:
    """Tasks that are under way when the package is upgraded find what they started."""
    assert [each.key for each in KINDS] == ["wr_run", "wr_execution"]
    facts = (
        {"workflow_id", "updates", "run_id", "job_id"}
        if kind is RunRequest
        else {"module", "values", "execution_id"}
    )
    assert facts | {"at", "max_tries", "delivered", "doubt_reported"} == recorded_run()[key()].keys()


def test_the_order_of_keys_is_no_other_input() -> None:
    if kind is ExecutionRequest:
        assert wanted({"a": 1, "b": {"c": 2, "d": 3}}) == wanted({"b": {"d": 3, "c": 2}, "a": 1})


def test_how_an_execution_is_tried_and_its_callback_are_no_other_input() -> None:
    if kind is ExecutionRequest:
        call = execute_component(
            WORKFLOW,
            {"of": "an input"},
            attempts=3,
            wait_ms=5,
            callback_url="https://x.example",
            callback_secret="s",
        )
        assert ExecutionRequest.of(call) == wanted()


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
    assert (store[key()][kind.id_name], len(pauses)) == (None, 3)


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
    assert store[key()]["doubt_reported"] is False  # so the first clear fails, and reports it


def test_a_run_that_cannot_be_stored_fails_nothing_and_a_retry_stops(
    pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    store = AwayStore(Refused(413), 0)
    earlier = memory(store)
    earlier.record_attempt(wanted())
    store._errors = [Refused(413)]
    record_start(earlier)
    assert f"Airflow could not store {kind.id_name}='{RUN}'" in caplog.text
    with pytest.raises(WRTriggerUnknownError):
        find(store, FakeHook("EXECUTING"))
