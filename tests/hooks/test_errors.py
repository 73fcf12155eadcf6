"""Network and server errors: both hooks raise the same error with the same message."""

from __future__ import annotations

import gzip
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import pytest
from servers import (
    API_KEY,
    COMPONENT_ID,
    RUN_ID,
    STREAM_HEAD,
    WORKFLOW_ID,
    Peer,
    RawServer,
    Request,
    Script,
    event,
    free_port,
    head,
    run,
)

from airflow_provider_wr.api import answers
from airflow_provider_wr.exceptions import (
    WRAuthError,
    WRConnectionError,
    WRError,
    WRNotFoundError,
    WRProtocolError,
    WRRateLimitError,
    WRServerError,
    WRTimeoutError,
    WRValidationError,
)

from .both import HOOKS, AnyHook, Async
from .conftest import Authority, Connect, Serve

GET_RUN = f"GET /v1/sdk/workflows/executions/{RUN_ID}"
ALL = answers.CALL_ATTEMPTS


@dataclass
class Case:
    """
    An answer, and the expected error.

    :param attempts: how often the call is sent in total.
    :param says: the full message of the error, as a regular expression; ``CALL`` is replaced by the call.
    """

    script: Script
    kind: type[WRError]
    says: str
    attempts: int = 1
    facts: dict[str, Any] = field(default_factory=dict)


def answer(*args: Any, **kwargs: Any) -> Script:
    return lambda request, peer: peer.answer(*args, **kwargs)


def in_an_hour() -> str:
    return format_datetime(datetime.now(timezone.utc) + timedelta(hours=1), usegmt=True)


def hang(request: Request, peer: Peer) -> None:
    peer.hang()


def reset(request: Request, peer: Peer) -> None:
    peer.reset()


def close(request: Request, peer: Peer) -> None:
    peer.close()


def half_an_answer(request: Request, peer: Peer) -> None:
    peer.send(head(200, {"Content-Length": "100"}), b'{"id": ')
    peer.close()


def half_a_chunk(request: Request, peer: Peer) -> None:
    peer.send(head(200, {"Transfer-Encoding": "chunked"}), b'64\r\n{"id": ')
    peer.close()


def no_http(request: Request, peer: Peer) -> None:
    peer.send(b"220 smtp.example.com ESMTP\r\n")
    peer.close()


def no_gzip(request: Request, peer: Peer) -> None:
    peer.answer(200, b"this is not gzip", {"Content-Encoding": "gzip"})


OF_TIME = "check the timeouts of connection 'wr_default', and the network"
TIMED_OUT = rf"timed out waiting for the answer: {OF_TIME} \(CALL\)"
FEWER = "make fewer calls over connection 'wr_default'"
ELSEWHERE = "the fault is on the other side of connection 'wr_default'"
HOST = "check the host of connection 'wr_default'"
BROKE = r"the connection broke: .+: check the host of connection 'wr_default', and the network \(CALL\)"

