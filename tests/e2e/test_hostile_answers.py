"""
Answers that Airflow cannot store, in each mode, do not affect healthy waits or the triggerer.

On PostgreSQL, which is stricter than SQLite.
"""

from __future__ import annotations

import json
import os
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from servers import STREAM_HEAD, Peer, RawServer, Request

from dev.airflow_api import Json
from dev.local_airflow import LocalAirflow, children
from dev.postgres import postgres

from .conftest import SETTINGS, PrintTable, new_home
from .dagrun import DagRun

DAGS = "dags_hostile"

#: With characters that JSON and URLs escape.
KEY = 'ws_4f0c"/+=1b2d9e7a'

MODES = ("poke", "deferred", "from_trigger", "operator")
DEFERRED = {"deferred", "from_trigger", "operator"}
HEALTHY = 20


@dataclass(frozen=True)
class Case:
    """A hostile answer to a read of a run, and the expected result."""

    name: str
    body: str
    """With RUN for the run's id."""
    status: int = 200
    ends: str = "success"
    says: tuple[str, ...] = ()
    """What the log of each task has, besides the line that another mode has in its place."""
    output: Any = None
    """The first stage's in the XCom; None for no XCom of the run."""
    workflow_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    released: threading.Event = field(default_factory=threading.Event)


def ended(output: str, *, status: str = "COMPLETED", error: str = "null") -> str:
    stage = f'{{"id": "s", "module": "M", "status": "{status}", "output": {output}, "error": {error}}}'
    return f'{{"id": "RUN", "status": "{status}", "runStages": [{stage}]}}'


def deep(levels: int) -> str:
    return '{"a":' + "[" * levels + r'"\u0000"' + "]" * levels + "}"


def text_at(levels: int, kept: Any) -> Any:
    for _ in range(levels):
        kept = [kept]
    return {"a": kept}


TEXT = "characters that a database cannot store are replaced with U+FFFD"
ECHO = json.dumps(KEY)
REFUSED = {"status": 401, "ends": "failed"}

CASES = [
    Case(
        "refused",
        r'{"error": "UNAUTHORIZED", "message": "Invalid API key", "hint": "x\u0000y"}',
        says=("WRAuthError", "401 Invalid API key"),
        **REFUSED,  # type: ignore[arg-type]
    ),
    Case(
        "refused_half_a_pair",
        r'{"errors": [{"code": "\ud83d", "message": "no \ud83d\u0000"}], "__classname__": 1, "n": 1e999}',
        says=("WRAuthError", r"401 no \ud83d\x00"),
        **REFUSED,  # type: ignore[arg-type]
    ),
    Case(
        "refused_with_the_key",
        f'{{"error": "UNAUTHORIZED", "message": {ECHO}, "headers": {{"x-api-key": {ECHO}}}}}',
        says=("WRAuthError", "401 ***"),
        **REFUSED,  # type: ignore[arg-type]
    ),
    Case(
        "nul",
        ended(r'{"symbol": "USDC\u0000"}'),
        says=(f"in its XCom: runStages[0].output.symbol: {TEXT}",),
        output={"symbol": "USDC\ufffd"},
    ),
    Case(
        "half_a_pair",
        ended(r'{"memo": "cut \ud83d", "\ud83d\u0000": 1}'),
        says=(f"in its XCom: runStages[0].output.memo: {TEXT}",),
        output={"memo": "cut \ufffd", "\ufffd\ufffd": 1},
    ),
    Case(
        "wei",
        ended('{"balance": 20000000000000000000, "debt": -20000000000000000000, "most": 18446744073709551615}'),
        says=("in its XCom: runStages[0].output.balance: an integer beyond 64 bits is kept as a string",),
        output={"balance": "20000000000000000000", "debt": "-20000000000000000000", "most": 2**64 - 1},
    ),
    Case("no_number", ended('{"n": NaN, "i": -Infinity}'), output={"n": "NaN", "i": "-Infinity"}),
    Case(
        "class",
        ended('{"__classname__": "airflow.models.dag.DAG", "__version__": 1, "b": {"__type": "x", "__var": 1}}'),
        says=("the key was '__classname__', which Airflow cannot store",),
        output={
            "___classname__": "airflow.models.dag.DAG",
            "___version__": 1,
            "b": {"___type": "x", "___var": 1},
        },
    ),
    Case("deep", ended(deep(150)), output=text_at(96, "[" * 54 + r'"\u0000"' + "]" * 54)),
    Case("deeper_than_parsers_go", ended(deep(100_000)), says=("is kept as a string of its JSON",), output=...),
    Case("key", ended(f'{{"sent": {{"x-api-key": {ECHO}}}}}'), output={"sent": {"x-api-key": "***"}}),
    Case(
        "failed",
        ended(r'{"symbol": "USDC\u0000", "balance": 2e400}', status="FAILED", error=r'{"why": "\u0000\ud83d"}'),
        ends="failed",
        says=("WRRunFailedError", "M: "),
        output={"symbol": "USDC\ufffd", "balance": "Infinity"},
    ),
]


