"""Wait for a run while streams break, servers fail and keys change."""

from __future__ import annotations

import gc
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook
from servers import RUN_ID, STREAM_HEAD, Peer, RawServer, Request, Script, event, free_port, head, run

from airflow_provider_wr.exceptions import (
    WRAuthError,
    WRError,
    WRNotFoundError,
    WRProtocolError,
    WRTimeoutError,
    WRValidationError,
)
from airflow_provider_wr.models import RunEvent
from airflow_provider_wr.sandbox.server import Sandbox
from airflow_provider_wr.waiting import backoff, rules

from .both import AnyHook
from .conftest import Connect, Serve


class ScriptedApi:
    """
    A scripted API of one run.

    :param reads: the answers to reads of the run, in order; the last one repeats.
    :param streams: the answers to streams of the run, in order; the last one repeats.
    """

    def __init__(self, *, reads: list[Script], streams: list[Script]) -> None:
        self._reads = _last_for_ever(reads)
        self._streams = _last_for_ever(streams)
        self.has_ended = False
        """Once set, the run reads COMPLETED."""

    def __call__(self, request: Request, peer: Peer) -> None:
        if request.is_stream:
            next(self._streams)(request, peer)
        elif self.has_ended:
            peer.answer(200, run("COMPLETED"))
        else:
            next(self._reads)(request, peer)

    def see(self, event: RunEvent) -> None:
        """End the run when its stream reports the end."""
        self.has_ended = event.is_terminal


def _last_for_ever(scripts: list[Script]) -> Iterator[Script]:
    return itertools.chain(scripts, itertools.repeat(scripts[-1]))


def reading(status: str = "EXECUTING", **fields: Any) -> Script:
    return lambda request, peer: peer.answer(200, run(status, **fields))


def answering(*args: Any) -> Script:
    return lambda request, peer: peer.answer(*args)


def streaming(*pieces: bytes, then: str = "close") -> Script:
    """Open a stream, send pieces, and then ``close``, ``hang`` or ``reset``."""

    def script(request: Request, peer: Peer) -> None:
        peer.send(STREAM_HEAD, *pieces)
        getattr(peer, then)()

    return script


def hanging(request: Request, peer: Peer) -> None:
    peer.hang()


def resetting(request: Request, peer: Peer) -> None:
    peer.reset()


PING = b":ping\n\n"
PAGE = "<html>Bad Gateway</html>"


# --- the good case ----------------------------------------------------------------------------------------


def test_the_stream_is_followed_and_the_run_read_at_its_beginning_and_end(serve: Serve, hook: AnyHook) -> None:
    server = serve(
        ScriptedApi(
            reads=[reading(), reading("COMPLETED")],
            streams=[streaming(event(), PING, b"data: :ping\n\n", event("COMPLETED"), then="hang")],
        )
    )
    seen: list[RunEvent] = []
    assert hook.wait_for_run(RUN_ID, on_event=seen.append).status == "COMPLETED"
    assert [request.is_stream for request in server.requests] == [True, False, False]
    assert [each.status for each in seen] == ["EXECUTING", "COMPLETED"]


def test_a_run_that_ended_before_the_subscription_is_returned_at_once(sandbox: Sandbox, hook: AnyHook) -> None:
    sandbox.control.fault("trigger", finish_first=True)
    run_id = hook.trigger_run().run_id
    started = time.monotonic()
    assert hook.wait_for_run(run_id).status == "COMPLETED"
    assert time.monotonic() - started < 2
    assert [each["endpoint"] for each in sandbox.control.requests()] == ["trigger", "stream", "get_run"]


@pytest.mark.parametrize(
    "error",
    [RuntimeError("mine"), TimeoutError("mine"), OSError("mine"), WRProtocolError("mine"), WRTimeoutError("mine")],
    ids=repr,
)
def test_an_error_of_on_event_is_the_callers_own(serve: Serve, hook: AnyHook, error: Exception) -> None:
    """The exception propagates, the wait ends, and its stream is closed."""
    server = serve(ScriptedApi(reads=[reading()], streams=[streaming(event(), then="hang")]))

    def on_event(event: RunEvent) -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        hook.wait_for_run(RUN_ID, on_event=on_event)
    assert raised.value is error
    assert server.count() == 2
    server.wait_for(lambda: len(server._peers) <= 1)  # the connection of the reads is kept


