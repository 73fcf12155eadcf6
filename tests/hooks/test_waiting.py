"""Waiting for a run through everything that can happen to a stream, a server and a key."""

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


class Api:
    """
    A scripted API of one run.

    :param reads: what the run's reads are answered with, in order; the last for ever.
    :param streams: what the run's streams are answered with, in order; the last for ever.
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
        """End the run where its stream tells of the end."""
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
        Api(
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


def test_an_error_of_on_event_is_the_callers_own(serve: Serve, hook: AnyHook) -> None:
    serve(Api(reads=[reading()], streams=[streaming(event(), then="hang")]))

    def on_event(event: RunEvent) -> None:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        hook.wait_for_run(RUN_ID, on_event=on_event)


def test_progress_is_logged(serve: Serve, hook: AnyHook, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "airflow_provider_wr.waiting")
    stages = [
        {"id": str(number), "module": module, "status": status, "executionAttempt": 2}
        for number, (module, status) in enumerate([("HTTP_REQUEST", "RUNNING"), ("FOR_EACH", "CREATED")])
    ]
    serve(
        Api(
            reads=[
                reading(pendingStageCount=2, totalUsage=5, runStages=stages),
                reading("COMPLETED", totalUsage=7),
            ],
            # An event that changes nothing is not told, and neither is one within a second of the last line.
            streams=[streaming(event(pendingStageCount=2, nonTerminalStages=stages), event("COMPLETED"))],
        )
    )
    hook.wait_for_run(RUN_ID)
    ours = [record for record in caplog.records if record.name.startswith("airflow_provider_wr.waiting.")]
    assert [record.getMessage() for record in ours] == [
        "EXECUTING | 2 stages pending | 5 credits | running: HTTP_REQUEST (attempt 2)",
        "COMPLETED",
        "COMPLETED | 0 stages pending | 7 credits",
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
    api = Api(reads=[reading()], streams=[*cuts, streaming(RECORDED, then="hang")])
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
    api = Api(reads=[reading()], streams=[streaming(*(bytes([byte]) for byte in RECORDED), then="hang")])
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
    api = Api(reads=[reading()], streams=[streaming(data[:100_001], data[100_001:], event("COMPLETED"))])
    serve(api)
    seen: list[RunEvent] = []

    def on_event(event: RunEvent) -> None:
        seen.append(event)
        api.see(event)

    hook.wait_for_run(RUN_ID, on_event=on_event)
    assert len(seen[0].active_stages) == 2000


# --- trouble that time may mend ---------------------------------------------------------------------------


def in_a_second() -> str:
    # An HTTP date has whole seconds: this one is between 0 and 1 s ahead.
    return format_datetime(datetime.now(timezone.utc) + timedelta(seconds=1), usegmt=True)


GOOD_STREAM = streaming(event(), event("COMPLETED"), then="hang")

# Each is met by the stream, or by the read, and then all is well: (reads, streams).
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
    api = Api(reads=reads, streams=streams)
    serve(api, read_timeout=0.15)
    terminal_event_counts = streams[-1] is GOOD_STREAM
    on_event = api.see if terminal_event_counts else None
    assert hook.wait_for_run(RUN_ID, timeout=10, on_event=on_event).status == "COMPLETED"


def test_heartbeats_keep_a_stream_alive(serve: Serve, hook: AnyHook, monkeypatch: pytest.MonkeyPatch) -> None:
    """Either form of them, and half a line: any byte is a sign of life."""
    monkeypatch.setattr(rules, "SILENCE", 0.15)

    def stream(request: Request, peer: Peer) -> None:
        peer.send(STREAM_HEAD)
        peer.send(PING, b"data: :ping\n\n", b":", b"p", b"i", b"n", b"g", b"\n\n", every=0.06)
        peer.send(event("COMPLETED"))

    api = Api(reads=[reading()], streams=[stream])
    server = serve(api)
    assert hook.wait_for_run(RUN_ID, timeout=5, on_event=api.see).status == "COMPLETED"
    assert server.count(lambda request: request.is_stream) == 1


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
        api = Api(reads=[busy, note(reading("COMPLETED"))], streams=[streaming(then="hang")])
    else:
        api = Api(reads=[note(reading("COMPLETED"))], streams=[busy, streaming(then="hang")])
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

    servers.append(RawServer(Api(reads=[reading()], streams=[last_words]), port=port))
    connect(servers[0].url)

    def come_back() -> None:
        gone.wait()
        time.sleep(0.1)  # in which connections are refused
        servers.append(RawServer(Api(reads=[reading("COMPLETED")], streams=[streaming(then="hang")]), port=port))

    returning = threading.Thread(target=come_back)
    returning.start()
    try:
        assert hook.wait_for_run(RUN_ID, timeout=10).status == "COMPLETED"
    finally:
        returning.join()
        servers[1].close()


def test_each_turn_of_a_wait_pauses(serve: Serve, hook: AnyHook, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that ends at once must not become a flood of requests."""
    monkeypatch.setattr(backoff, "MAX_PAUSE", 60.0)
    server = serve(Api(reads=[reading()], streams=[streaming()]))
    with pytest.raises(WRTimeoutError):
        hook.wait_for_run(RUN_ID, timeout=0.5)
    assert server.count() < 100