class HostileApi:
    """A hostile White Rabbit, with a run for each case and mode, which ends when it is released."""

    def __init__(self) -> None:
        self.streamed: set[str] = set()
        """The runs whose stream was opened."""
        self.healthy = Case("healthy", ended('{"price": 1}'))
        self._cases = {case.name: case for case in (self.healthy, *CASES)}
        self._workflows = {case.workflow_id: case for case in CASES}

    def __call__(self, request: Request, peer: Peer) -> None:
        *_, name = request.target.removesuffix("/stream").split("/")
        if request.is_trigger:
            peer.answer(200, {"runId": f"{self._workflows[name].name}.4", "jobId": "b\0\ud83d"})
            return
        case = self._cases[name.partition(".")[0]]
        if request.is_stream:
            self._stream(name, case, peer)
        elif case.released.is_set():
            peer.answer(case.status, case.body.replace("RUN", name))
        else:
            peer.answer(200, {"id": name, "status": "EXECUTING"})

    def _stream(self, run_id: str, case: Case, peer: Peer) -> None:
        if case.status != 200 and case.released.is_set():
            peer.answer(case.status, case.body.replace("RUN", run_id))
            return
        self.streamed.add(run_id)
        event = json.dumps({"id": run_id, "status": "EXECUTING", "echo": KEY})
        peer.send(STREAM_HEAD, f"data: {event}\n\n", r'data: {"type": "connected", "x": "\u0000"}' + "\n\n")
        while not case.released.wait(5):
            peer.send(":ping\n\n")
        peer.close()


@pytest.fixture(scope="module")
def api() -> Iterator[HostileApi]:
    api = HostileApi()
    with RawServer(api) as server, pytest.MonkeyPatch.context() as patch:
        connection = {"conn_type": "wr", "host": server.url, "password": KEY}
        patch.setenv("AIRFLOW_CONN_WR_HOSTILE", json.dumps(connection))
        yield api
        for case in (api.healthy, *CASES):
            case.released.set()


@dataclass(frozen=True)
class Aftermath:
    """The results after all waits have ended."""

    triggerers: list[list[int]]
    """The processes of the triggerer before and after."""
    healthy: dict[str, str]
    """The state of each healthy wait."""
    hostile: dict[str, DagRun]
    database: str
    logs: str


