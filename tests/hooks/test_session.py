"""What the waits of one process share: a session, a lookup and a limit. None of them blocks the event loop."""

from __future__ import annotations

import ast
import asyncio
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from typing import Any

import aiohttp
import pytest
from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook
from servers import RUN_ID, STREAM_HEAD, Peer, Request, event, run

from airflow_provider_wr.api import answers, calls, decoding
from airflow_provider_wr.connection import WRSettings
from airflow_provider_wr.exceptions import WRError, WRTimeoutError
from airflow_provider_wr.hooks.wr import WRAsyncHook
from airflow_provider_wr.sandbox.server import Sandbox
from airflow_provider_wr.transport import aiohttp as session
from airflow_provider_wr.transport.aiohttp import SharedSession
from airflow_provider_wr.waiting import rules

from .conftest import Connect, Serve

MANY = 50


@pytest.fixture
def lookups(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts how often each connection was looked up."""
    counted: Counter[str] = Counter()
    load = WRSettings.load

    def count_and_load(conn_id: str, **options: Any) -> WRSettings:
        counted[conn_id] += 1
        return load(conn_id, **options)

    monkeypatch.setattr(WRSettings, "load", count_and_load)
    return counted


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[aiohttp.ClientSession]:
    """All sessions that were opened."""
    opened: list[aiohttp.ClientSession] = []
    new_session = session._new_session

    def note_and_open() -> aiohttp.ClientSession:
        opened.append(new_session())
        return opened[-1]

    monkeypatch.setattr(session, "_new_session", note_and_open)
    return opened


def shared() -> set[str]:
    """Return the connections with a session on this loop."""
    return set(SharedSession._all.get(asyncio.get_running_loop(), {}))


class Gate:
    """An API whose runs end all at once, on demand."""

    def __init__(self) -> None:
        self.streams = 0
        self.opened = threading.Event()

    def __call__(self, request: Request, peer: Peer) -> None:
        if request.is_stream:
            peer.send(STREAM_HEAD, event())
            self.opened.wait(10)
            peer.send(event("COMPLETED"))
            peer.hang()
        else:
            peer.answer(200, run("COMPLETED" if self.opened.is_set() else "EXECUTING"))


async def wait_for_run(conn_id: str = "wr_default", timeout: float = 20) -> str:
    async with WRAsyncHook(conn_id) as hook:
        return (await hook.wait_for_run(RUN_ID, timeout=timeout)).status


async def test_many_waits_share_a_session_and_a_lookup(
    serve: Serve, lookups: Counter[str], sessions: list[aiohttp.ClientSession]
) -> None:
    gate = Gate()
    server = serve(gate)
    waits = [asyncio.create_task(wait_for_run()) for _ in range(MANY)]
    await asyncio.to_thread(server.wait_for, lambda: server.count() >= 2 * MANY)
    assert shared() == {"wr_default"}
    assert not sessions[0].closed
    gate.opened.set()
    assert await asyncio.gather(*waits) == ["COMPLETED"] * MANY
    assert lookups == {"wr_default": 1}
    assert [each.closed for each in sessions] == [True]
    assert shared() == set()
    await asyncio.to_thread(server.wait_until_alone)


async def test_the_last_to_leave_closes_the_session(serve: Serve, sessions: list[aiohttp.ClientSession]) -> None:
    serve(lambda request, peer: peer.answer(200, run()))
    async with WRAsyncHook() as one:
        async with WRAsyncHook() as other:
            await other.get_run(RUN_ID)
        assert (await one.get_run(RUN_ID)).id == RUN_ID
        assert [each.closed for each in sessions] == [False]
    assert [each.closed for each in sessions] == [True]
    async with WRAsyncHook() as again:
        await again.get_run(RUN_ID)
    assert [each.closed for each in sessions] == [True, True]


async def test_a_wait_that_is_canceled_leaves_the_others_alone(serve: Serve) -> None:
    gate = Gate()
    server = serve(gate)
    waits = [asyncio.create_task(wait_for_run()) for _ in range(4)]
    await asyncio.to_thread(server.wait_for, lambda: server.count() == 8)
    waits[0].cancel()
    gate.opened.set()
    results = await asyncio.gather(*waits, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == ["COMPLETED"] * 3
    assert shared() == set()


async def test_a_wait_that_is_canceled_while_it_reads_closes_its_stream(serve: Serve) -> None:
    """At once, although others hold the session."""

    def script(request: Request, peer: Peer) -> None:
        if request.is_stream:
            peer.send(STREAM_HEAD)
        peer.hang()

    server = serve(script)
    async with WRAsyncHook():
        wait = asyncio.create_task(wait_for_run())
        await asyncio.to_thread(server.wait_for, lambda: server.count() == 2)
        wait.cancel()
        with pytest.raises(asyncio.CancelledError):
            await wait
        del wait
        await asyncio.to_thread(server.wait_until_alone)


async def test_two_connections_have_two_sessions(
    serve: Serve, connect: Connect, lookups: Counter[str], sessions: list[aiohttp.ClientSession]
) -> None:
    server = serve(lambda request, peer: peer.answer(200, run()))
    connect(server.url, conn_id="wr_other", api_key="ws_other")
    async with WRAsyncHook() as one, WRAsyncHook("wr_other") as other:
        await one.get_run(RUN_ID)
        await other.get_run(RUN_ID)
        assert shared() == {"wr_default", "wr_other"}
    assert [request.headers["x-api-key"] for request in server.requests] == ["ws_k", "ws_other"]
    assert server.connections == 2
    assert lookups == {"wr_default": 1, "wr_other": 1}
    assert [each.closed for each in sessions] == [True, True]


async def test_a_lookup_that_fails_leaves_nothing_behind(
    serve: Serve, connect: Connect, lookups: Counter[str], sessions: list[aiohttp.ClientSession]
) -> None:
    connect("ftp://127.0.0.1")
    results = await asyncio.gather(*(wait_for_run() for _ in range(5)), return_exceptions=True)
    assert all(isinstance(result, WRError) for result in results)
    assert shared() == set()
    assert sessions == []
    serve(lambda request, peer: peer.answer(200, run()))
    async with WRAsyncHook() as hook:
        assert (await hook.get_run(RUN_ID)).id == RUN_ID


async def test_a_join_that_is_canceled_leaves_nothing_behind(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(lambda request, peer: peer.answer(200, run()))
    looking, go_on = threading.Event(), threading.Event()
    load = WRSettings.load

    def slow_load(conn_id: str, **options: Any) -> WRSettings:
        looking.set()
        go_on.wait(10)
        return load(conn_id, **options)

    monkeypatch.setattr(WRSettings, "load", slow_load)
    joining = asyncio.create_task(wait_for_run())
    await asyncio.to_thread(looking.wait)
    joining.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await joining
    assert shared() == set()


async def test_a_connection_that_was_read_long_ago_is_read_again(
    serve: Serve, connect: Connect, lookups: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(lambda request, peer: peer.answer(200, run()))
    async with WRAsyncHook() as one:
        await one.get_run(RUN_ID)
        connect(server.url, api_key="ws_new")
        monkeypatch.setattr(session, "FRESH", 0)
        await asyncio.sleep(0.001)
        async with WRAsyncHook() as other:
            await other.get_run(RUN_ID)
            await one.get_run(RUN_ID)
    assert [each.headers["x-api-key"] for each in server.requests] == ["ws_k", "ws_new", "ws_new"]
    assert lookups == {"wr_default": 2}


async def test_after_401_the_connection_is_read_once_for_all(
    serve: Serve, connect: Connect, lookups: Counter[str]
) -> None:
    """All streams break, all keys are refused at the same time, and all waits continue with the new key."""
    rotated = threading.Event()
    all_refused = threading.Barrier(session.CALLS_AT_A_TIME)

    def script(request: Request, peer: Peer) -> None:
        if not rotated.is_set():
            if request.is_stream:
                peer.send(STREAM_HEAD)
                rotated.wait(10)
                peer.close()
            else:
                peer.answer(200, run())
        elif request.headers["x-api-key"] == "ws_new":
            peer.answer(200, run("COMPLETED"))
        else:
            all_refused.wait(10)
            peer.answer(401, {"message": "Invalid API key"})

    server = serve(script)
    waits = [asyncio.create_task(wait_for_run()) for _ in range(session.CALLS_AT_A_TIME)]
    await asyncio.to_thread(server.wait_for, lambda: server.count() == 2 * session.CALLS_AT_A_TIME)
    connect(server.url, api_key="ws_new")
    rotated.set()
    # With the new key, streams are refused, but the runs have ended.
    assert await asyncio.gather(*waits) == ["COMPLETED"] * session.CALLS_AT_A_TIME
    assert lookups["wr_default"] <= 3


class Busy:
    """An API that counts concurrent reads."""

    def __init__(self) -> None:
        self.at_once = 0
        self.most = 0
        self._lock = threading.Lock()

    def __call__(self, request: Request, peer: Peer) -> None:
        if request.is_stream:
            peer.send(STREAM_HEAD)
            peer.hang()
            return
        with self._lock:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        time.sleep(0.1)
        with self._lock:
            self.at_once -= 1
        peer.answer(200, run("COMPLETED"))


async def test_reads_of_a_connection_go_sixteen_at_a_time(serve: Serve) -> None:
    busy = Busy()
    serve(busy)
    assert await asyncio.gather(*(wait_for_run() for _ in range(64))) == ["COMPLETED"] * 64
    assert busy.most == session.CALLS_AT_A_TIME == 16


async def test_no_wait_outlives_its_deadline_while_others_hold_the_reads(serve: Serve) -> None:
    """The API answers no read: waits that are queued for a slot have a deadline, too."""

    def script(request: Request, peer: Peer) -> None:
        if request.is_stream:
            peer.send(STREAM_HEAD)
        peer.hang()

    serve(script)
    started = time.monotonic()
    results = await asyncio.gather(*(wait_for_run(timeout=0.5) for _ in range(64)), return_exceptions=True)
    took = time.monotonic() - started
    assert {type(result) for result in results} == {WRTimeoutError}
    assert took < 1.8  # with a margin for slow machines; sequentially they would take 2


async def test_a_call_whose_time_has_passed_while_it_waited_for_its_turn_has_no_other_time(serve: Serve) -> None:
    serve(lambda request, peer: peer.hang())
    async with WRAsyncHook() as hook:
        await hook._shared.load()
        with pytest.raises(WRTimeoutError, match="timed out"):
            await asyncio.wait_for(hook._shared.send(calls.get_run(RUN_ID), within=-1.0), 5)


async def test_nothing_blocks_the_loop(
    sandbox: Sandbox, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the lookup, nor the TLS context, nor a wait; see the package ``blockbuster``."""
    blockbuster = pytest.importorskip("blockbuster")
    monkeypatch.setattr(rules, "SILENCE", 0.2)
    sandbox.control.fault("stream", drop_after=1)
    sandbox.control.fault("stream", silent=True)
    sandbox.control.fault("get_run", status=500)

    async def trigger_and_wait() -> str:
        async with WRAsyncHook() as hook:
            triggered = await hook.trigger_run()
            return (await hook.wait_for_run(triggered.run_id, timeout=10)).status

    with blockbuster.blockbuster_ctx():
        assert await asyncio.gather(*(trigger_and_wait() for _ in range(3))) == ["COMPLETED"] * 3


async def test_the_loop_is_free_while_a_connection_is_looked_up(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(lambda request, peer: peer.answer(200, run("COMPLETED")))
    looking, go_on = threading.Event(), threading.Event()
    load = WRSettings.load

    def slow_load(conn_id: str, **options: Any) -> WRSettings:
        looking.set()
        assert go_on.wait(10), "the loop was not free to let it go on"
        return load(conn_id, **options)

    monkeypatch.setattr(WRSettings, "load", slow_load)
    waiting_task = asyncio.create_task(wait_for_run())
    while not looking.is_set():  # noqa: ASYNC110  # it is set in a thread
        await asyncio.sleep(0)
    go_on.set()
    assert await waiting_task == "COMPLETED"


async def test_no_wait_outlives_its_deadline_while_its_connection_is_looked_up(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(lambda request, peer: peer.answer(200, run("COMPLETED")))
    go_on = threading.Event()
    load = WRSettings.load

    def slow_load(conn_id: str, **options: Any) -> WRSettings:
        go_on.wait(10)
        return load(conn_id, **options)

    monkeypatch.setattr(WRSettings, "load", slow_load)
    threading.Timer(3, go_on.set).start()
    started = time.monotonic()
    said = "was never reached: timed out looking up the Airflow connection 'wr_default'"
    with pytest.raises(WRTimeoutError, match=said):
        await wait_for_run(timeout=0.3)
    assert time.monotonic() - started < 2.5
    go_on.set()
    assert shared() == set()


async def test_a_lookup_that_fails_while_others_wait_leaves_them_what_was_found(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A later hook looks up the connection again, and retries if that fails; the others keep their settings."""
    serve(lambda request, peer: peer.answer(200, run("COMPLETED")))
    monkeypatch.setattr(session, "FRESH", 0)
    look_up = BaseHook.get_connection
    errors: list[Exception] = []

    def get_connection(conn_id: str) -> Any:
        if errors:
            raise errors.pop()
        return look_up(conn_id)

    monkeypatch.setattr(BaseHook, "get_connection", get_connection)
    async with WRAsyncHook() as one:
        await one.get_run(RUN_ID)
        await asyncio.sleep(0.001)
        errors += [AirflowNotFoundException("isn't defined")] * 3
        assert await wait_for_run() == "COMPLETED"
        assert (await one.get_run(RUN_ID)).status == "COMPLETED"
    assert not errors
    assert sum("could not be looked up: isn't defined; retrying" in each for each in caplog.messages) == 3


async def test_a_large_answer_is_read_off_the_loop(serve: Serve) -> None:
    """A run with a large fan-out blocks the loop no longer than parsing its JSON takes."""
    stage = {"id": "s", "module": "M", "status": "COMPLETED", "output": {"text": "x" * 100}}
    body = json.dumps(run("COMPLETED", runStages=[stage] * 20_000))
    serve(lambda request, peer: peer.answer(200, body, {"Content-Type": "application/json"}))
    threads: set[str] = set()
    read_answer = answers.read_answer

    def note_and_read(call: Any, answer: Any) -> Any:
        threads.add(threading.current_thread().name)
        return read_answer(call, answer)

    async with WRAsyncHook() as hook:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(answers, "read_answer", note_and_read)
            assert len((await hook.get_run(RUN_ID)).stages) == 20_000
    assert threads
    assert threading.main_thread().name not in threads


class Opening:
    """An API whose streams open when it is told to, and that tells how many were asked for at once."""

    def __init__(self) -> None:
        self.at_once = self.most = 0
        self.may_open = threading.Event()
        self._lock = threading.Lock()

    def __call__(self, request: Request, peer: Peer) -> None:
        if request.is_stream:
            with self._lock:
                self.at_once += 1
                self.most = max(self.most, self.at_once)
            assert self.may_open.wait(20)
            with self._lock:
                self.at_once -= 1
            peer.send(STREAM_HEAD)
            peer.hang()
        else:
            peer.answer(200, run("COMPLETED"))


async def test_streams_of_a_connection_are_opened_thirty_two_at_a_time(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "OPENING_SECONDS", 60)
    opening = Opening()
    server = serve(opening)
    waits = [asyncio.create_task(wait_for_run()) for _ in range(100)]
    await asyncio.to_thread(server.wait_for, lambda: server.count() >= session.OPENING_AT_A_TIME)
    opening.may_open.set()
    assert await asyncio.gather(*waits) == ["COMPLETED"] * 100
    assert opening.most == session.OPENING_AT_A_TIME == 32


async def test_a_server_whose_streams_open_late_keeps_no_wait_from_its_turn(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sends the head with the first event only, as a proxy that buffers does."""
    monkeypatch.setattr(session, "OPENING_SECONDS", 0.05)
    opening = Opening()
    server = serve(opening)
    waits = [asyncio.create_task(wait_for_run()) for _ in range(100)]
    await asyncio.to_thread(server.wait_for, lambda: server.count() == 100)
    opening.may_open.set()
    assert await asyncio.gather(*waits) == ["COMPLETED"] * 100


async def test_a_wait_keeps_its_deadline_while_others_open_their_streams(serve: Serve) -> None:
    server = serve(lambda request, peer: peer.hang())
    async with WRAsyncHook():
        others = [asyncio.create_task(wait_for_run()) for _ in range(session.OPENING_AT_A_TIME)]
        await asyncio.to_thread(server.wait_for, lambda: server.count() == session.OPENING_AT_A_TIME)
        with pytest.raises(WRTimeoutError, match=r"timed out after 0\.1 s"):
            await wait_for_run(timeout=0.1)
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)


async def test_a_wait_decodes_the_stages_of_a_large_run_for_its_log_alone_and_off_the_loop(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stage = {"id": "s", "module": "M", "status": "RUNNING", "output": {"text": "x" * 100}}
    reads = iter(["EXECUTING", "COMPLETED"])

    def script(request: Request, peer: Peer) -> None:
        if request.is_stream:
            peer.send(STREAM_HEAD, event("COMPLETED"))
            peer.close()
        else:
            body = json.dumps(run(next(reads), runStages=[stage] * 5_000))
            peer.answer(200, body, {"Content-Type": "application/json"})

    serve(script)
    threads: list[str] = []
    decode = decoding.Later.decode

    def note_and_decode(later: decoding.Later) -> Any:
        threads.append(threading.current_thread().name)
        return decode(later)

    monkeypatch.setattr(decoding.Later, "decode", note_and_decode)
    with caplog.at_level("INFO"):
        assert await wait_for_run() == "COMPLETED"
    assert "EXECUTING | 0 stages pending | 1 credit | running: M ×5000" in caplog.messages
    assert len(threads) == 1
    assert threading.main_thread().name not in threads


@pytest.mark.parametrize(
    ("code", "loads", "leaves"),
    [
        pytest.param("import airflow_provider_wr.hooks.wr", set(), {"aiohttp", "requests"}, id="module"),
        pytest.param(
            "from airflow_provider_wr.hooks.wr import WRHook; WRHook()", {"requests"}, {"aiohttp"}, id="sync"
        ),
        pytest.param(
            "import asyncio; from airflow_provider_wr.hooks.wr import WRAsyncHook\n"
            "async def enter():\n    async with WRAsyncHook(): pass\n"
            "asyncio.run(enter())",
            {"aiohttp"},
            {"requests"},
            id="async",
        ),
    ],
)
def test_a_hook_loads_its_own_library_alone(code: str, loads: set[str], leaves: set[str]) -> None:
    """As far as Airflow has loaded neither."""
    before = "import sys; from airflow.providers.common.compat.sdk import BaseHook; before = set(sys.modules)"
    after = "print(sorted({'aiohttp', 'requests'} & sys.modules.keys() - before)); print(sorted(before))"
    done = subprocess.run(
        [sys.executable, "-c", f"{before}\n{code}\n{after}"], capture_output=True, text=True, check=True
    )
    loaded, had = map(ast.literal_eval, done.stdout.splitlines()[-2:])
    assert loads - set(had) == set(loaded) & loads
    assert not leaves & set(loaded)
