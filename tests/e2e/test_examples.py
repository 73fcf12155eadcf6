"""The behaviour of the example DAGs that needs a scheduler, workers and a triggerer; tests/dags has the rest."""

from __future__ import annotations

from dev.local_airflow import LocalAirflow

from .dagrun import PATIENCE, DagRun, shared_api
from .rabbit import Rabbit


def test_a_run_that_completes_updates_an_asset_which_starts_the_other_dag(
    airflow: LocalAirflow, default_rabbit: Rabbit
) -> None:
    default_rabbit.configure(seconds=5)
    api, consumer_id = shared_api(airflow.url), "example_wr_asset_consumer"
    producer = DagRun(airflow, "example_wr_asset_producer")
    assert producer.end() == "success"
    (started,) = api.wait_for(lambda: api.dag_runs(consumer_id), PATIENCE, f"a run of {consumer_id}")
    consumer = DagRun(airflow, consumer_id, run_id=started["dag_run_id"])
    assert consumer.end() == "success"

    assert started["run_type"] == "asset_triggered"
    run = producer.xcom("pay", "run")
    payments = [stage["output"] for stage in run["runStages"] if stage["module"] == "SEND_EVM_TRANSACTION"]
    assert consumer.xcom("book_payments") == [
        {
            "runId": producer.xcom("pay"),
            "transactions": [payment["transactionHash"] for payment in payments],
            "credits": 14,
        }
    ]
    assert len(payments) == 5


def test_a_wait_uses_no_worker_from_its_start_to_its_end(airflow: LocalAirflow, default_rabbit: Rabbit) -> None:
    default_rabbit.configure(seconds=8)
    dag_run = DagRun(airflow, "example_wr_zero_workers")
    dag_run.wait_until("the wait", lambda: "wait_for_run" in dag_run.deferred_without_process())
    assert dag_run.end() == "success"

    assert dag_run.xcom("wait_for_run")["id"] == dag_run.xcom("trigger_run")
    assert [dag_run.workers(task_id) for task_id in ("trigger_run", "wait_for_run", "inspect_stages")] == [1, 0, 1]


def test_the_runs_of_a_fan_out_take_turns(airflow: LocalAirflow, default_rabbit: Rabbit) -> None:
    default_rabbit.configure(seconds=2)
    dag_run = DagRun(airflow, "example_wr_fan_out", suppliers=[3, 1, 2])
    assert dag_run.end() == "success"

    # With another run's config, a run would have made as many payments as that one.
    assert dag_run.xcom("total")["paid"] == [3, 1, 2]
    assert len(default_rabbit.control.runs()) == 3
