"""A run that is started twice may pay twice: how often a trigger is sent, and which error is raised."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from servers import RUN_ID, WORKFLOW_ID, Peer, RawServer, Request, Script, free_port, head, run

from airflow_provider_wr.api.answers import CALL_ATTEMPTS
from airflow_provider_wr.exceptions import (
    WRAuthError,
    WRConnectionError,
    WRError,
    WRNotFoundError,
    WRProtocolError,
    WRRateLimitError,
    WRServerError,
    WRTimeoutError,
    WRTriggerUnknownError,
    WRValidationError,
)
from airflow_provider_wr.sandbox.server import Sandbox

from .both import AnyHook
from .conftest import Connect, Serve

STARTED = {"runId": RUN_ID, "jobId": "bull-1"}


def answer(*args: Any) -> Script:
    return lambda request, peer: peer.answer(*args)


def send_and_close(*pieces: bytes) -> Script:
    def script(request: Request, peer: Peer) -> None:
        peer.send(*pieces)
        peer.close()

    return script


# Answers that do not prove that no run was started: (script, class of the reason).
DOUBTS: dict[str, tuple[Script, type[WRError]]] = {
    "no answer": (lambda request, peer: peer.hang(), WRTimeoutError),
    "half a head": (
        lambda request, peer: (peer.send(b"HTTP/1.1 201 Created\r\n"), peer.hang()),  # type: ignore[dict-item]
        WRTimeoutError,
    ),
    "half a body": (
        lambda request, peer: (  # type: ignore[dict-item]
            peer.send(head(201, {"Content-Length": "99"}), b'{"runId"'),
            peer.hang(),
        ),
        WRTimeoutError,
    ),
    "a slow body": (lambda request, peer: peer.drip(head(201, {"Content-Length": "9999"})), WRTimeoutError),
    "reset": (lambda request, peer: peer.reset(), WRConnectionError),
    "closed": (lambda request, peer: peer.close(), WRConnectionError),
    "closed in the head": (send_and_close(b"HTTP/1.1 2"), WRConnectionError),
    "closed in the body": (
        send_and_close(head(201, {"Content-Length": "99"}), b'{"runId": "'),
        WRConnectionError,
    ),
    "closed in a chunk": (
        send_and_close(head(201, {"Transfer-Encoding": "chunked"}), b'ff\r\n{"runId": "'),
        WRConnectionError,
    ),
    "no HTTP": (send_and_close(b"\x00\x01\x02\r\n\r\n"), WRConnectionError),
    "408": (answer(408, {"message": "slow"}), WRTimeoutError),
    "500": (answer(500, {"error": "boom"}), WRServerError),
    "502 of a proxy": (answer(502, "<html>Bad Gateway</html>"), WRServerError),
    "503": (answer(503, b"", {"Retry-After": "0"}), WRServerError),
    "504 of a proxy": (answer(504, "<html>Gateway Timeout</html>"), WRServerError),
    "303": (answer(303, b"", {"Location": "/there"}), WRProtocolError),
    "201 without a run": (answer(201, {"jobId": "bull-1"}), WRProtocolError),
    "499 of a proxy": (answer(499, "<html>Client closed the request</html>"), WRError),
    "101": (answer(101), WRProtocolError),
    "304": (answer(304), WRProtocolError),
    "two lengths": (
        lambda request, peer: peer.send(b"HTTP/1.1 201 Created\r\nContent-Length: 5\r\nContent-Length: 9\r\n\r\n"),
        WRConnectionError,
    ),
    "201 with an object": (answer(201, {"runId": {"id": RUN_ID}}), WRProtocolError),
    "201 with null": (answer(201, {"runId": None}), WRProtocolError),
    "201 with a page": (answer(201, "<html>ok</html>"), WRProtocolError),
    "201, empty": (answer(201), WRProtocolError),
    "204": (lambda request, peer: peer.send(head(204)), WRProtocolError),
}


@pytest.mark.parametrize(("script", "reason"), DOUBTS.values(), ids=DOUBTS)
def test_a_trigger_in_doubt_is_sent_once(
    serve: Serve, hook: AnyHook, script: Script, reason: type[WRError]
) -> None:
    server = serve(script, read_timeout=0.4)
    with pytest.raises(WRTriggerUnknownError) as caught:
        hook.trigger_run()
    assert server.count() == 1
    assert type(caught.value.reason) is reason
    said = str(caught.value)
    assert f"POST /v1/sdk/workflows/{WORKFLOW_ID}" in said
    assert f"workflow {WORKFLOW_ID} was triggered at 20" in said
    assert "whether a run started is not known" in said


# Answers that prove that no run was started: (script, class of the error, number of attempts).
REFUSALS: dict[str, tuple[Script, type[WRError], int]] = {
    "400": (answer(400, {"message": "no"}), WRValidationError, 1),
    "401": (answer(401, {"message": "no"}), WRAuthError, 1),
    "403": (answer(403, {"message": "no"}), WRAuthError, 1),
    "404": (answer(404, {"message": "no"}), WRNotFoundError, 1),
    "409": (answer(409, {"message": "no"}), WRValidationError, 1),
    "422": (answer(422, {"message": "no"}), WRValidationError, 1),
    "429": (answer(429, {"message": "no"}), WRRateLimitError, CALL_ATTEMPTS),
    "429, much later": (answer(429, b"", {"Retry-After": "3600"}), WRRateLimitError, 1),
    **{
        str(status): (answer(status, b"", {"Location": "/there"}), WRProtocolError, 1)
        for status in (301, 302, 307, 308)
    },
}


@pytest.mark.parametrize(("script", "kind", "sent"), REFUSALS.values(), ids=REFUSALS)
def test_a_refused_trigger_is_known_to_have_started_nothing(
    serve: Serve, hook: AnyHook, script: Script, kind: type[WRError], sent: int
) -> None:
    server = serve(script)
    with pytest.raises(WRError) as caught:
        hook.trigger_run()
    assert type(caught.value) is kind
    assert server.count() == sent


@pytest.mark.parametrize("fault", [{"reset": True}, {"status": 503}, {"html": True}, {"delay": 0.5}])
def test_a_trigger_that_was_obeyed_without_our_hearing_of_it_starts_one_run(
    sandbox: Sandbox, hook: AnyHook, connect: Connect, fault: dict[str, Any]
) -> None:
    connect(sandbox.url, api_key=sandbox.api_key, read_timeout=0.2)
    sandbox.control.fault("trigger", obey=True, **fault)
    with pytest.raises(WRTriggerUnknownError):
        hook.trigger_run()
    assert len(sandbox.control.runs()) == 1


def test_a_trigger_is_sent_again_after_429(sandbox: Sandbox, hook: AnyHook) -> None:
    sandbox.control.fault("trigger", status=429, retry_after="0", times=CALL_ATTEMPTS - 1)
    triggered = hook.trigger_run()
    assert [each["id"] for each in sandbox.control.runs()] == [triggered.run_id]
    assert len(sandbox.control.requests()) == CALL_ATTEMPTS


def test_a_trigger_waits_for_retry_after(serve: Serve, hook: AnyHook) -> None:
    answers = iter([(429, b"", {"Retry-After": "1"})])
    times = []

    def script(request: Request, peer: Peer) -> None:
        times.append(time.monotonic())
        peer.answer(*next(answers, (201, STARTED)))

    serve(script)
    assert hook.trigger_run().run_id == RUN_ID
    assert times[1] - times[0] >= 1


def test_a_trigger_is_sent_again_to_a_port_that_opens_later(
    hook: AnyHook, connect: Connect, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The server opens its port after the log shows that a first attempt was refused."""
    port = free_port()
    opened: list[RawServer] = []

    def open_port(message: str) -> None:
        if "cannot connect" in message and not opened:
            opened.append(RawServer(answer(201, STARTED), port=port))

    watch_log(monkeypatch, open_port)
    connect(f"http://127.0.0.1:{port}")
    assert hook.trigger_run().run_id == RUN_ID
    opened[0].close()
    assert opened[0].count() == 1


