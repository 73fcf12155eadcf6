"""What a run's page says, and where it has it from."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from dags.running import DagRun, run_tasks
from fastapi.testclient import TestClient
from hooks.conftest import Connect
from servers import API_KEY, RUN_ID, Peer, RawServer, free_port, run

from airflow_provider_wr.plugin import live, shown

from .conftest import change_task, page_of

EXECUTION_ID = "5f0c2b1a-1111-4222-8333-944455556666"

LogIn = Callable[[str], TestClient]
Answer = dict[str, Any]

STAGES: list[dict[str, Any]] = [
    {
        "id": "s0",
        "module": "HTTP_REQUEST",
        "status": "COMPLETED",
        "executionAttempt": 1,
        "creditUsage": 1,
        "executionDispatchedAt": "2026-01-01T00:00:01.000Z",
        "updatedAt": "2026-01-01T00:00:03.500Z",
        "output": {"rate": 1.5},
    },
    {
        "id": "s1",
        "module": "SEND",
        "status": "FAILED",
        "executionAttempt": 2,
        "creditUsage": 2,
        "executionDispatchedAt": "2026-01-01T00:00:04.000Z",
        "updatedAt": "2026-01-01T00:00:05.000Z",
        "error": {"message": "insufficient funds"},
    },
    {"id": "s2", "module": "NOTIFY", "status": "CREATED", "updatedAt": "2026-01-01T00:00:00.000Z"},
]


class Rabbit:
    """A White Rabbit with one run, which is what a test makes of it."""

    def __init__(self) -> None:
        self.run: Any = run("COMPLETED", runStages=STAGES)
        self.answer: Callable[[Peer], None] = lambda peer: peer.answer(200, self.run)
        self.server = RawServer(lambda request, peer: self.answer(peer))


@pytest.fixture
def rabbit(connect: Connect) -> Iterator[Rabbit]:
    rabbit = Rabbit()
    live._known.clear()
    connect(rabbit.server.url)
    with rabbit.server:
        yield rabbit


@pytest.fixture
def wait(rabbit: Rabbit, airflow_db: None) -> Callable[..., DagRun]:
    """A function that has a task end with the run, and then says that it has not: that it still waits."""

    def wait(
        options: str = "", *, state: str = "deferred", without: tuple[str, ...] = ("return_value",)
    ) -> DagRun:
        rabbit.run = {**rabbit.run, "status": "COMPLETED"}
        done = run_tasks(f"WRGetRunOperator(task_id='wait', run_id=RUN_ID, {options})")
        assert done.state == "success"
        change_task(done, state, without=without)
        rabbit.server.requests.clear()
        return done

    return wait


@pytest.fixture
def look(log_in: LogIn) -> Callable[..., Answer]:
    """A function that returns what the page of a task shows."""

    def look(done: DagRun, **params: Any) -> Answer:
        answer = log_in(done.dag_id).get(f"{page_of(done)}run", params=params)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    return look


Wait = Callable[..., DagRun]
Look = Callable[..., Answer]

# --- where it is read -------------------------------------------------------------------------------------


def test_while_the_task_waits_the_run_is_read_from_white_rabbit(rabbit: Rabbit, wait: Wait, look: Look) -> None:
    done = wait()
    rabbit.run = run("EXECUTING", runStages=STAGES, totalUsage="3.5")
    answer = look(done)
    assert (answer["source"], answer["again"], answer["notes"]) == ("live", pytest.approx(1, abs=1), [])
    assert (answer["task"]["state"], answer["connection"]) == ("deferred", "wr_default")
    seen = answer["run"]
    assert (seen["id"], seen["status"], seen["is_over"], seen["credits"]) == (RUN_ID, "EXECUTING", False, "3.5")
    assert seen["counts"] == {"COMPLETED": 1, "FAILED": 1, "CREATED": 1}
    assert rabbit.server.count() == 1


def test_when_the_task_has_ended_its_xcom_is_shown_and_nobody_is_asked(
    rabbit: Rabbit, wait: Wait, look: Look
) -> None:
    done = wait(state="success", without=())
    answer = look(done)
    assert (answer["source"], answer["again"], answer["run"]["status"]) == ("xcom", None, "COMPLETED")
    assert time.time() - answer["read_at"] / 1000 < 60
    assert rabbit.server.count() == 0


@pytest.mark.parametrize("ends", ["COMPLETED", "FAILED", "CANCELED"])
def test_a_task_that_ended_without_an_xcom_shows_what_white_rabbit_says(
    rabbit: Rabbit, wait: Wait, look: Look, ends: str
) -> None:
    """As a sensor whose run failed."""
    done = wait(state="failed")
    rabbit.run = run(ends, runStages=STAGES)
    answer = look(done)
    assert (answer["source"], answer["again"], answer["run"]["status"]) == ("live", None, ends)


def test_a_run_that_goes_on_after_its_task_is_looked_at_less_often(rabbit: Rabbit, wait: Wait, look: Look) -> None:
    """As that of a task that only starts runs."""
    done = wait(state="success")
    rabbit.run = run("EXECUTING")
    assert look(done)["again"] >= 5


def test_all_who_look_share_one_read(rabbit: Rabbit, wait: Wait, log_in: LogIn) -> None:
    done = wait()
    rabbit.run = run("EXECUTING", runStages=STAGES)

    def answer(peer: Peer) -> None:
        time.sleep(0.5)
        peer.answer(200, rabbit.run)

    rabbit.answer = answer
    client = log_in(done.dag_id)
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: client.get(f"{page_of(done)}run").json(), range(20)))
    assert {each["run"]["status"] for each in answers} == {"EXECUTING"}
    assert rabbit.server.count() == 1


def test_nobody_looks_again_before_ten_times_what_a_look_took(rabbit: Rabbit, wait: Wait, look: Look) -> None:
    done = wait()
    rabbit.run = run("EXECUTING")

    def answer(peer: Peer) -> None:
        time.sleep(0.3)
        peer.answer(200, rabbit.run)

    rabbit.answer = answer
    assert look(done)["again"] > 3


def test_a_xcom_of_another_run_is_not_shown(rabbit: Rabbit, wait: Wait, look: Look) -> None:
    done = wait(state="success", without=())
    change_xcom(done, "return_value", {**run("COMPLETED"), "id": "9e4c7b1a-2222-4222-8333-944455556666"})
    rabbit.run = run("FAILED")
    answer = look(done)
    assert (answer["source"], answer["run"]["id"], answer["run"]["status"]) == ("live", RUN_ID, "FAILED")


@pytest.mark.parametrize("as_text", [False, True])
def test_airflow_keeps_an_xcom_as_json_or_as_the_text_of_it(
    wait: Wait, look: Look, rabbit: Rabbit, as_text: bool
) -> None:
    done = wait(state="success", without=())
    stored = run("CANCELED", cancelReason="too slow")
    change_xcom(done, "return_value", json.dumps(stored) if as_text else stored)
    answer = look(done)
    assert (answer["source"], answer["run"]["cancel_reason"]) == ("xcom", "too slow")


def change_xcom(done: DagRun, key: str, value: Any) -> None:
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import update

    with create_session() as session:
        query = update(XComModel).where(XComModel.dag_id == done.dag_id, XComModel.key == key)
        session.execute(query.values(value=value).execution_options(synchronize_session=False))


# --- an execution of a component --------------------------------------------------------------------------


def execution(status: str, **fields: Any) -> dict[str, Any]:
    return {
        "id": EXECUTION_ID,
        "module": "API_CALL",
        "status": status,
        "output": None,
        "error": None,
        "totalUsage": 1,
        "createdAt": "2026-01-01T00:00:01.000Z",
        "updatedAt": "2026-01-01T00:00:03.500Z",
        **fields,
    }


@pytest.mark.parametrize(
    "task",
    [
        "WRComponentExecutionSensor(task_id='wait', execution_id={id!r})",
        "WRExecuteComponentOperator(task_id='wait', module='API_CALL', wait_for_completion=True)",
    ],
    ids=["sensor", "operator"],
)
def test_an_execution_of_a_component_is_shown_as_one_stage(
    rabbit: Rabbit, airflow_db: None, look: Look, log_in: LogIn, task: str
) -> None:
    rabbit.run = execution("COMPLETED", output={"rate": 1.5})
    done = run_tasks(task.format(id=EXECUTION_ID))
    assert done.state == "success", done.errors
    answer = look(done)
    assert (answer["noun"], answer["source"], answer["again"]) == ("Execution", "xcom", None)
    assert (answer["run"]["id"], answer["run"]["status"], answer["run"]["credits"]) == (
        EXECUTION_ID,
        "COMPLETED",
        "1",
    )
    (stage,) = answer["stages"]
    assert (stage["module"], stage["status"], stage["end"] - stage["start"]) == ("API_CALL", "COMPLETED", 2500)
    client = log_in(done.dag_id)
    assert json.loads(client.get(f"{page_of(done)}stages/0").json()["output"]["text"]) == {"rate": 1.5}


def test_an_execution_is_read_from_white_rabbit_while_its_task_waits(
    rabbit: Rabbit, airflow_db: None, look: Look
) -> None:
    rabbit.run = execution("COMPLETED")
    done = run_tasks(f"WRComponentExecutionSensor(task_id='wait', execution_id={EXECUTION_ID!r})")
    change_task(done, "deferred", without=("return_value",))
    rabbit.run = execution("EXECUTING")
    answer = look(done)
    assert (answer["source"], answer["run"]["status"], answer["run"]["counts"]) == (
        "live",
        "EXECUTING",
        {"RUNNING": 1},
    )


# --- what it cannot know ----------------------------------------------------------------------------------


def test_it_says_that_the_api_server_lacks_the_connection(
    wait: Wait, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = wait()
    live._known.clear()
    monkeypatch.delenv("AIRFLOW_CONN_WR_DEFAULT")
    answer = look(done)
    assert (answer["run"], answer["id"], answer["again"]) == (None, RUN_ID, 5)
    assert answer["notes"][0].startswith("Airflow's API server cannot use the connection 'wr_default': ")
    assert "isn't defined" in answer["notes"][0]


def test_it_says_that_the_api_server_cannot_reach_white_rabbit(wait: Wait, look: Look, connect: Connect) -> None:
    done = wait()
    live._known.clear()
    connect(f"http://127.0.0.1:{free_port()}")
    answer = look(done)
    assert answer["run"] is None
    assert answer["notes"][0].startswith("Airflow's API server cannot read the run from White Rabbit: ")
    assert "connection refused" in answer["notes"][0].lower()


@pytest.mark.parametrize(("status", "says"), [(401, "Invalid API key"), (404, "404"), (503, "503")])
def test_it_says_what_white_rabbit_answered(
    rabbit: Rabbit, wait: Wait, look: Look, status: int, says: str
) -> None:
    done = wait()
    body = {"error": "X", "message": f"Invalid API key {API_KEY}" if status == 401 else ""}
    rabbit.answer = lambda peer: peer.answer(status, body)
    notes = " ".join(look(done)["notes"])
    assert says in notes
    assert API_KEY not in notes


def test_it_waits_as_long_as_white_rabbit_asks_for(rabbit: Rabbit, wait: Wait, look: Look) -> None:
    done = wait()
    rabbit.answer = lambda peer: peer.answer(429, b"", {"Retry-After": "30"})
    assert look(done)["again"] == 30


def test_what_was_seen_before_stays_when_white_rabbit_is_away(
    rabbit: Rabbit, wait: Wait, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_wr.plugin.snapshot.LIVE", 0.01)
    monkeypatch.setattr("airflow_provider_wr.plugin.snapshot.REST", 0)
    done = wait()
    rabbit.run = run("EXECUTING", runStages=STAGES)
    before = look(done)
    rabbit.answer = lambda peer: peer.answer(503)
    time.sleep(0.05)
    answer = look(done)
    assert (answer["run"], answer["read_at"]) == (before["run"], before["read_at"])
    assert "503" in answer["notes"][0]


@pytest.mark.parametrize(
    ("state", "says", "again"),
    [("running", "The task has no run yet.", 2), ("failed", "The task ended without a run.", None)],
)
def test_it_says_that_the_task_named_no_run(
    wait: Wait, look: Look, state: str, says: str, again: float | None
) -> None:
    answer = look(wait(state=state, without=("return_value", "wr_page")))
    assert (answer["run"], answer["again"] and round(answer["again"])) == (None, again)
    assert answer["notes"][0].startswith(says)


def test_it_says_that_an_xcom_backend_keeps_the_run(rabbit: Rabbit, wait: Wait, look: Look) -> None:
    done = wait(state="success", without=())
    change_xcom(done, "return_value", "s3://bucket/a/b/return_value")
    answer = look(done)
    assert "in a custom XCom backend" in answer["notes"][0]
    assert (answer["source"], answer["run"]["status"]) == ("live", "COMPLETED")


def test_it_says_where_the_beginning_of_a_stage_is_not_known(rabbit: Rabbit, wait: Wait, look: Look) -> None:
    done = wait()
    rabbit.run = run("EXECUTING", runStages=[{**each, "executionDispatchedAt": None} for each in STAGES])
    answer = look(done)
    assert "did not say when 2 of the stages started" in answer["notes"][0]
    assert [(each["start"], each["end"]) for each in answer["stages"]] == [
        (None, 1767225605000),
        (None, 1767225603500),
        (None, None),
    ]


def test_it_says_that_there_is_no_list_of_stages(rabbit: Rabbit, wait: Wait, look: Look) -> None:
    done = wait()
    rabbit.run = run("EXECUTING", runStages="odd", totalUsage=None)
    answer = look(done)
    assert (answer["run"]["stages"], answer["run"]["credits"]) == (None, None)
    assert "no readable list of stages" in answer["notes"][0]


# --- stages -----------------------------------------------------------------------------------------------


def test_a_stage_has_its_status_attempt_credits_and_times(rabbit: Rabbit, wait: Wait, look: Look) -> None:
    done = wait()
    rabbit.run = run("EXECUTING", runStages=STAGES)
    failed, completed, created = look(done)["stages"]
    assert failed == {
        "number": 1,
        "id": "s1",
        "module": "SEND",
        "status": "FAILED",
        "attempt": 2,
        "credits": "2",
        "start": 1767225604000,
        "end": 1767225605000,
        "error": "insufficient funds",
    }
    assert (completed["id"], completed["end"] - completed["start"]) == ("s0", 2500)
    assert (created["start"], created["end"], created["credits"]) == (None, None, None)


def test_ten_thousand_stages_come_in_pages_those_that_failed_first(rabbit: Rabbit, wait: Wait, look: Look) -> None:
    done = wait()
    stages = [{**STAGES[0], "id": str(n), "executionDispatchedAt": 1767225600000 + n} for n in range(10_000)]
    for n in (77, 9_999):
        stages[n] = {**stages[n], "status": "FAILED"}
    rabbit.run = run("EXECUTING", runStages=stages)
    first, second, last = look(done), look(done, page=1), look(done, page=1_000)
    assert [each["number"] for each in first["stages"][:4]] == [77, 9_999, 0, 1]
    assert [each["number"] for each in second["stages"][:2]] == [99, 100]
    assert (first["pages"], first["matching"], len(first["stages"])) == (100, 10_000, 100)
    assert (last["page"], last["first"], last["stages"][-1]["number"]) == (99, 9_901, 9_998)
    failed = look(done, status="FAILED")
    assert [each["number"] for each in failed["stages"]] == [77, 9_999]
    assert len(json.dumps(first)) < 40_000
    assert rabbit.server.count() == 1


def test_an_output_is_shown_where_the_task_keeps_it(rabbit: Rabbit, wait: Wait, log_in: LogIn) -> None:
    done = wait()
    rabbit.run = run("EXECUTING", runStages=STAGES)
    client = log_in(done.dag_id)
    stage = client.get(f"{page_of(done)}stages/0").json()
    assert (json.loads(stage["output"]["text"]), stage["error"]) == ({"rate": 1.5}, None)
    assert json.loads(client.get(f"{page_of(done)}stages/1").json()["error"]["text"]) == {
        "message": "insufficient funds"
    }
    assert client.get(f"{page_of(done)}stages/3").status_code == 404


@pytest.mark.parametrize("options", ["stage_outputs=False", "do_xcom_push=False"])
def test_outputs_that_the_task_keeps_out_of_airflow_are_not_shown(
    rabbit: Rabbit, wait: Wait, log_in: LogIn, look: Look, options: str
) -> None:
    done = wait(options)
    rabbit.run = run("EXECUTING", runStages=STAGES)
    assert "The task keeps no outputs in Airflow" in " ".join(look(done)["notes"])
    text = log_in(done.dag_id).get(f"{page_of(done)}stages/0").text
    assert (json.loads(text)["output"], json.loads(text)["hidden"]) == (None, True)
    assert "1.5" not in text


HOSTILE = [
    pytest.param("<script>alert(1)</script>", "<script>alert(1)</script>", False, id="script"),
    pytest.param("\u202egnp.exe\u2066", "\\u202egnp.exe\\u2066", False, id="direction"),
    pytest.param("\0\x1b[31m\ud800", "\\x00\\x1b[31m\\ud800", False, id="control"),
    pytest.param("x" * 10_000_000, "x" * shown.MAX_DOCUMENT, True, id="10 MB"),
    pytest.param(f"a {API_KEY} b", "a *** b", False, id="API key"),
]


@pytest.mark.parametrize(("output", "expected", "cut"), HOSTILE)
def test_a_hostile_output_is_bounded_and_plain_to_see(
    rabbit: Rabbit, wait: Wait, log_in: LogIn, output: str, expected: str, cut: bool
) -> None:
    done = wait()
    rabbit.run = run("EXECUTING", runStages=[{**STAGES[0], "output": output, "error": {"a": output}}])
    answer = log_in(done.dag_id).get(f"{page_of(done)}stages/0")
    assert answer.json()["output"]["cut"] is cut
    text = answer.json()["output"]["text"]
    if "\\ud800" in expected:  # what is read of half a character depends on the parser
        text = text[: -len("\\ud800")] if text.endswith("\\ud800") else text.rstrip("\ufffd")
        expected = expected.removesuffix("\\ud800")
    assert text == expected
    assert len(answer.content) < 500_000
    assert API_KEY not in answer.text


def test_a_value_that_is_nested_deeply_is_cut(rabbit: Rabbit, wait: Wait, log_in: LogIn) -> None:
    done = wait()
    deep = "[" * 5_000 + "]" * 5_000
    text = json.dumps(run("EXECUTING", runStages=[{**STAGES[0], "output": "DEEP"}])).replace('"DEEP"', deep)
    rabbit.answer = lambda peer: peer.answer(200, text)
    assert log_in(done.dag_id).get(f"{page_of(done)}stages/0").status_code == 200


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-01T00:00:00.000Z", 1767225600000),
        ("2026-01-01T01:00:00+01:00", 1767225600000),
        ("2026-01-01T00:00:00", 1767225600000),
        ("2026-01-01T00:00:00.1234567Z", 1767225600123),
        ("1767225600", 1767225600000),
        ("1767225600000", 1767225600000),
        ("1767225600.5", 1767225600500),
        ("yesterday", None),
        ("", None),
        ("nan", None),
        ("inf", None),
        ("-5", None),
        ("9" * 400, None),
        (None, None),
    ],
)
def test_a_time_is_read_in_whatever_form(text: str | None, expected: int | None) -> None:
    assert shown.milliseconds(text) == expected
