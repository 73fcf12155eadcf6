"""A run, or an execution of a component, is started once, whatever is killed, cleared or left unanswered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest

from airflow_provider_wr.hooks.wr import WRHook
from airflow_provider_wr.sandbox.faults import Fault
from dev.local_airflow import LocalAirflow

from .conftest import PrintTable
from .dagrun import DagRun
from .rabbit import Rabbit

HELD_BACK = 25.0
"""Seconds that an answer is held back, for a disaster to come first."""


class Payment(DagRun):
    """A DAG run that starts runs in its own sandbox."""

    def __init__(self, airflow: LocalAirflow, dag_id: str, rabbit: Rabbit) -> None:
        super().__init__(airflow, dag_id, conn_id=rabbit.conn_id)
        self.rabbit = rabbit
        self.sandbox = rabbit.control

    def started(self) -> list[str]:
        """Return the id of each run and each execution that was started."""
        return [each["id"] for each in (*self.sandbox.runs(), *self.sandbox.executions())]

    def is_waited_for(self) -> bool:
        return self.rabbit.received("stream") + self.rabbit.received("stream_execution") > 0

    def transactions(self) -> list[str]:
        """Return the hash of each payment, of all runs."""
        with WRHook(self.rabbit.conn_id) as hook:
            stages = [stage for run in self.sandbox.runs() for stage in hook.get_run(run["id"]).stages]
        return [
            stage.output["transactionHash"]
            for stage in stages
            if (stage.module, stage.status) == ("SEND_EVM_TRANSACTION", "COMPLETED")
        ]


# --- what happens to a payment ----------------------------------------------------------------------------


def nothing(payment: Payment) -> None:
    """Do nothing."""


def kill_before(payment: Payment) -> None:
    payment.wait_until(
        "what comes before the trigger is sent, and held back", lambda: not payment.sandbox.faults()
    )
    payment.kill_worker()


def kill_during(payment: Payment) -> None:
    payment.wait_until("the trigger is obeyed, and its answer held back", lambda: bool(payment.started()))
    payment.kill_worker()


def clear_during(payment: Payment) -> None:
    payment.wait_until("the trigger is obeyed, and its answer held back", lambda: bool(payment.started()))
    payment.clear()


def clear_twice(payment: Payment) -> None:
    clear_during(payment)
    clear_at_the_end(payment)


def kill_after(payment: Payment) -> None:
    payment.wait_until("the wait begins", payment.is_waited_for)
    payment.kill_worker()


def kill_and_forget(payment: Payment) -> None:
    kill_after(payment)
    payment.sandbox.fault("get_run", status=404, times=None)


def kill_one_of_three(payment: Payment) -> None:
    payment.wait_until("all three wait", lambda: payment.rabbit.received("stream") >= 3)
    payment.kill_worker(map_index=1)


def kill_triggerer(payment: Payment) -> None:
    payment.wait_for_state("deferred", count=20)
    payment.airflow.kill("triggerer")
    payment.airflow.start("triggerer")


def clear_at_the_end(payment: Payment) -> None:
    payment.end()
    payment.rabbit.configure(failWith=None)
    payment.clear()


def clear_while_deferred(payment: Payment) -> None:
    payment.wait_for_state("deferred")
    payment.clear()


def clear_while_waiting(payment: Payment) -> None:
    payment.wait_until("the wait begins", lambda: payment.rabbit.received("stream") > 0)
    payment.clear()


def clear_kill_late(payment: Payment) -> None:
    # A task is deferred shortly before its trigger runs; if it is cleared in between, try 1 sends no requests.
    wait_for_trigger(payment, tries=1)
    payment.clear()
    wait_for_trigger(payment, tries=2)
    # The trigger does not read the run again, but the worker that resumes at its end does.
    payment.sandbox.fault("get_run", delay=HELD_BACK)
    payment.wait_until("the worker has asked for the run", lambda: not payment.sandbox.faults())
    payment.kill_worker()


def clear_kill_soon(payment: Payment) -> None:
    wait_for_trigger(payment, tries=1)
    payment.sandbox.fault("get_run", delay=HELD_BACK)
    payment.clear()
    payment.wait_until("the worker has asked for the run", lambda: not payment.sandbox.faults())
    payment.kill_worker()


def wait_for_trigger(payment: Payment, *, tries: int) -> None:
    """Wait until the trigger follows the stream and has read the run, as the worker has in later tries."""
    payment.wait_until(
        f"the trigger of try {tries} waits",
        lambda: (payment.rabbit.received("stream"), payment.rabbit.received("get_run")) == (tries, 2 * tries - 1),
    )


def fix_after_failure(payment: Payment) -> None:
    payment.wait_until("the run fails", lambda: [run["status"] for run in payment.sandbox.runs()] == ["FAILED"])
    payment.rabbit.configure(failWith=None)


# --- and what is expected of it ---------------------------------------------------------------------------


class End(NamedTuple):
    """The result of a payment."""

    runs: int
    state: str
    tries: int


class Case(NamedTuple):
    what: str
    way: str
    """The DAG of ``dags/started_once.py``."""
    happens: Callable[[Payment], None]
    runs: int
    state: str
    tries: int
    says: str = ""
    """What the log of the last try must say."""
    given: Fault | Mapping[str, Any] | None = None
    """A fault of the sandbox, or the config of the first stage of its runs, or of its component."""


SHORT = {"seconds": 5}
LONG = {"seconds": 40}
LATE = {"seconds": 12}
LONGER = {"seconds": 75}
FAILING = {"failWith": "out of gas"}
FAILING_SOON = {**SHORT, **FAILING}
UPDATE_HELD = Fault("update", delay=HELD_BACK, reset=True)
ANSWER_HELD = Fault("trigger", delay=HELD_BACK, obey=True)
ANSWER_503 = Fault("trigger", status=503, obey=True)
ANSWER_LOST = Fault("trigger", reset=True, obey=True)
REFUSED = Fault("trigger", status=429, times=2)
CATALOGUE_HELD = Fault("list_components", delay=HELD_BACK, reset=True)
EXECUTE_HELD = Fault("execute_component", delay=HELD_BACK, obey=True)
EXECUTE_LOST = Fault("execute_component", reset=True, obey=True)

RESUMES = ": resuming it"
UNKNOWN = "WRTriggerUnknownError: "
NO_ANSWER = "and died before it recorded the answer"
NO_RUN = "whether a run started is not known: White Rabbit does not know run "
SECOND = "Starting a run that may be the second"
ANOTHER = "may have started a run. Starting another, since the task was cleared"
NO_RETRY = "No retry: these stages may have had an effect"
NO_PAYING_AGAIN = "No retry: SEND_EVM_TRANSACTION may have had an effect"
CHANGED = "component_updates changed since"

# fmt: off
CASES = [
    Case("triggerer killed while 20 wait", "mapped_sensors", kill_triggerer, 20, "success", 1, "", LONGER),
    Case("worker killed before the trigger", "in_worker", kill_before, 1, "success", 2, "", UPDATE_HELD),
    Case("worker killed during the trigger", "in_worker", kill_during, 1, "failed", 2, UNKNOWN, ANSWER_HELD),
    Case("the same, with 'retrigger'", "retriggering", kill_during, 2, "success", 2, SECOND, ANSWER_HELD),
    Case("worker killed after it, the run keeps running", "in_worker", kill_after, 1, "success", 2, RESUMES, LONG),
    Case("worker killed after it, the run ends", "in_worker", kill_after, 1, "success", 2, RESUMES, SHORT),
    Case("the same, with durable=False", "not_durable", kill_after, 2, "success", 2, "", SHORT),
    Case("one of 3 mapped workers killed", "mapped_in_worker", kill_one_of_three, 3, "success", 2, "", LONG),
    Case("cleared after success", "in_worker", clear_at_the_end, 2, "success", 2),
    Case("cleared after success, deferred", "deferred", clear_at_the_end, 2, "success", 2, "", SHORT),
    Case("cleared after success, still running", "without_wait", clear_at_the_end, 1, "success", 2, RESUMES, LONG),
    Case("cleared while deferred", "deferred", clear_while_deferred, 1, "success", 2, RESUMES, LONG),
    Case("cleared while a worker waits", "in_worker", clear_while_waiting, 1, "success", 2, RESUMES, LONG),
    Case("cleared while deferred, killed at end", "deferred", clear_kill_late, 1, "success", 3, RESUMES, LONGER),
    Case("cleared while deferred, killed at once", "deferred", clear_kill_soon, 1, "success", 3, RESUMES, LONGER),
    Case("the same, and the run ends meanwhile", "deferred", clear_kill_soon, 1, "success", 3, RESUMES, LATE),
    Case("cleared after the run failed", "without_retries", clear_at_the_end, 2, "success", 2, "", FAILING),
    Case("retried after the run failed", "in_worker", fix_after_failure, 1, "failed", 1, NO_RETRY, FAILING),
    Case("the same, known to be harmless", "harmless", fix_after_failure, 2, "success", 2, "", FAILING),
    Case("the same, with 'always'", "retrying_always", fix_after_failure, 2, "success", 2, "", FAILING),
    Case("worker killed, and the run fails", "in_worker", kill_after, 1, "failed", 2, NO_RETRY, FAILING_SOON),
    Case("last stage failed", "notifying_in_vain", nothing, 1, "failed", 1, NO_RETRY),
    Case("last stage failed, deferred", "notifying_in_vain_deferred", nothing, 1, "failed", 1, NO_RETRY, LATE),
    Case("last stage failed, with 'always'", "notifying_in_vain_always", nothing, 4, "failed", 4),
    Case("retried with other updates", "changing", kill_after, 1, "failed", 2, CHANGED, LONG),
    Case("the same, with 'resume'", "changing_resumes", kill_after, 1, "success", 2, RESUMES, LONG),
    Case("the same, with 'restart'", "changing_restarts", kill_after, 2, "success", 2, CHANGED, SHORT),
    Case("retried, and the run is not known", "in_worker", kill_and_forget, 1, "failed", 2, NO_RUN, LONG),
    Case("cleared during the trigger", "in_worker", clear_during, 1, "failed", 2, NO_ANSWER, ANSWER_HELD),
    Case("the same, and cleared again", "in_worker", clear_twice, 2, "success", 3, ANOTHER, ANSWER_HELD),
    Case("cleared after 503", "in_worker", clear_at_the_end, 2, "success", 2, ANOTHER, ANSWER_503),
    Case("obeyed, but answered with 503", "in_worker", nothing, 1, "failed", 1, UNKNOWN, ANSWER_503),
    Case("503, with 'retrigger'", "retriggering", nothing, 2, "success", 2, SECOND, ANSWER_503),
    Case("obeyed, but the connection is reset", "deferred", nothing, 1, "failed", 1, UNKNOWN, ANSWER_LOST),
    Case("refused twice with 429", "in_worker", nothing, 1, "success", 1, "", REFUSED),
    Case("component, killed before the request", "component", kill_before, 1, "success", 2, "", CATALOGUE_HELD),
    Case("component, killed during it", "component", kill_during, 1, "failed", 2, UNKNOWN, EXECUTE_HELD),
    Case("component, killed after it", "component", kill_after, 1, "success", 2, RESUMES, LONG),
    Case("component, cleared during it", "component", clear_during, 1, "failed", 2, NO_ANSWER, EXECUTE_HELD),
    Case("component, its connection is reset", "component", nothing, 1, "failed", 1, UNKNOWN, EXECUTE_LOST),
    Case("component, cleared", "component_deferred", clear_while_deferred, 1, "success", 2, RESUMES, LONG),
    Case("component, it fails", "component_deferred", nothing, 1, "failed", 1, NO_PAYING_AGAIN, FAILING_SOON),
]
# fmt: on


def play(case: Case, airflow: LocalAirflow, rabbit: Rabbit) -> tuple[Payment, End]:
    """Run the case, and return its result."""
    if isinstance(case.given, Fault):
        rabbit.control.fault(**vars(case.given))
    elif case.way.startswith("component"):
        rabbit.control.steer("SEND_EVM_TRANSACTION", dict(case.given or {}))
    else:
        rabbit.configure(**(case.given or {}))
    payment = Payment(airflow, case.way, rabbit)
    case.happens(payment)
    state = payment.end()
    tries = max(task["try_number"] for task in payment.tasks())
    return payment, End(len(payment.started()), state, tries)


Played = dict[str, Future[tuple[Payment, End]]]


@pytest.fixture(scope="module")
def played(airflow: LocalAirflow, take_rabbit: Callable[[], Rabbit], print_table: PrintTable) -> Iterator[Played]:
    """All cases, as many in parallel as a small machine can handle."""
    with ThreadPoolExecutor(8) as pool:
        played = {case.what: pool.submit(play, case, airflow, take_rabbit()) for case in CASES}
        yield played
    print_table(
        "How many runs were started",
        ("case", "runs expected", "seen", "end expected", "seen", "tries"),
        [_row(case, played[case.what]) for case in CASES],
    )


def _row(case: Case, played: Future[tuple[Payment, End]]) -> tuple[object, ...]:
    runs, state, tries = ("?", "?", "?") if played.exception() else played.result()[1]
    return case.what, case.runs, runs, case.state, state, tries


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_a_run_is_started_once(case: Case, played: Played) -> None:
    payment, end = played[case.what].result()

    assert end == End(case.runs, case.state, case.tries)
    if case.says:
        assert case.says in payment.log("pay", end.tries)
    if case.state == "failed":  # in one traceback: the log view ends with the last one's
        messages = payment.messages("pay", end.tries)
        assert len([error for message in messages for error in message.get("error_detail") or ()]) == 1


def test_each_mapped_task_has_its_own_run_and_link(played: Played) -> None:
    payment, _ = played["triggerer killed while 20 wait"].result()
    runs = {run["id"] for run in payment.sandbox.runs()}
    triggered = [payment.xcom("pay", map_index=index) for index in range(20)]
    waited_for = [payment.xcom("wait", map_index=index)["id"] for index in range(20)]
    links = [payment.links(task, index) for task in ("pay", "wait") for index in range(20)]

    assert set(triggered) == runs
    assert waited_for == triggered
    assert links == [[f"{payment.rabbit.url}/runs/{run_id}"] for run_id in triggered * 2]


def test_each_mapped_task_remembers_its_own_run(played: Played) -> None:
    payment, _ = played["one of 3 mapped workers killed"].result()

    assert {payment.xcom("pay", map_index=index) for index in range(3)} == {
        run["id"] for run in payment.sandbox.runs()
    }
    assert RESUMES in payment.log("pay", tries=2, map_index=1)


@pytest.mark.parametrize(
    ("case", "payments"),
    [("last stage failed", 5), ("last stage failed, deferred", 5), ("last stage failed, with 'always'", 20)],
)
def test_what_was_paid_is_paid_once_and_the_error_lists_it(case: str, payments: int, played: Played) -> None:
    payment, end = played[case].result()
    paid = payment.transactions()

    assert len(paid) == payments
    if end.tries == 1:
        log = payment.log("pay", tries=1)
        assert [transaction for transaction in paid if transaction not in log] == []