def test_progress_is_logged(serve: Serve, hook: AnyHook, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "airflow_provider_wr.waiting")
    stages = [
        {"id": str(number), "module": module, "status": status, "executionAttempt": 2}
        for number, (module, status) in enumerate([("HTTP_REQUEST", "RUNNING"), ("FOR_EACH", "CREATED")])
    ]
    serve(
        ScriptedApi(
            reads=[
                reading(pendingStageCount=2, totalUsage=5, runStages=stages),
                reading("COMPLETED", totalUsage=7),
            ],
            # Events that change nothing are not logged, nor are those within a second of the last line.
            streams=[streaming(event(pendingStageCount=2, nonTerminalStages=stages), event("COMPLETED"))],
        )
    )
    hook.wait_for_run(RUN_ID)
    ours = [record for record in caplog.records if record.name.startswith("airflow_provider_wr.waiting.")]
    assert [record.getMessage() for record in ours] == [
        "EXECUTING | 2 stages pending | 5 credits | running: HTTP_REQUEST (attempt 2)",
    ]


# --- a stream that is cut ---------------------------------------------------------------------------------

RECORDED = b"".join(
    [
        b"\xef\xbb\xbf",
        PING,
        event(nonTerminalStages=[{"id": "1", "module": "ÜBER", "status": "RUNNING"}]),
        b"id: 1\r\nevent: update\r\ndata: :ping\r\n\r\n",
        event("COMPLETED"),
    ]
)