@pytest.fixture(scope="module")
def aftermath(
    api: HostileApi, postgres_programs: Any, request: pytest.FixtureRequest, print_table: PrintTable
) -> Iterator[Aftermath]:
    """Let each run end while all others wait, and collect the results."""
    dags = request.path.parent / DAGS
    with postgres(postgres_programs) as server, new_home(request.session) as home:
        env = {
            **SETTINGS,
            "AIRFLOW_CONN_WR_HOSTILE": os.environ["AIRFLOW_CONN_WR_HOSTILE"],
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": server.url,
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": server.url,
        }
        with LocalAirflow(home, dags, env=env) as airflow:
            airflow.wait_ready(240)
            healthy = DagRun(airflow, "healthy")
            healthy.wait_for_state("deferred", count=HEALTHY)
            before = triggerer_pids(airflow)
            hostile = {}
            for case in CASES:
                hostile[case.name] = DagRun(airflow, "hostile", case=case.name, workflow_id=case.workflow_id)
                wait_until_all_wait(hostile[case.name], api, case)
                case.released.set()
                hostile[case.name].end()
            api.healthy.released.set()
            healthy.end()
            print_table(
                "How waits for runs with odd answers ended",
                ("answer", *MODES),
                [(name, *(states(run)[mode] for mode in MODES)) for name, run in hostile.items()],
            )
            yield Aftermath(
                [before, triggerer_pids(airflow)],
                states(healthy),
                hostile,
                everything(server.url),
                "".join(log.read_text() for log in (home / "logs").rglob("*.log")),
            )


def wait_until_all_wait(run: DagRun, api: HostileApi, case: Case) -> None:
    """Wait until all streams are open, and the scheduler has noticed: otherwise some may not resume."""

    def all_wait() -> bool:
        return (
            {f"{case.name}.{number}" for number in (2, 3, 4)} <= api.streamed
            and run.deferred_without_process() == DEFERRED
            and states(run)["poke"] == "running"
            and all(run.is_handed_over(task_id, 1) for task_id in ("deferred", "operator"))
        )

    run.wait_until("all to wait", all_wait, every=0.5)


def states(run: DagRun) -> dict[str, str]:
    return {task["task_id"]: task["state"] for task in run.tasks()}


def triggerer_pids(airflow: LocalAirflow) -> list[int]:
    main = airflow._processes.main("triggerer")
    return [main.pid, *(child.pid for child in children(main))]


def everything(url: str) -> str:
    """Return the whole database as text."""
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        tables = connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
        )
        return "\n".join(
            str(row[0])
            for (table,) in tables.fetchall()
            for row in connection.execute(f'SELECT t::text FROM "{table}" t')  # noqa: S608  # type: ignore[arg-type]
        )


def test_every_answer_came_while_the_triggerer_watched(aftermath: Aftermath) -> None:
    for run in aftermath.hostile.values():
        assert [run.trigger_events(mode) for mode in ("deferred", "operator")] == [1, 1]


def test_the_triggerer_lives_on(aftermath: Aftermath) -> None:
    before, after = aftermath.triggerers
    assert before == after
    assert len(before) == 2


def test_all_healthy_waits_end(aftermath: Aftermath) -> None:
    assert aftermath.healthy == {f"wait_{number}": "success" for number in range(HEALTHY)}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_wait_ends_as_it_should(aftermath: Aftermath, case: Case, mode: str) -> None:
    run = aftermath.hostile[case.name]
    assert states(run)[mode] == case.ends
    log = run.log_files(mode, 1)
    for said in case.says:
        assert json.dumps(said, ensure_ascii=False)[1:-1] in log or json.dumps(said)[1:-1] in log
    xcom: Json | None = run.xcom(mode, "run" if mode == "operator" else "return_value")
    if case.output is None or (case.ends == "failed" and mode != "operator"):
        assert xcom is None
    elif case.output is not ...:
        assert xcom is not None
        assert xcom["runStages"][0]["output"] == case.output


def test_the_key_is_nowhere(aftermath: Aftermath) -> None:
    assert "healthy" in aftermath.database
    for form in (KEY, json.dumps(KEY)[1:-1], json.dumps(json.dumps(KEY)[1:-1])[1:-1], KEY.encode().hex()):
        assert form not in aftermath.database
        assert form not in aftermath.logs