@pytest.mark.parametrize("status", [401, 403])
def test_a_stream_that_is_refused_while_the_run_can_be_read_is_no_flood(
    serve: Serve, hook: AnyHook, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(backoff, "MAX_PAUSE", 60.0)
    server = serve(Api(reads=[reading()], streams=[answering(status, {"message": "no"})]))
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


# --- trouble that time cannot mend ------------------------------------------------------------------------


@pytest.mark.parametrize("met_by", ["read", "stream"])
@pytest.mark.parametrize("status", [400, 409, 418, 422])
def test_a_wait_ends_at_once_for_what_time_cannot_mend(
    serve: Serve, hook: AnyHook, met_by: str, status: int
) -> None:
    refusing = answering(status, {"message": "no"})
    if met_by == "read":
        server = serve(Api(reads=[refusing], streams=[streaming(then="hang")]))
    else:
        server = serve(Api(reads=[reading()], streams=[refusing]))
    with pytest.raises(WRError, match=f"answered {status}: no") as caught:
        hook.wait_for_run(RUN_ID)
    assert type(caught.value) is (WRError if status == 418 else WRValidationError)
    assert server.count() <= 2


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_stays_refused_ends_the_wait_after_one_more_look(
    serve: Serve, hook: AnyHook, status: int
) -> None:
    server = serve(answering(status, {"message": "no"}))
    with pytest.raises(WRAuthError, match=f"answered {status}"):
        hook.wait_for_run(RUN_ID)
    assert server.count() == 2


def test_a_key_that_is_refused_later_is_given_another_look(
    serve: Serve, hook: AnyHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each refusal may be the first of a new rotation, once what was read before is not fresh any more."""
    monkeypatch.setattr(rules, "KEY_IS_FRESH", 0.0)
    refused = answering(401, {"message": "no"})
    api = Api(
        reads=[reading()], streams=[refused, streaming(event()), refused, streaming(event()), refused, GOOD_STREAM]
    )
    serve(api)
    assert hook.wait_for_run(RUN_ID, on_event=api.see).status == "COMPLETED"


def test_a_key_is_rotated_during_a_wait(sandbox: Sandbox, hook: AnyHook, connect: Connect) -> None:
    """New in White Rabbit and then in Airflow: the stream goes on, and the next call has the new key."""
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


# --- the deadline -----------------------------------------------------------------------------------------


def dripping(head: bytes, body: bytes = b".") -> Script:
    return lambda request, peer: peer.drip(head, body)


LONG = {"Content-Length": "10000000"}

# What goes on for ever: (reads, streams).
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


@pytest.mark.parametrize(("reads", "streams"), NEVER_ENDING.values(), ids=NEVER_ENDING)
def test_a_wait_does_not_outlive_its_deadline(serve: Serve, hook: AnyHook, reads: Script, streams: Script) -> None:
    server = serve(Api(reads=[reads], streams=[streams]))
    fuse = threading.Timer(5, server.close)  # so that the test ends where the wait does not
    fuse.start()
    started = time.monotonic()
    with pytest.raises(WRTimeoutError, match=f"wait for run {RUN_ID} timed out after 0.3 s; the run, last seen "):
        hook.wait_for_run(RUN_ID, timeout=0.3)
    took = time.monotonic() - started
    fuse.cancel()
    assert 0.3 <= took < 2.5  # on a slow machine


def test_a_wait_for_a_server_that_is_not_there_ends_at_its_deadline(hook: AnyHook, connect: Connect) -> None:
    connect(f"http://127.0.0.1:{free_port()}")
    started = time.monotonic()
    with pytest.raises(WRTimeoutError, match="last seen not seen, goes on"):
        hook.wait_for_run(RUN_ID, timeout=0.3)
    assert 0.3 <= time.monotonic() - started < 2.5  # on a slow machine


@pytest.mark.parametrize("timeout", [0, -5])
def test_a_deadline_that_has_passed_already_ends_the_wait_at_once(
    serve: Serve, hook: AnyHook, timeout: float
) -> None:
    server = serve(Api(reads=[reading()], streams=[streaming(then="hang")]))
    with pytest.raises(WRTimeoutError):
        hook.wait_for_run(RUN_ID, timeout=timeout)
    assert server.count() == 0


def test_without_a_deadline_a_wait_takes_as_long_as_it_takes(
    serve: Serve, hook: AnyHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "SILENCE", 0.05)
    serve(Api(reads=[reading()] * 8 + [reading("COMPLETED")], streams=[streaming(then="hang")]))
    assert hook.wait_for_run(RUN_ID, timeout=None).status == "COMPLETED"


def test_a_wait_leaves_no_connection_behind(serve: Serve, new_hook: Callable[..., AnyHook]) -> None:
    server = serve(Api(reads=[reading()], streams=[streaming(event(), then="hang")]))
    hook = new_hook()
    with pytest.raises(WRTimeoutError):
        hook.wait_for_run(RUN_ID, timeout=0.2)
    hook.close()
    gc.collect()  # urllib3 closes the connections of a pool when it is collected
    server.wait_until_alone()


def test_what_is_no_stream_is_let_go_at_once(serve: Serve, hook: AnyHook) -> None:
    def answer_a_page(request: Request, peer: Peer) -> None:
        peer.send(head(200, {"Content-Type": "text/html", "Content-Length": "9"}))
        peer.hang()

    server = serve(answer_a_page)
    with pytest.raises(WRProtocolError, match="text/html"):
        hook.stream_run(RUN_ID)
    server.wait_until_alone()