@pytest.mark.parametrize("then", ["close", "reset"])
def test_a_stream_may_be_cut_at_any_byte(
    serve: Serve, hook: AnyHook, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    """One wait: its stream is cut after 0 bytes, then after 1, and so on to the last but one."""
    monkeypatch.setattr(backoff, "MAX_PAUSE", 0)
    cuts = [streaming(RECORDED[:cut], then=then) for cut in range(len(RECORDED))]
    api = ScriptedApi(reads=[reading()], streams=[*cuts, streaming(RECORDED, then="hang")])
    server = serve(api)
    seen: list[RunEvent] = []

    def on_event(event: RunEvent) -> None:
        seen.append(event)
        api.see(event)

    assert hook.wait_for_run(RUN_ID, on_event=on_event, timeout=60).status == "COMPLETED"
    assert server.count(lambda request: request.is_stream) == len(RECORDED) + 1
    assert [each.status for each in seen if each.is_terminal] == ["COMPLETED"]
    assert {each.active_stages[0].module for each in seen if each.active_stages} == {"ÜBER"}


def test_a_stream_may_come_byte_by_byte(serve: Serve, hook: AnyHook) -> None:
    api = ScriptedApi(reads=[reading()], streams=[streaming(*(bytes([byte]) for byte in RECORDED), then="hang")])
    server = serve(api)
    seen: list[RunEvent] = []

    def on_event(event: RunEvent) -> None:
        seen.append(event)
        api.see(event)

    assert hook.wait_for_run(RUN_ID, on_event=on_event).status == "COMPLETED"
    assert [each.status for each in seen] == ["EXECUTING", "COMPLETED"]
    assert server.count(lambda request: request.is_stream) == 1


def test_an_event_of_a_great_fan_out_comes_whole(serve: Serve, hook: AnyHook) -> None:
    stages = [{"id": str(number), "module": "M" * 100, "status": "RUNNING"} for number in range(2000)]
    data = event(nonTerminalStages=stages)
    api = ScriptedApi(reads=[reading()], streams=[streaming(data[:100_001], data[100_001:], event("COMPLETED"))])
    serve(api)
    seen: list[RunEvent] = []

    def on_event(event: RunEvent) -> None:
        seen.append(event)
        api.see(event)

    hook.wait_for_run(RUN_ID, on_event=on_event)
    assert len(seen[0].active_stages) == 2000


# --- trouble that may pass --------------------------------------------------------------------------------


def in_a_second() -> str:
    # An HTTP date has whole seconds: this one is between 0 and 1 s ahead.
    return format_datetime(datetime.now(timezone.utc) + timedelta(seconds=1), usegmt=True)


GOOD_STREAM = streaming(event(), event("COMPLETED"), then="hang")

# One failure of the stream or the read, then success: (reads, streams).
TROUBLES: dict[str, tuple[list[Script], list[Script]]] = {
    **{
        f"the stream: {name}": ([reading()], [script, script, GOOD_STREAM])
        for name, script in {
            "ends": streaming(event()),
            "ends at once": streaming(),
            "is reset": streaming(event(), then="reset"),
            "is reset instead of answered": resetting,
            "answers 429": answering(429, b"", {"Retry-After": "0"}),
            "answers 500": answering(500, {"message": "boom"}),
            "answers 502 of a proxy": answering(502, PAGE),
            "answers 503 without a body": answering(503),
            "answers a page": answering(200, PAGE, {"Content-Type": "text/html"}),
            "answers JSON": answering(200, run()),
            "answers a redirect": answering(302, b"", {"Location": "/login"}),
            "answers 404": answering(404, {"message": "not yet"}),
            "sends a list": streaming(b"data: []\n\n", then="hang"),
            "sends another run's": streaming(event().replace(RUN_ID.encode(), b"x" * 36), then="hang"),
            "sends an endless event": streaming(b"data: 1\n" * 20_000, then="hang"),
            "answers 400": answering(400, {"message": "bad"}),
            "answers 405": answering(405, {"message": "no"}),
            "answers 409": answering(409, {"message": "already finished"}),
            "answers 410": answering(410, {"message": "gone"}),
            "answers 422": answering(422, {"message": "no"}),
            "answers 204": answering(204),
        }.items()
    },
    **{
        f"the read: {name}": ([script, script, reading()], [GOOD_STREAM])
        for name, script in {
            "is reset": resetting,
            "answers 429": answering(429, b"", {"Retry-After": "0"}),
            "answers 500": answering(500, {"message": "boom"}),
            "answers 502 of a proxy": answering(502, PAGE),
            "answers a page": answering(200, PAGE),
            "answers nothing": answering(200),
            "answers 404": answering(404, {"message": "not yet"}),
        }.items()
    },
    "silence before the head": ([reading()], [hanging, GOOD_STREAM]),
    "silence without heartbeats": ([reading()], [streaming(event(), then="hang"), GOOD_STREAM]),
    "silence of a read": ([hanging, reading()], [GOOD_STREAM]),
    "a terminal event, but the run still reads EXECUTING": (
        [reading(), reading(), reading(), reading("COMPLETED")],
        [streaming(event("COMPLETED"))],
    ),
    "the terminal event is lost": ([reading(), reading("COMPLETED")], [streaming(event(), then="hang")]),
    "the stream never opens, but the run ends": ([reading(), reading("COMPLETED")], [answering(500)]),
    "a status that nobody knows": ([reading("PAUSED"), reading("COMPLETED")], [streaming(event("PAUSED"))]),
}


@pytest.mark.parametrize(("reads", "streams"), TROUBLES.values(), ids=TROUBLES)
def test_a_wait_survives(
    serve: Serve,
    hook: AnyHook,
    monkeypatch: pytest.MonkeyPatch,
    reads: list[Script],
    streams: list[Script],
) -> None:
    monkeypatch.setattr(rules, "SILENCE", 0.15)
    api = ScriptedApi(reads=reads, streams=streams)
    serve(api, read_timeout=0.15)
    terminal_event_counts = streams[-1] is GOOD_STREAM
    on_event = api.see if terminal_event_counts else None
    assert hook.wait_for_run(RUN_ID, timeout=10, on_event=on_event).status == "COMPLETED"


def test_heartbeats_keep_a_stream_alive(serve: Serve, hook: AnyHook, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both forms, and half a line: any byte counts as a heartbeat."""
    monkeypatch.setattr(rules, "SILENCE", 0.15)

    def stream(request: Request, peer: Peer) -> None:
        peer.send(STREAM_HEAD)
        peer.send(PING, b"data: :ping\n\n", b":", b"p", b"i", b"n", b"g", b"\n\n", every=0.06)
        peer.send(event("COMPLETED"))

    api = ScriptedApi(reads=[reading()], streams=[stream])
    server = serve(api)
    assert hook.wait_for_run(RUN_ID, timeout=5, on_event=api.see).status == "COMPLETED"
    assert server.count(lambda request: request.is_stream) == 1


def test_a_heartbeat_is_not_an_event(serve: Serve, hook: AnyHook, monkeypatch: pytest.MonkeyPatch) -> None:
    """The terminal event is lost while heartbeats continue: the run is read, and the stream stays open."""
    monkeypatch.setattr(rules, "MAX_QUIET", 0.15)
    server = serve(
        ScriptedApi(
            reads=[reading(), reading(), reading(), reading("COMPLETED")],
            streams=[dripping(STREAM_HEAD + event(), PING)],
        )
    )
    started = time.monotonic()
    assert hook.wait_for_run(RUN_ID, timeout=10).status == "COMPLETED"
    assert 0.45 <= time.monotonic() - started < 3  # on a slow machine
    assert [request.is_stream for request in server.requests] == [True, False, False, False, False]


def test_an_event_may_be_cut_where_the_run_is_read(
    serve: Serve, hook: AnyHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The part of an event before the read is not lost."""
    monkeypatch.setattr(rules, "MAX_QUIET", 0.1)

    def stream(request: Request, peer: Peer) -> None:
        whole = event("COMPLETED")
        peer.send(STREAM_HEAD, PING, every=0.15)
        peer.send(PING + whole[:20], every=0.15)
        peer.send(whole[20:])
        peer.hang()

    api = ScriptedApi(reads=[reading()], streams=[stream])
    server = serve(api)
    assert hook.wait_for_run(RUN_ID, timeout=10, on_event=api.see).status == "COMPLETED"
    assert server.count(lambda request: request.is_stream) == 1


@pytest.mark.parametrize("status", [204, 400, 404, 405, 409, 410, 422])
def test_a_refused_stream_of_a_run_that_has_ended_is_no_error(serve: Serve, hook: AnyHook, status: int) -> None:
    body = b"" if status == 204 else {"message": "already finished"}
    server = serve(ScriptedApi(reads=[reading("COMPLETED")], streams=[answering(status, body)]))
    assert hook.wait_for_run(RUN_ID).status == "COMPLETED"
    assert server.count() == 2


def test_a_refused_stream_leaves_the_reads(serve: Serve, hook: AnyHook, monkeypatch: pytest.MonkeyPatch) -> None:
    """At growing intervals; the stream is tried again each time."""
    monkeypatch.setattr(backoff, "MAX_PAUSE", 60.0)
    server = serve(ScriptedApi(reads=[reading()], streams=[answering(409, {"message": "no"})]))
    with pytest.raises(WRTimeoutError, match="last seen EXECUTING"):
        hook.wait_for_run(RUN_ID, timeout=1.0)
    assert 3 <= server.count() <= 40


@pytest.mark.parametrize("retry_after", [lambda: "1", in_a_second], ids=["seconds", "date"])
@pytest.mark.parametrize("met_by", ["read", "stream"])
def test_a_wait_honours_retry_after(
    serve: Serve, hook: AnyHook, retry_after: Callable[[], str], met_by: str
) -> None:
    asked: list[float] = []
    until: list[float] = []

    def busy(request: Request, peer: Peer) -> None:
        header = retry_after()
        until.append(time.time() + 1 if header == "1" else int(time.time()) + 1)
        peer.answer(429, b"", {"Retry-After": header})

    def note(script: Script) -> Script:
        def noted(request: Request, peer: Peer) -> None:
            asked.append(time.time())
            script(request, peer)

        return noted

    if met_by == "read":
        api = ScriptedApi(reads=[busy, note(reading("COMPLETED"))], streams=[streaming(then="hang")])
    else:
        api = ScriptedApi(reads=[note(reading("COMPLETED"))], streams=[busy, streaming(then="hang")])
    serve(api)
    assert hook.wait_for_run(RUN_ID, timeout=10).status == "COMPLETED"
    assert asked[0] >= until[0] - 0.01


def test_the_server_goes_and_comes_back(sandbox: Sandbox, hook: AnyHook, connect: Connect) -> None:
    """The first server resets its stream and closes its port; another opens it after a refused connection."""
    port = free_port()
    servers: list[RawServer] = []
    gone = threading.Event()

    def last_words(request: Request, peer: Peer) -> None:
        peer.send(STREAM_HEAD, event())
        threading.Thread(target=lambda: (servers[0].close(), gone.set())).start()
        peer.hang()

    servers.append(RawServer(ScriptedApi(reads=[reading()], streams=[last_words]), port=port))
    connect(servers[0].url)

    def come_back() -> None:
        gone.wait()
        time.sleep(0.1)  # while connections are refused
        servers.append(
            RawServer(ScriptedApi(reads=[reading("COMPLETED")], streams=[streaming(then="hang")]), port=port)
        )

    returning = threading.Thread(target=come_back)
    returning.start()
    try:
        assert hook.wait_for_run(RUN_ID, timeout=10).status == "COMPLETED"
    finally:
        returning.join()
        servers[1].close()


@pytest.mark.parametrize("stream", [streaming(event()), streaming(event(), then="reset"), streaming()])
def test_a_wait_makes_no_more_than_a_request_a_second(
    serve: Serve, hook: AnyHook, monkeypatch: pytest.MonkeyPatch, stream: Script
) -> None:
    """A stream that sends one event and closes must not cause a flood of requests."""
    monkeypatch.setattr(backoff, "MAX_PAUSE", 0.0)
    monkeypatch.setattr(rules, "BURST", 4)
    server = serve(ScriptedApi(reads=[reading()], streams=[stream]))
    with pytest.raises(WRTimeoutError):
        hook.wait_for_run(RUN_ID, timeout=4.0)
    assert 6 <= server.count() <= 4 + 4 + 3 + 1  # the burst, one per second, the rest of a cycle, the final read


@pytest.mark.parametrize("status", [401, 403])
def test_a_stream_that_is_refused_while_the_run_can_be_read_is_no_flood(
    serve: Serve, hook: AnyHook, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(backoff, "MAX_PAUSE", 60.0)
    server = serve(ScriptedApi(reads=[reading()], streams=[answering(status, {"message": "no"})]))
    with pytest.raises(WRError):
        hook.wait_for_run(RUN_ID, timeout=0.5)
    assert server.count() < 20


def test_a_run_that_is_not_visible_yet_is_waited_for(
    serve: Serve, hook: AnyHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "NOT_YET_VISIBLE", 0.3)
    server = serve(answering(404, {"message": "Run not found"}))
    started = time.monotonic()
    with pytest.raises(WRNotFoundError, match="Run not found"):
        hook.wait_for_run(RUN_ID, timeout=10)
    assert 0.3 <= time.monotonic() - started < 5
    assert server.count() > 2


def test_a_pause_does_not_pass_over_the_moment_when_a_run_should_be_visible(
    serve: Serve, hook: AnyHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever Retry-After says: with less time than that, the deadline comes first."""
    monkeypatch.setattr(rules, "NOT_YET_VISIBLE", 0.3)
    serve(answering(404, {"message": "Run not found"}, {"Retry-After": "60"}))
    started = time.monotonic()
    with pytest.raises(WRNotFoundError, match="Run not found"):
        hook.wait_for_run(RUN_ID, timeout=10)
    assert 0.3 <= time.monotonic() - started < 2  # on a slow machine
    with pytest.raises(WRTimeoutError, match="was never reached: 404 Run not found"):
        hook.wait_for_run(RUN_ID, timeout=0.1)


# --- trouble that time cannot change ----------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 409, 418, 422])
def test_a_wait_ends_at_once_when_its_read_is_refused(serve: Serve, hook: AnyHook, status: int) -> None:
    server = serve(ScriptedApi(reads=[answering(status, {"message": "no"})], streams=[streaming(then="hang")]))
    with pytest.raises(WRError, match=f"^{status} no: sent over ") as caught:
        hook.wait_for_run(RUN_ID)
    assert type(caught.value) is (WRError if status == 418 else WRValidationError)
    assert server.count() <= 2


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_stays_refused_ends_the_wait_after_one_more_look(
    serve: Serve, hook: AnyHook, status: int
) -> None:
    server = serve(answering(status, {"message": "no"}))
    with pytest.raises(WRAuthError, match=f"^{status} "):
        hook.wait_for_run(RUN_ID)
    assert server.count() == 2


def test_a_key_that_is_refused_later_is_given_another_look(
    serve: Serve, hook: AnyHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each refusal may be a new rotation, once the last reload is old enough."""
    monkeypatch.setattr(rules, "KEY_RELOAD_INTERVAL", 0.0)
    refused = answering(401, {"message": "no"})
    api = ScriptedApi(
        reads=[reading()], streams=[refused, streaming(event()), refused, streaming(event()), refused, GOOD_STREAM]
    )
    serve(api)
    assert hook.wait_for_run(RUN_ID, on_event=api.see).status == "COMPLETED"


def test_a_key_is_rotated_during_a_wait(sandbox: Sandbox, hook: AnyHook, connect: Connect) -> None:
    """The key changes in White Rabbit, then in Airflow: the stream continues, the next call has the new key."""
    hook.update_component(sandbox.components["Quote"], config={"seconds": 2})
    run_id = hook.trigger_run().run_id
    sandbox.control.fault("stream", drop_after=1)

    def rotate(event: RunEvent) -> None:
        sandbox.control.rotate_key("ws_new")
        connect(sandbox.url, api_key="ws_new")

    assert hook.wait_for_run(run_id, on_event=rotate).status == "COMPLETED"
    refused = [each for each in sandbox.control.requests() if each["status"] == 401]
    assert len(refused) == 1
    assert hook.get_run(run_id).status == "COMPLETED"


# --- the Airflow connection -------------------------------------------------------------------------------


class Secrets:
    """A secrets backend that fails the next lookups on demand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.errors: list[Exception] = []
        self.lookups = 0
        self._look_up = BaseHook.get_connection
        monkeypatch.setattr(BaseHook, "get_connection", self)

    def __call__(self, conn_id: str) -> Any:
        self.lookups += 1
        if self.errors:
            raise self.errors.pop(0)
        return self._look_up(conn_id)


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> Secrets:
    return Secrets(monkeypatch)


AWAY = [RuntimeError("503 of the secrets backend"), OSError("reset"), TimeoutError("timed out")]
NOT_DEFINED = AirflowNotFoundException("The conn_id `wr_default` isn't defined")


def test_a_wait_survives_failed_lookups_of_its_connection(
    serve: Serve, hook: AnyHook, secrets: Secrets, caplog: pytest.LogCaptureFixture
) -> None:
    serve(ScriptedApi(reads=[reading("COMPLETED")], streams=[streaming(then="hang")]))
    secrets.errors = list(AWAY)
    assert hook.wait_for_run(RUN_ID, timeout=10).status == "COMPLETED"
    assert secrets.lookups == 4
    said = "the Airflow connection 'wr_default' could not be looked up: 503 of the secrets backend; retrying in "
    assert any(message.startswith(said) for message in caplog.messages)


def test_a_wait_outlives_a_lookup_that_fails_once_its_key_was_refused(
    serve: Serve, hook: AnyHook, secrets: Secrets, connect: Connect
) -> None:
    """Airflow 3 reports "not defined" for a connection whose lookup fails."""

    def script(request: Request, peer: Peer) -> None:
        if request.headers["x-api-key"] == "ws_k":
            connect(server.url, api_key="ws_new")
            secrets.errors = [NOT_DEFINED, *AWAY, NOT_DEFINED]
            peer.answer(401, {"message": "Invalid API key"})
        else:
            peer.answer(200, run("COMPLETED"))

    server = serve(script)
    assert hook.wait_for_run(RUN_ID, timeout=10).status == "COMPLETED"
    assert secrets.lookups == 7
    assert server.count() == 2


def test_a_connection_that_was_never_found_ends_a_wait_at_once(hook: AnyHook, secrets: Secrets) -> None:
    secrets.errors = [NOT_DEFINED]
    with pytest.raises(AirflowNotFoundException):
        hook.wait_for_run(RUN_ID, timeout=10)
    assert secrets.lookups == 1


@pytest.mark.parametrize("error", [PermissionError("denied"), WRValidationError("the API key is missing")])
def test_a_connection_that_may_not_be_used_ends_a_wait_at_once(
    hook: AnyHook, secrets: Secrets, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    if isinstance(error, PermissionError):
        secrets.errors = [error]
    else:
        monkeypatch.setenv("AIRFLOW_CONN_WR_DEFAULT", '{"conn_type": "wr"}')
    with pytest.raises(type(error), match=str(error)):
        hook.wait_for_run(RUN_ID, timeout=10)
    assert secrets.lookups == 1


def test_a_timeout_while_the_connection_cannot_be_looked_up(hook: AnyHook, secrets: Secrets) -> None:
    secrets.errors = [RuntimeError("503")] * 10_000
    started = time.monotonic()
    with pytest.raises(WRTimeoutError, match=f"run {RUN_ID} was never reached: the Airflow connection .* 503$"):
        hook.wait_for_run(RUN_ID, timeout=0.3)
    assert time.monotonic() - started < 2.5  # on a slow machine


# --- the deadline -----------------------------------------------------------------------------------------


def dripping(head: bytes, body: bytes = b".") -> Script:
    return lambda request, peer: peer.drip(head, body)


LONG = {"Content-Length": "10000000"}

# Answers that repeat forever: (reads, streams).
NEVER_ENDING: dict[str, tuple[Script, Script]] = {
    "a healthy stream": (reading(), dripping(STREAM_HEAD, PING)),
    "a healthy stream, and events": (reading(), dripping(STREAM_HEAD, event())),
    "a silent stream": (reading(), streaming(then="hang")),
    "no answer to the stream": (reading(), hanging),
    "a slow head of the stream": (reading(), dripping(b"HTTP/1.1 200 OK\r\nX-Slow: ")),
    "a slow refusal of the stream": (reading(), dripping(head(500, LONG))),
    "no answer to the read": (hanging, streaming(then="hang")),
    "a slow head of the read": (dripping(b"HTTP/1.1 200 OK\r\nX-Slow: "), streaming(then="hang")),
    "a slow body of the read": (dripping(head(200, LONG)), streaming(then="hang")),
    "a slow refusal of the read": (dripping(head(500, LONG)), streaming(then="hang")),
    "streams that end": (reading(), streaming(event())),
    "streams that are reset": (reading(), streaming(event(), then="reset")),
    "429 of the stream": (reading(), answering(429, b"", {"Retry-After": "3600"})),
    "429 of the read": (answering(429, b"", {"Retry-After": "3600"}), streaming(then="hang")),
    "500 of both": (answering(500), answering(500)),
    "pages of a proxy": (answering(200, PAGE), answering(200, PAGE)),
    "404": (answering(404), answering(404)),
    "resets": (resetting, resetting),
    "a terminal event, but the run reads EXECUTING": (reading(), streaming(event("COMPLETED"))),
    "a status that nobody knows": (reading("PAUSED"), streaming(event("PAUSED"), then="hang")),
}


NEVER_READ = [reads for name, (reads, _) in NEVER_ENDING.items() if "of the read" in name or "to the read" in name]
NEVER_READ += [NEVER_ENDING[name][0] for name in ("500 of both", "pages of a proxy", "404", "resets")]


@pytest.mark.parametrize(("reads", "streams"), NEVER_ENDING.values(), ids=NEVER_ENDING)
def test_a_wait_does_not_outlive_its_deadline(serve: Serve, hook: AnyHook, reads: Script, streams: Script) -> None:
    server = serve(ScriptedApi(reads=[reads], streams=[streams]))
    fuse = threading.Timer(5, server.close)  # ends the test if the wait does not end
    fuse.start()
    started = time.monotonic()
    with pytest.raises(WRTimeoutError, match=f"the wait timed out after 0.3 s; run {RUN_ID}(,| was)") as raised:
        hook.wait_for_run(RUN_ID, timeout=0.3)
    took = time.monotonic() - started
    fuse.cancel()
    was_read = reads not in NEVER_READ
    assert ("was never reached: " in str(raised.value)) is not was_read
    assert ("last seen " in str(raised.value)) is was_read
    assert 0.3 <= took < 3  # with a margin for slow machines; the final read may take half a second


def test_a_wait_for_a_server_that_is_not_there_ends_at_its_deadline(hook: AnyHook, connect: Connect) -> None:
    connect(f"http://127.0.0.1:{free_port()}")
    started = time.monotonic()
    with pytest.raises(WRTimeoutError) as raised:
        hook.wait_for_run(RUN_ID, timeout=0.3)
    assert 0.3 <= time.monotonic() - started < 2.5  # on a slow machine
    reached = f"run {RUN_ID} was never reached: cannot connect: "
    assert str(raised.value).startswith(f"the wait timed out after 0.3 s; {reached}")
    assert "keeps running" not in str(raised.value)


@pytest.mark.parametrize("options", [{"timeout": 0}, {"timeout": -5}, {"deadline": 1.7e9}], ids=repr)
def test_a_wait_that_wakes_up_after_its_deadline_looks_once(
    serve: Serve, hook: AnyHook, options: dict[str, float]
) -> None:
    server = serve(ScriptedApi(reads=[reading(), reading("COMPLETED")], streams=[streaming(then="hang")]))
    with pytest.raises(WRTimeoutError, match="last seen EXECUTING, keeps running"):
        hook.wait_for_run(RUN_ID, **options)
    assert server.count() == 1
    assert hook.wait_for_run(RUN_ID, **options).status == "COMPLETED"
    assert server.count() == 2


def test_a_run_that_ends_unseen_is_seen_at_the_deadline(serve: Serve, hook: AnyHook) -> None:
    """Heartbeats continue, and the terminal event was lost."""
    serve(ScriptedApi(reads=[reading(), reading("COMPLETED")], streams=[dripping(STREAM_HEAD, PING)]))
    assert hook.wait_for_run(RUN_ID, timeout=0.3).status == "COMPLETED"


def test_the_error_names_the_timeout_that_was_given(serve: Serve, hook: AnyHook) -> None:
    """Also if the wait started earlier, in another process."""
    serve(ScriptedApi(reads=[reading()], streams=[streaming(then="hang")]))
    with pytest.raises(WRTimeoutError, match="timed out after 5 s; "):
        hook.wait_for_run(RUN_ID, timeout=5, deadline=time.time() + 0.1)
    with pytest.raises(WRTimeoutError, match="the wait timed out; "):
        hook.wait_for_run(RUN_ID, timeout=None, deadline=time.time() + 0.1)


def test_without_a_deadline_a_wait_takes_as_long_as_it_takes(
    serve: Serve, hook: AnyHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "SILENCE", 0.05)
    serve(ScriptedApi(reads=[reading()] * 8 + [reading("COMPLETED")], streams=[streaming(then="hang")]))
    assert hook.wait_for_run(RUN_ID, timeout=None).status == "COMPLETED"


def test_a_wait_leaves_no_connection_behind(serve: Serve, new_hook: Callable[..., AnyHook]) -> None:
    server = serve(ScriptedApi(reads=[reading()], streams=[streaming(event(), then="hang")]))
    hook = new_hook()
    with pytest.raises(WRTimeoutError):
        hook.wait_for_run(RUN_ID, timeout=0.2)
    hook.close()
    gc.collect()  # urllib3 closes pooled connections when the pool is garbage-collected
    server.wait_until_alone()


def test_what_is_no_stream_is_let_go_at_once(serve: Serve, hook: AnyHook) -> None:
    def answer_a_page(request: Request, peer: Peer) -> None:
        peer.send(head(200, {"Content-Type": "text/html", "Content-Length": "9"}))
        peer.hang()

    server = serve(answer_a_page)
    with pytest.raises(WRProtocolError, match="text/html"):
        hook.stream_run(RUN_ID)
    server.wait_until_alone()
