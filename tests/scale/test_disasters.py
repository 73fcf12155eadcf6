"""
Whatever dies, freezes or is away: a run is started once, and each wait ends once.

Each test lets something happen to a cluster, which all of them share. The runs are counted in their sandboxes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from e2e.rabbit import Rabbit

from airflow_provider_wr.hooks.wr import WRHook
from airflow_provider_wr.sandbox.workflow import COMPONENTS

from .cluster import SCHEDULER_THRESHOLD, TRIGGERER_THRESHOLD, WORKERS, Cluster, Payments, Row, now, row
from .conftest import Distant, Gated

Take = Callable[[], Rabbit]
Keep = Callable[[Row], None]

#: Seconds that an answer is held back, for a disaster to come first.
HELD_BACK = 45.0

#: A task has five retries.
ANY_TRY = set(range(1, 7))

UNKNOWN = "whether a run started is not known"
RESUMES = ": resuming it"


def hold(rabbit: Any, hold: bool = True) -> None:
    """Let the first stage of all runs run until this is taken back."""
    with WRHook(rabbit.conn_id) as hook:
        hook.update_component(COMPONENTS["Quote"], config={"hold": hold})


def check(row: Row, keep: Keep, *, tries: set[int], state: str = "success", ends: int = 1) -> None:
    """
    Each run that is wanted was started, and no other; and each wait ended once, in one of these tries.

    :param ends: how many tries of a task may note its end.
    """
    keep(row)
    assert row.started == row.wanted
    assert row.ends.keys() == {state}
    assert row.waits <= row.ends[state] <= row.waits * ends
    assert row.tries.keys() <= tries


def streams(*all_payments: Payments) -> int:
    """Return how many streams were opened."""
    received = [request for each in all_payments for request in each.rabbit.control.requests()]
    return sum(request["endpoint"] == "stream" for request in received)


def holders(payments: Payments) -> set[int | None]:
    """Return the ids of the triggerers that hold the waits; None for what nobody holds."""
    return {task.triggerer for task in payments.tasks()}


@pytest.mark.quick
def test_workers_killed(cluster: Cluster, take: Take, keep: Keep) -> None:
    completing, after = Payments(cluster, "deferred", held(take())), Payments(cluster, "in_worker", held(take()))
    for each in (completing, after):
        each.wait_until("the wait begins", lambda it=each: streams(it) == 1)
    completing.wait_until("the trigger has read the run", lambda: completing.rabbit.received("get_run") == 1)
    completing.rabbit.control.fault("get_run", delay=HELD_BACK)  # for the worker that resumes
    before, during = take(), take()
    before.control.fault("update", delay=HELD_BACK, reset=True)
    during.control.fault("trigger", delay=HELD_BACK, obey=True)
    before, during = (Payments(cluster, "in_worker", rabbit) for rabbit in (before, during))
    hold(completing.rabbit, False)
    before.wait_until("the update is sent, and held back", lambda: not before.rabbit.control.faults())
    during.wait_until("the trigger is obeyed, and its answer held back", lambda: during.runs() == 1)
    completing.wait_until("the worker has asked for the run", lambda: not completing.rabbit.control.faults())
    assert (before.runs(), during.count("running"), after.count("running")) == (0, 1, 1)
    since = now()
    for name in WORKERS:
        cluster.kill(name)
    cluster.start_again(*WORKERS)
    hold(after.rabbit, False)

    check(row("worker killed before the POST", since, 1, before), keep, tries={2})
    check(row("worker killed while a POST is answered", since, 1, during), keep, tries={2}, state="failed")
    check(row("worker killed after the POST", since, 1, after), keep, tries={2})
    check(row("worker killed in execute_complete", since, 1, completing), keep, tries={2})
    assert UNKNOWN in during.log(2)
    assert RESUMES in after.log(2)
    assert RESUMES in completing.log(2)


@pytest.mark.quick
def test_a_message_is_delivered_twice(cluster: Cluster, take: Take, keep: Keep) -> None:
    payments = Payments(cluster, "in_worker", held(take()))
    since = now()
    payments.wait_until("the wait begins", lambda: streams(payments) == 1)
    payments.wait_until("a second delivery", lambda: cluster.deliveries(payments) == 2)
    hold(payments.rabbit, False)

    check(row("message delivered twice", since, 1, payments), keep, tries={1})
    assert streams(payments) == 1


def test_redis_is_killed(cluster: Cluster, take: Take, keep: Keep) -> None:
    waiting = Payments(cluster, "mapped", held(take()), count=10)
    in_worker = Payments(cluster, "in_worker", held(take()))
    waiting.wait_for_state("deferred", 10)
    in_worker.wait_until("the wait begins", lambda: streams(in_worker) == 1)
    since = now()
    # More than the workers have room for: some are in Redis only.
    queued = Payments(cluster, "mapped", take(), count=20)
    queued.wait_until("a worker to be busy", lambda: queued.count("running") > 0)
    lost = queued.count("queued")
    cluster.redis.kill()
    for each in (waiting, in_worker):
        hold(each.rabbit, False)
    time.sleep(10)
    cluster.redis.start()

    assert lost
    # Airflow fails a try that it cannot queue, and one whose message was lost.
    check(row("Redis killed, 10 wait", since, 10, waiting), keep, tries=ANY_TRY)
    check(row("Redis killed, a worker waits", since, 1, in_worker), keep, tries=ANY_TRY)
    check(row("Redis killed, 20 are queued", since, 20, queued), keep, tries=ANY_TRY)


def test_postgres_is_restarted(cluster: Cluster, take: Take, keep: Keep) -> None:
    waiting = Payments(cluster, "mapped", held(take()), count=50)
    waiting.wait_for_state("deferred", 50)
    waiting.wait_until("all streams", lambda: streams(waiting) >= 50)
    rabbit = take()
    rabbit.control.fault("trigger", delay=8, obey=True)
    posting = Payments(cluster, "in_worker", rabbit)
    posting.wait_until("the trigger is obeyed, and its answer held back", lambda: posting.runs() == 1)
    since = now()
    cluster.postgres.stop()
    hold(waiting.rabbit, False)
    time.sleep(12)
    cluster.postgres.start()

    check(row("PostgreSQL restarted while a POST is answered", since, 1, posting), keep, tries={1, 2})
    check(row("PostgreSQL restarted while 50 wait", since, 50, waiting), keep, tries={1, 2})


def test_a_triggerer_is_killed(cluster: Cluster, take: Take, keep: Keep) -> None:
    payments = Payments(cluster, "mapped", held(take()), count=200)
    payments.wait_for_state("deferred", 200)
    payments.wait_until("all streams", lambda: streams(payments) >= 200)
    assert len(holders(payments)) == 2
    since = now()
    cluster.kill("triggerer-2")
    cluster.start_again("triggerer-2")
    hold(payments.rabbit, False)

    check(row("triggerer killed, 200 wait", since, 200, payments), keep, tries={1})


@pytest.mark.quick
def test_a_triggerer_freezes(cluster: Cluster, take: Take, keep: Keep) -> None:
    payments = Payments(cluster, "mapped", held(take()), count=20)
    payments.wait_for_state("deferred", 20)
    payments.wait_until("all streams", lambda: streams(payments) >= 20)
    assert len(holders(payments)) == 2
    opened = streams(payments)
    since = now()
    cluster.freeze("triggerer-2")
    cluster.wait_for(lambda: len(cluster.alive("TriggererJob", TRIGGERER_THRESHOLD)) == 1, 60, "it to be late")
    payments.wait_until("the other to take over", lambda: streams(payments) > opened)
    payments.wait_until("one holder", lambda: len(holders(payments)) == 1)
    cluster.thaw("triggerer-2")
    hold(payments.rabbit, False)

    check(row("triggerer frozen past its heartbeat, and woken", since, 20, payments), keep, tries={1})


def test_a_scheduler_is_killed(cluster: Cluster, take: Take, keep: Keep) -> None:
    waiting = Payments(cluster, "mapped", held(take()), count=10)
    waiting.wait_for_state("deferred", 10)
    since = now()
    starting = Payments(cluster, "mapped", take(), count=20)
    starting.wait_until("half of them are under way", lambda: starting.count("running") >= 5)
    cluster.kill("scheduler-2")
    hold(waiting.rabbit, False)
    alive = lambda: len(cluster.alive("SchedulerJob", SCHEDULER_THRESHOLD))  # noqa: E731
    cluster.wait_for(lambda: alive() == 1, 60, "the killed scheduler to be taken for dead")
    cluster.start_again("scheduler-2")

    check(row("scheduler killed, 10 wait", since, 10, waiting), keep, tries={1})
    check(row("scheduler killed, 20 are starting", since, 20, starting), keep, tries={1, 2})


def test_the_api_server_is_away(cluster: Cluster, take: Take, keep: Keep) -> None:
    waiting = Payments(cluster, "mapped", held(take()), count=20)
    in_worker = Payments(cluster, "in_worker", held(take()))
    waiting.wait_for_state("deferred", 20)
    in_worker.wait_until("the wait begins", lambda: streams(in_worker) == 1)
    since = now()
    cluster.kill("api-server")
    for each in (waiting, in_worker):
        hold(each.rabbit, False)
    time.sleep(30)
    cluster.start_again("api-server")

    # Airflow fails a try that cannot begin, and restarts take longer on a busy machine.
    check(row("API server away for 30 s, 20 wait", since, 20, waiting), keep, tries=ANY_TRY)
    # A try that Airflow has given up, and cannot tell so, may still note the end.
    check(row("API server away for 30 s, a worker waits", since, 1, in_worker), keep, tries=ANY_TRY, ends=2)


def test_white_rabbit_is_away(cluster: Cluster, gated: Gated, distant: Distant, keep: Keep) -> None:
    for rabbit in (gated, distant):
        hold(rabbit)
    refused = [Payments(cluster, "mapped", gated, count=20), Payments(cluster, "in_worker", gated)]
    lost = [Payments(cluster, "mapped", distant, count=20), Payments(cluster, "in_worker", distant)]
    for each in (refused, lost):
        each[0].wait_until("all streams", lambda it=each: streams(it[0]) >= 21)
    since = now()
    gated.gate.refuse()
    distant.way.cut_off()
    starting = [Payments(cluster, "deferred", rabbit) for rabbit in (gated, distant)]
    time.sleep(60)
    gated.gate.open()
    distant.way.connect()
    for rabbit in (gated, distant):
        hold(rabbit, False)

    for waiting, last, what in (
        (refused, starting[0], "White Rabbit refuses connections for 60 s"),
        (lost, starting[1], "network split for 60 s"),
    ):
        seen = row(f"{what}: 21 wait, 1 starts", since, 22, *waiting, last)
        check(seen, keep, tries=ANY_TRY)
        assert seen.tries[1] >= 21


def held(rabbit: Rabbit) -> Rabbit:
    """Return the sandbox, whose runs do not end before they are let go."""
    hold(rabbit)
    return rabbit
