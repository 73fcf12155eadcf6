"""DAG runs that overlap on two workers, each with its own value of a config that all runs share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from e2e.rabbit import Rabbit

from airflow_provider_wr.hooks.wr import WRHook

from .cluster import Cluster, Payments, Row, now, row

#: How many DAG runs are started at once.
RUNS = 20

REFUSED = "nothing was sent, since "


def asked_and_paid(payments: list[Payments]) -> dict[int, int | None]:
    """Return how many payments each DAG run made, by how many it was asked for; None where it started no run."""
    paid: dict[int, int | None] = {}
    for asked, each in enumerate(payments, 1):
        sql = "SELECT value FROM xcom WHERE dag_id = %s AND run_id = %s AND key = 'run_id'"
        found = each.cluster.query(sql, each.dag_id, each.run_id)
        paid[asked] = None
        if found:
            ((run_id,),) = found
            with WRHook(each.rabbit.conn_id) as hook:
                modules = [stage.module for stage in hook.get_run(run_id.strip('"')).stages]
            paid[asked] = modules.count("SEND_EVM_TRANSACTION")
    return paid


def test_runs_in_turn_have_their_own_values(
    cluster: Cluster, take: Callable[[], Rabbit], keep: Callable[[Row], None]
) -> None:
    cluster.make_pool("wr_one_at_a_time", 1, include_deferred=True)
    rabbit, since = take(), now()
    payments = [Payments(cluster, "in_turn", rabbit, count=number) for number in range(1, RUNS + 1)]
    seen = row("20 DAG runs at once, in a pool of one slot", since, RUNS, *payments)
    keep(seen)

    assert asked_and_paid(payments) == {number: number for number in range(1, RUNS + 1)}
    assert (seen.started, seen.ends) == (RUNS, Counter(success=RUNS))


def test_an_update_that_would_reach_the_run_of_another_is_not_sent(
    cluster: Cluster, take: Callable[[], Rabbit], keep: Callable[[Row], None]
) -> None:
    rabbit, since = take(), now()
    rabbit.configure(hold=True)
    payments = [Payments(cluster, "guarded", rabbit, count=1)]
    payments[0].wait_for_state("deferred")
    payments += [Payments(cluster, "guarded", rabbit, count=number) for number in range(2, RUNS + 1)]
    for each in payments[1:]:
        each.end()
    rabbit.configure(hold=False)
    seen = row("20 DAG runs without a pool, one of which came first", since, 1, *payments)
    keep(seen)

    assert asked_and_paid(payments) == {1: 1, **dict.fromkeys(range(2, RUNS + 1))}
    assert (seen.started, seen.ends) == (1, Counter(success=1, failed=RUNS - 1))
    assert all(REFUSED in each.log(1) for each in payments[1:])
