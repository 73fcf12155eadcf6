"""No run is started twice: every row of the table of what an earlier try may have left."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from airflow_provider_wr.exceptions import WRAuthError, WRNotFoundError, WRTriggerUnknownError
from airflow_provider_wr.models import Run, TriggeredRun
from airflow_provider_wr.operators.run_store import KEY, Found, RunMemory

if TYPE_CHECKING:
    from airflow_provider_wr.hooks.wr import WRHook

WORKFLOW = "7d0b6f1e-4a51-4c1e-9a57-0d5a2f6f0001"
OTHER_WORKFLOW = "7d0b6f1e-4a51-4c1e-9a57-0d5a2f6f0002"
RUN = "9e4c7b1a-1111-4222-8333-944455556666"
TRIGGERED = TriggeredRun(RUN, "bull-1")

#: An Airflow retry keeps the task's max_tries, a clear raises it.
MAX_TRIES, AFTER_A_CLEAR = 2, 4


class Store(dict[str, Any]):
    """Airflow's store for a task, in memory. What it keeps goes through JSON, as Airflow's does."""

    def set(self, key: str, value: Any) -> None:
        self[key] = json.loads(json.dumps(value))

    def delete(self, key: str) -> None:
        del self[key]


class Api:
    """Answers for one run, and counts how often it was asked."""

    def __init__(self, answer: str | Exception) -> None:
        self._answer = answer
        self.asked: list[str] = []

    def get_run(self, run_id: str) -> Run:
        self.asked.append(run_id)
        if isinstance(self._answer, Exception):
            raise self._answer
        return a_run(self._answer)


def a_run(status: str) -> Run:
    return Run.from_json({"id": RUN, "status": status})


def memory(store: Store | None, *, max_tries: int = MAX_TRIES, durable: bool = True) -> RunMemory:
    context: Any = {"ti": SimpleNamespace(max_tries=max_tries)}
    if store is not None:
        context["task_state_store"] = store
    return RunMemory(context, durable=durable)


def find(
    store: Store | None,
    api: Api,
    *,
    workflow_id: str = WORKFLOW,
    max_tries: int = MAX_TRIES,
    durable: bool = True,
    retrigger: bool = False,
) -> Found | None:
    hook = cast("WRHook", api)
    return memory(store, max_tries=max_tries, durable=durable).find(hook, workflow_id, retrigger=retrigger)


def noted_run(*, delivered: bool = False) -> Store:
    store = Store()
    earlier = memory(store)
    earlier.note_intent(WORKFLOW)
    earlier.note_run(WORKFLOW, TRIGGERED)
    if delivered:
        earlier.note_delivered()
    return store


def noted_intent() -> Store:
    store = Store()
    memory(store).note_intent(WORKFLOW)
    return store


RETRY = pytest.param(MAX_TRIES, id="retry")
CLEARED = pytest.param(AFTER_A_CLEAR, id="cleared")


@pytest.mark.parametrize(
    ("status", "max_tries", "delivered", "goes_on"),
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
        # The user has not seen its result: the task was cleared while it waited, or after its time ran out.
        pytest.param("COMPLETED", AFTER_A_CLEAR, False, True, id="completed, cleared"),
        pytest.param("FAILED", MAX_TRIES, False, False, id="failed, retry"),
        pytest.param("FAILED", AFTER_A_CLEAR, False, False, id="failed, cleared"),
        pytest.param("CANCELED", MAX_TRIES, False, False, id="canceled, retry"),
        pytest.param("CANCELED", AFTER_A_CLEAR, False, False, id="canceled, cleared"),
    ],
)
@pytest.mark.parametrize("retrigger", [False, True])
def test_a_run_was_noted(status: str, max_tries: int, delivered: bool, goes_on: bool, retrigger: bool) -> None:
    api = Api(status)
    found = find(noted_run(delivered=delivered), api, max_tries=max_tries, retrigger=retrigger)
    assert found == (Found(TRIGGERED, a_run(status)) if goes_on else None)
    assert api.asked == [RUN]


@pytest.mark.parametrize("max_tries", [RETRY, CLEARED])
def test_a_run_was_noted_that_the_api_does_not_know(max_tries: int) -> None:
    store = noted_run()
    store[KEY]["at"] = "2026-01-01T00:00:00+00:00"
    assert find(store, Api(WRNotFoundError("gone")), max_tries=max_tries) is None


@pytest.mark.parametrize("max_tries", [RETRY, CLEARED])
def test_a_run_was_noted_just_now_and_may_not_be_visible_yet(max_tries: int) -> None:
    with pytest.raises(WRNotFoundError):
        find(noted_run(), Api(WRNotFoundError("gone")), max_tries=max_tries)


@pytest.mark.parametrize("max_tries", [RETRY, CLEARED])
def test_a_run_was_noted_and_the_api_cannot_be_asked(max_tries: int) -> None:
    store = noted_run()
    with pytest.raises(WRAuthError):
        find(store, Api(WRAuthError("key refused")), max_tries=max_tries)
    assert store == noted_run() | {KEY: {**noted_run()[KEY], "at": store[KEY]["at"]}}


def test_an_intent_was_noted_and_airflow_retries() -> None:
    store = noted_intent()
    api = Api("EXECUTING")
    with pytest.raises(WRTriggerUnknownError) as stopped:
        find(store, api)
    assert stopped.value.message == (
        f"an earlier try was about to trigger workflow {WORKFLOW} at {store[KEY]['at']}, and died before "
        "it noted the answer: whether a run started is not known"
    )
    assert api.asked == []
    assert KEY in store


def test_an_intent_was_noted_and_the_author_accepts_a_second_run(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "airflow_provider_wr.operators.run_store"):
        assert find(noted_intent(), Api("EXECUTING"), retrigger=True) is None
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "Starting a run which may be the second, as on_unknown_trigger='retrigger' asks for"
    ]


def test_an_intent_was_noted_and_a_user_cleared_the_task() -> None:
    assert find(noted_intent(), Api("EXECUTING"), max_tries=AFTER_A_CLEAR) is None


@pytest.mark.parametrize(
    "store",
    [
        pytest.param(Store(), id="nothing noted"),
        pytest.param(noted_run(), id="run of another workflow"),
        pytest.param(noted_intent(), id="intent for another workflow"),
    ],
)
@pytest.mark.parametrize("max_tries", [RETRY, CLEARED])
def test_nothing_was_noted_for_this_workflow(store: Store, max_tries: int) -> None:
    api = Api("EXECUTING")
    assert find(store, api, workflow_id=OTHER_WORKFLOW, max_tries=max_tries) is None
    assert api.asked == []


@pytest.mark.parametrize(
    ("store", "durable"),
    [
        pytest.param(None, True, id="Airflow without a store"),
        pytest.param(noted_run(), False, id="not durable"),
        pytest.param(noted_intent(), False, id="not durable, intent"),
    ],
)
def test_nothing_is_remembered(store: Store | None, durable: bool) -> None:
    before = dict(store) if store is not None else None
    api = Api("EXECUTING")
    assert find(store, api, durable=durable) is None
    assert api.asked == []
    forgetful = memory(store, durable=durable)
    forgetful.note_intent(WORKFLOW)
    forgetful.note_run(WORKFLOW, TRIGGERED)
    forgetful.forget()
    assert store == before


# --- from try to try --------------------------------------------------------------------------------------


def test_a_retry_after_a_clear_that_went_on_is_not_taken_for_another_clear() -> None:
    store = noted_run()
    assert find(store, Api("EXECUTING"), max_tries=AFTER_A_CLEAR) is not None
    # The run completes, the worker dies, and Airflow retries: the result is that run's, not a new one.
    assert find(store, Api("COMPLETED"), max_tries=AFTER_A_CLEAR) == Found(TRIGGERED, a_run("COMPLETED"))


def test_going_on_keeps_when_the_run_was_started() -> None:
    store = noted_run()
    store[KEY]["at"] = "2026-01-01T00:00:00+00:00"
    find(store, Api("EXECUTING"))
    assert store[KEY]["at"] == "2026-01-01T00:00:00+00:00"


def test_a_second_clear_of_a_completed_task_starts_a_new_run_again() -> None:
    store = noted_run(delivered=True)
    assert find(store, Api("COMPLETED"), max_tries=AFTER_A_CLEAR) is None
    cleared = memory(store, max_tries=AFTER_A_CLEAR)
    cleared.note_intent(WORKFLOW)
    cleared.note_run(WORKFLOW, TRIGGERED)
    assert find(store, Api("COMPLETED"), max_tries=AFTER_A_CLEAR) is not None
    cleared.note_delivered()
    assert find(store, Api("COMPLETED"), max_tries=AFTER_A_CLEAR + 2) is None


def test_the_intent_takes_the_place_of_the_run_before() -> None:
    store = noted_run()
    memory(store).note_intent(WORKFLOW)
    with pytest.raises(WRTriggerUnknownError):
        find(store, Api("COMPLETED"))


def test_an_intent_that_certainly_came_to_nothing_is_forgotten() -> None:
    store = noted_intent()
    memory(store).forget()
    assert store == {}
    assert find(store, Api("EXECUTING")) is None


def test_a_job_id_may_be_missing() -> None:
    store = Store()
    memory(store).note_run(WORKFLOW, TriggeredRun(RUN, None))
    assert find(store, Api("EXECUTING")) == Found(TriggeredRun(RUN, None), a_run("EXECUTING"))