def watch_log(monkeypatch: pytest.MonkeyPatch, see: Callable[[str], None]) -> None:
    class Watch(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            see(record.getMessage())
            return True

    watch = Watch()
    log = logging.getLogger("airflow_provider_wr.waiting.backoff")
    monkeypatch.setattr(log, "filters", [*log.filters, watch])


def test_a_refused_connection_started_nothing(hook: AnyHook, connect: Connect) -> None:
    connect(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(WRConnectionError) as caught:
        hook.trigger_run()
    assert "cannot connect" in str(caught.value)


def test_a_proxy_that_is_not_there_started_nothing(
    hook: AnyHook, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    connect("http://api.localhost")
    with pytest.raises(WRConnectionError, match="cannot connect"):
        hook.trigger_run()


@pytest.mark.parametrize("ending", ["close", "reset"])
def test_a_pooled_connection_that_died_puts_no_trigger_in_doubt(serve: Serve, hook: AnyHook, ending: str) -> None:
    """The server keeps the connection of a plain call alive, and closes it when the next request comes."""
    served: set[Peer] = set()

    def script(request: Request, peer: Peer) -> None:
        if peer in served:
            getattr(peer, ending)()
            return
        served.add(peer)
        if request.is_trigger:
            peer.answer(201, STARTED)
        else:
            peer.answer(200, run())

    server = serve(script)
    hook.get_run(RUN_ID)
    assert hook.trigger_run().run_id == RUN_ID
    assert hook.trigger_run().run_id == RUN_ID
    assert server.count(lambda request: request.is_trigger) == 2


def test_each_trigger_has_its_own_connection_and_closes_it(serve: Serve, hook: AnyHook) -> None:
    server = serve(answer(201, STARTED))
    for _ in range(3):
        hook.trigger_run()
    assert server.connections == 3
    server.wait_until_alone()


def test_triggers_at_once_are_as_many_runs(sandbox: Sandbox, new_hook: Callable[..., AnyHook]) -> None:
    started: list[str] = []
    threads = [threading.Thread(target=lambda: started.append(new_hook().trigger_run().run_id)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(started) == sorted(each["id"] for each in sandbox.control.runs())
    assert len(started) == 8