CASES = {
    "400": Case(
        answer(400, {"error": "Bad Request", "message": "no"}),
        WRValidationError,
        r"400 no: sent over connection 'wr_default' \(CALL\)",
    ),
    "401": Case(
        answer(401, {"errors": [{"code": "UNAUTHORIZED", "message": "Invalid API key"}]}),
        WRAuthError,
        r"401 Invalid API key: check the password of connection 'wr_default' \(CALL\)",
        facts={"errors": [{"code": "UNAUTHORIZED", "message": "Invalid API key"}]},
    ),
    "403": Case(
        answer(403, {"error": "Forbidden", "message": "No access"}),
        WRAuthError,
        r"403 No access: the key of connection 'wr_default' may be .+ \(CALL\)",
    ),
    "404": Case(
        answer(404, {"error": "Not Found", "message": "Run not found"}),
        WRNotFoundError,
        r"404 Run not found: check the id, .+ \(CALL\)",
    ),
    "408": Case(
        answer(408, {"message": "slow"}), WRTimeoutError, rf"408 timed out: slow: {OF_TIME} \(CALL\)", ALL
    ),
    "409": Case(
        answer(409, {"message": "busy"}),
        WRValidationError,
        r"409 busy: sent over connection 'wr_default' \(CALL\)",
    ),
    "418": Case(
        answer(418, {"message": "teapot"}), WRError, r"418 teapot: sent over connection 'wr_default' \(CALL\)"
    ),
    "422": Case(
        answer(422, {"error": "Unprocessable", "message": ["a is wrong", "b too"], "code": "V"}),
        WRValidationError,
        r"422 a is wrong; b too: sent over connection 'wr_default' \(CALL\)",
        facts={
            "errors": [{"code": "V", "message": "a is wrong"}, {"code": "V", "message": "b too"}],
            "details": {"error": "Unprocessable", "message": ["a is wrong", "b too"], "code": "V"},
        },
    ),
    "429": Case(
        answer(429, {"errors": [{"code": "RATE", "message": "Rate limit exceeded"}]}),
        WRRateLimitError,
        rf"429 Rate limit exceeded: {FEWER} \(CALL\)",
        ALL,
        facts={"retry_after": None},
    ),
    "429, a little later": Case(
        answer(429, b"", {"Retry-After": "0"}),
        WRRateLimitError,
        rf"429: {FEWER} \(CALL\)",
        ALL,
        {"retry_after": 0.0},
    ),
    "429, much later": Case(
        answer(429, b"", {"Retry-After": "3600"}),
        WRRateLimitError,
        rf"429: {FEWER} \(CALL\)",
        1,
        {"retry_after": 3600.0},
    ),
    "429, at a date": Case(
        lambda request, peer: peer.answer(429, b"", {"Retry-After": in_an_hour()}),
        WRRateLimitError,
        rf"429: {FEWER} \(CALL\)",
        1,
    ),
    "500": Case(
        answer(500, {"error": "Internal Server Error", "message": "boom"}),
        WRServerError,
        rf"500 boom: {ELSEWHERE} \(CALL\)",
        ALL,
    ),
    "502 of a proxy": Case(
        answer(502, "<html>\n<h1>502 Bad Gateway</h1>\n</html>", {"Content-Type": "text/html"}),
        WRServerError,
        rf"502 <html> <h1>502 Bad Gateway</h1> </html>: {ELSEWHERE} \(CALL\)",
        ALL,
        {"details": "<html> <h1>502 Bad Gateway</h1> </html>"},
    ),
    "503 without a body": Case(answer(503), WRServerError, rf"503: {ELSEWHERE} \(CALL\)", ALL),
    "200 with a page": Case(
        answer(200, "<html>please log in</html>"),
        WRProtocolError,
        rf"the answer is not JSON: <html>please log in</html>: {HOST} \(CALL\)",
    ),
    "200, empty": Case(answer(200), WRProtocolError, rf"the answer is not JSON: it is empty: {HOST} \(CALL\)"),
    "204": Case(
        lambda request, peer: peer.send(head(204)),
        WRProtocolError,
        rf"the answer is not JSON: it is empty: {HOST} \(CALL\)",
    ),
    "200 with a list": Case(answer(200, []), WRProtocolError, rf"a run should be .+ a list: {HOST} \(CALL\)"),
    "200 with another run": Case(
        answer(200, run(id="11111111-2222-4333-8444-555566667777")), WRProtocolError, ".+ another run: 1111.+"
    ),
    "200, nested deeply": Case(answer(200, b"[" * 100_000), WRProtocolError, r".+ \(CALL\)"),
    "too much": Case(answer(200, b"[" + b"1," * 2**20), WRProtocolError, r".+ larger than .+ \(CALL\)"),
    "a gzip bomb": Case(
        answer(200, gzip.compress(b" " * 2**26), {"Content-Encoding": "gzip"}),
        WRProtocolError,
        r".+ larger than .+ \(CALL\)",
    ),
    "an error's gzip bomb": Case(
        answer(400, gzip.compress(b" " * 2**26), {"Content-Encoding": "gzip"}),
        WRValidationError,
        r"400: sent over connection 'wr_default' \(CALL\)",
    ),
    "no gzip": Case(no_gzip, WRConnectionError, BROKE, ALL),
    "reset": Case(reset, WRConnectionError, BROKE, ALL),
    "closed": Case(close, WRConnectionError, BROKE, ALL),
    "half an answer": Case(half_an_answer, WRConnectionError, BROKE, ALL),
    "half a chunk": Case(half_a_chunk, WRConnectionError, BROKE, ALL),
    "no HTTP": Case(no_http, WRConnectionError, BROKE, ALL),
    "silence": Case(hang, WRTimeoutError, TIMED_OUT, ALL),
}


