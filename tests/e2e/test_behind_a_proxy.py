"""A proxy forwards a trigger and loses the answer: one run is started, and no retry starts another."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
import requests
from servers import Peer, RawServer, Request

from dev.local_airflow import LocalAirflow

from .dagrun import DagRun
from .rabbit import Rabbit

#: What the proxy does instead of answering.
LOSSES: dict[str, Callable[[Peer], None]] = {"closes": Peer.close, "resets": Peer.reset, "is silent": Peer.hang}


def proxy(lose: Callable[[Peer], None]) -> RawServer:
    """Return a proxy that forwards all requests, and all answers except those to a trigger."""

    def pass_on(request: Request, peer: Peer) -> None:
        with requests.Session() as session:
            session.trust_env = False
            answer = session.request(
                request.method, request.target, headers=request.headers, data=request.body, timeout=30
            )
        if request.is_trigger:
            lose(peer)
        else:
            peer.answer(answer.status_code, answer.content)

    return RawServer(pass_on)


def play(
    lose: Callable[[Peer], None], airflow: LocalAirflow, rabbit: Rabbit
) -> tuple[DagRun, Rabbit, list[Request]]:
    with proxy(lose) as server:
        dag_run = DagRun(airflow, "behind_a_proxy", conn_id=rabbit.conn_id, proxy=server.url)
        dag_run.end()
        return dag_run, rabbit, server.requests


@pytest.fixture(scope="module")
def played(
    airflow: LocalAirflow, take_rabbit: Callable[[], Rabbit]
) -> dict[str, Future[tuple[DagRun, Rabbit, list[Request]]]]:
    """All cases, at the same time."""
    with ThreadPoolExecutor() as pool:
        return {name: pool.submit(play, lose, airflow, take_rabbit()) for name, lose in LOSSES.items()}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_lost_answer_starts_one_run_and_is_not_retried(
    loss: str, played: dict[str, Future[tuple[DagRun, Rabbit, list[Request]]]]
) -> None:
    dag_run, rabbit, requests = played[loss].result()
    (task,) = dag_run.tasks()

    assert len(rabbit.control.runs()) == 1
    assert [request.is_trigger for request in requests] == [False, True]  # the update, and one trigger
    assert (task["state"], task["try_number"], task["max_tries"]) == ("failed", 1, 3)
    assert "WRTriggerUnknownError: " in dag_run.log("pay", 1)