@pytest.fixture(autouse=True)
def _small_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MAX_BODY_BYTES", 2**20)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_an_answer_becomes_an_error(serve: Serve, hook: AnyHook, case: Case) -> None:
    server = serve(case.script, read_timeout=0.15)
    with pytest.raises(WRError) as caught:
        hook.get_run(RUN_ID)
    error = caught.value
    assert type(error) is case.kind
    assert re.fullmatch(case.says.replace("CALL", GET_RUN), str(error)), str(error)
    assert {name: getattr(error, name) for name in case.facts} == case.facts
    # aiohttp itself retries a GET once if the connection closes before any answer.
    by_itself = 2 if isinstance(hook, Async) and case.script in (reset, close) else 1
    assert case.attempts <= server.count() <= case.attempts * by_itself
    assert API_KEY not in str(error)


def test_a_retry_after_date_is_converted_to_seconds(serve: Serve, hook: AnyHook) -> None:
    serve(CASES["429, at a date"].script)
    with pytest.raises(WRRateLimitError) as caught:
        hook.get_run(RUN_ID)
    assert caught.value.retry_after == pytest.approx(3600, abs=5)


def test_a_call_that_failed_on_the_way_is_sent_again(serve: Serve, hook: AnyHook) -> None:
    troubles = iter([CASES["reset"].script, CASES["500"].script, CASES["429"].script])

    def script(request: Request, peer: Peer) -> None:
        next(troubles, answer(200, run()))(request, peer)

    server = serve(script)
    assert hook.get_run(RUN_ID).id == RUN_ID
    assert server.count() == 4


def test_an_update_is_sent_again_too(serve: Serve, hook: AnyHook) -> None:
    troubles = iter([CASES["reset"].script, CASES["500"].script])
    server = serve(lambda request, peer: next(troubles, answer(201))(request, peer))
    hook.update_component(COMPONENT_ID, config={"a": 1})
    assert [request.body for request in server.requests] == [b'{"config":{"a":1}}'] * 3


def test_an_updates_answer_is_ignored(serve: Serve, hook: AnyHook) -> None:
    serve(answer(200, "<html>whatever</html>"))
    hook.update_component(COMPONENT_ID, name="n")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "call",
    [
        lambda hook: hook.get_run(RUN_ID),
        lambda hook: hook.stream_run(RUN_ID),
        lambda hook: hook.update_component(COMPONENT_ID, name="n"),
    ],
    ids=["get", "stream", "update"],
)
def test_a_redirect_is_not_followed(
    serve: Serve, hook: AnyHook, status: int, call: Callable[[AnyHook], Any]
) -> None:
    with RawServer(answer(200, run())) as elsewhere:
        server = serve(answer(status, b"", {"Location": f"{elsewhere.url}/v1/there"}))
        with pytest.raises(WRProtocolError, match="not followed: set the connection's host") as caught:
            call(hook)
        assert elsewhere.connections == 0
    assert f"{elsewhere.url}/v1/there" in str(caught.value)
    assert server.count() == 1


def test_a_refused_connection(hook: AnyHook, connect: Connect) -> None:
    connect(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(
        WRConnectionError, match=rf"^cannot connect: .*(refused|Connect call failed).* \({GET_RUN}\)$"
    ):
        hook.get_run(RUN_ID)


def test_a_server_without_tls(hook: AnyHook, connect: Connect) -> None:
    def serve_http() -> None:
        with suppress(OSError):  # closed at the end
            while True:
                client, _ = listener.accept()
                with client:
                    client.recv(4096)
                    client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve_http, daemon=True).start()
        connect(f"https://127.0.0.1:{listener.getsockname()[1]}")
        said = r"^cannot connect: the server does not speak TLS, set the schema to http"
        with pytest.raises(WRConnectionError, match=said):
            hook.get_run(RUN_ID)
        listener.shutdown(socket.SHUT_RDWR)


def test_a_retry_is_logged_with_its_cause_first_and_no_advice(
    serve: Serve, hook: AnyHook, caplog: pytest.LogCaptureFixture
) -> None:
    serve(answer(503, {"message": "Service unavailable"}))
    with pytest.raises(WRServerError):
        hook.get_run(RUN_ID)
    lines = [message for message in caplog.messages if "retrying" in message]
    assert len(lines) == ALL - 1
    for line in lines:
        assert re.fullmatch(rf"503 Service unavailable; retrying in \d\.\d s \({GET_RUN}\)", line)


@pytest.mark.parametrize("script", [reset, answer(401, {"message": "Invalid API key"})], ids=["reset", "401"])
def test_no_other_traceback_is_shown_where_the_text_has_the_cause(
    serve: Serve, hook: AnyHook, script: Script
) -> None:
    serve(script)
    with pytest.raises(WRError) as caught:
        hook.trigger_run(WORKFLOW_ID)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_an_unknown_host(hook: AnyHook, connect: Connect) -> None:
    connect("https://white-rabbit.invalid")
    with pytest.raises(WRConnectionError, match=rf"^cannot connect: .* \({GET_RUN}\)$"):
        hook.get_run(RUN_ID)


DRIPS = {
    "head": (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"."),
    "body": (head(200, {"Content-Length": "1000000"}), b"."),
    "chunks": (head(200, {"Transfer-Encoding": "chunked"}), b"1\r\n.\r\n"),
    "an error's body": (head(400, {"Content-Length": "1000000"}), b"."),
}


@pytest.mark.parametrize("drip", DRIPS.values(), ids=DRIPS)
def test_a_slow_answer_is_bounded_in_all(serve: Serve, hook: AnyHook, drip: tuple[bytes, bytes]) -> None:
    """Each byte arrives within the read timeout, but the timeout applies to the whole answer."""
    server = serve(lambda request, peer: peer.drip(*drip), read_timeout=0.2)
    started = time.monotonic()
    timer = threading.Timer(8, server.close)  # ends the test if the answer does not end
    timer.start()
    with pytest.raises(WRError) as caught:
        hook.get_run(RUN_ID)
    timer.cancel()
    assert time.monotonic() - started < ALL * 0.2 + 2.5  # on a slow machine
    assert type(caught.value) is WRTimeoutError
    assert "timed out waiting for the answer" in str(caught.value)


# --- TLS --------------------------------------------------------------------------------------------------


@pytest.fixture
def tls_server(authority: Authority) -> Iterator[RawServer]:
    def script(request: Request, peer: Peer) -> None:
        if request.is_stream:
            peer.send(STREAM_HEAD, event("COMPLETED"))
            peer.close()
        else:
            peer.answer(200, run("COMPLETED"))

    with RawServer(script, tls=authority.server) as server:
        yield server


def test_an_untrusted_certificate_is_refused(tls_server: RawServer, hook: AnyHook, connect: Connect) -> None:
    connect(tls_server.url)
    with pytest.raises(WRConnectionError, match=r"cannot connect: .*certificate verify failed"):
        hook.get_run(RUN_ID)
    assert tls_server.count() == 0


@pytest.mark.parametrize("how", ["bundle", "environment", "unverified"])
def test_a_certificate_can_be_vouched_for(
    tls_server: RawServer,
    authority: Authority,
    hook: AnyHook,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    if how == "environment":
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.path))
    verify: Any = {"bundle": str(authority.path), "environment": True, "unverified": False}[how]
    connect(tls_server.url, verify=verify)
    assert hook.get_run(RUN_ID).id == RUN_ID
    assert hook.wait_for_run(RUN_ID).status == "COMPLETED"


def test_a_stream_over_tls_is_cut_at_the_deadline(authority: Authority, hook: AnyHook, connect: Connect) -> None:
    def script(request: Request, peer: Peer) -> None:
        if request.is_stream:
            peer.drip(STREAM_HEAD, b":ping\n\n")
        peer.answer(200, run())

    with RawServer(script, tls=authority.server) as server:
        connect(server.url, verify=str(authority.path))
        started = time.monotonic()
        with pytest.raises(WRTimeoutError, match=r"the wait timed out after 0.3 s"):
            hook.wait_for_run(RUN_ID, timeout=0.3)
        assert time.monotonic() - started < 2.5  # on a slow machine


# --- completeness -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.kind is not WRTimeoutError])
def test_both_hooks_raise_the_same_errors(serve: Serve, name: str) -> None:
    """Word for word, except the library's own text at the end of a network error."""
    serve(CASES[name].script, read_timeout=0.15)
    said = []
    for kind in HOOKS.values():
        hook = kind()
        with pytest.raises(WRError) as caught:
            hook.get_run(RUN_ID)
        hook.close()
        error = caught.value
        text = re.sub(r"(the connection broke): .*", r"\1", str(error))
        said.append((type(error), text, error.status_code, error.details, error.errors))
    assert said[0] == said[1]
