"""Whatever happens between Airflow and the API, a trigger is sent once, or certainly not at all."""

from __future__ import annotations

import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
from servers import RUN_ID, Peer, RawServer, Request, Script, head

from airflow_provider_wr.exceptions import WRConnectionError, WRError, WRTimeoutError, WRTriggerUnknownError

from .both import AnyHook, Async
from .conftest import Authority, Connect, Serve

STARTED = f'{{"runId": "{RUN_ID}", "jobId": "bull-1"}}'
WHOLE = f"HTTP/1.1 201 Created\r\nContent-Length: {len(STARTED)}\r\n\r\n{STARTED}".encode()


@pytest.fixture(autouse=True)
def _no_proxies_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def start(request: Request, peer: Peer) -> None:
    peer.send(WHOLE)


def send_and_close(*pieces: bytes) -> Script:
    def script(request: Request, peer: Peer) -> None:
        peer.send(*pieces)
        peer.close()

    return script


def hang(request: Request, peer: Peer) -> None:
    peer.hang()


#: What a server does after reading a request: the answer is lost.
LOSES: dict[str, Script] = {
    "closes": lambda request, peer: peer.close(),
    "resets": lambda request, peer: peer.reset(),
    "never answers": hang,
    "answers half": send_and_close(WHOLE[:-1]),
    "answers without end": lambda request, peer: peer.drip(head(201), b" "),
    "answers a head without end": lambda request, peer: peer.drip(b"HTTP/1.1 201 Created\r\nX-Slow: ", b"."),
}


# --- proxies ----------------------------------------------------------------------------------------------


@dataclass
class Tunnel:
    """What a proxy does with CONNECT: tunnel to ``target``, possibly under another name."""

    target: RawServer
    cut_after: int | None = None
    """Bytes from the client after which the proxy closes; None for never."""

    def __call__(self, request: Request, peer: Peer) -> None:
        assert request.method == "CONNECT"
        with socket.create_connection(("127.0.0.1", self.target.port)) as upstream:
            peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_pump, args=(upstream, peer._socket), daemon=True)
            back.start()
            _pump(peer._socket, upstream, self.cut_after)
            with suppress(OSError):
                upstream.shutdown(socket.SHUT_RDWR)
            back.join(10)
        peer.close()


def _pump(source: socket.socket, sink: socket.socket, limit: int | None = None) -> None:
    moved = 0
    with suppress(OSError):
        while data := source.recv(65536):
            moved += len(data)
            if limit is not None and moved > limit:
                return
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


#: The scheme of the proxy's URL, and of the target's.
PROXIES = ["plain", "plain over TLS", "tunnel", "tunnel over TLS"]

#: asyncio supports TLS within TLS since Python 3.11; before, nothing is sent.
ASYNC_TLS_IN_TLS = sys.version_info >= (3, 11)


@pytest.fixture
def proxied(
    monkeypatch: pytest.MonkeyPatch, connect: Connect, authority: Authority
) -> Iterator[Callable[..., RawServer]]:
    """A function that puts a server behind a proxy; it returns the one that reads the trigger."""
    with ExitStack() as stack:

        def serve(way: str, script: Script, **options: Any) -> RawServer:
            tls = authority.server if way.endswith("over TLS") else None
            if way.startswith("plain"):  # the proxy reads the request itself
                server = proxy = stack.enter_context(RawServer(script, tls=tls))
                url = "http://api.localhost"
            else:
                server = stack.enter_context(RawServer(script, tls=authority.server))
                proxy = stack.enter_context(RawServer(Tunnel(server, **options), tls=tls))
                url = server.url
            for scheme in ("HTTP_PROXY", "HTTPS_PROXY"):
                monkeypatch.setenv(scheme, f"{'https' if tls else 'http'}://127.0.0.1:{proxy.port}")
            connect(url, verify=str(authority.path), read_timeout=0.4)
            return server

        yield serve


@pytest.mark.parametrize("script", LOSES.values(), ids=LOSES)
@pytest.mark.parametrize("way", PROXIES)
def test_an_answer_that_is_lost_behind_a_proxy_leaves_a_doubt(
    proxied: Callable[..., RawServer], hook: AnyHook, way: str, script: Script
) -> None:
    server = proxied(way, script)
    if way == "tunnel over TLS" and isinstance(hook, Async) and not ASYNC_TLS_IN_TLS:
        with pytest.raises(WRConnectionError):
            hook.trigger_run()
        assert server.count() == 0
        return
    with pytest.raises(WRTriggerUnknownError):
        hook.trigger_run()
    assert server.count(lambda request: request.is_trigger) == 1


@pytest.mark.parametrize("way", PROXIES)
def test_behind_a_proxy_a_run_is_started(proxied: Callable[..., RawServer], hook: AnyHook, way: str) -> None:
    server = proxied(way, start)
    if way == "tunnel over TLS" and isinstance(hook, Async) and not ASYNC_TLS_IN_TLS:
        pytest.skip("asyncio does TLS within TLS from Python 3.11 on")
    assert hook.trigger_run().run_id == RUN_ID
    assert server.count(lambda request: request.is_trigger) == 1


@pytest.mark.parametrize("status", [502, 503, 504])
def test_an_error_of_a_plain_proxy_leaves_a_doubt(
    proxied: Callable[..., RawServer], hook: AnyHook, status: int
) -> None:
    server = proxied("plain", lambda request, peer: peer.answer(status, "<html>Bad gateway</html>"))
    with pytest.raises(WRTriggerUnknownError):
        hook.trigger_run()
    assert server.count() == 1


#: How a proxy refuses CONNECT.
NO_TUNNEL: dict[str, Script] = {
    "403": lambda request, peer: peer.answer(403, "no"),
    "407": lambda request, peer: peer.answer(407, "who are you?"),
    "502": lambda request, peer: peer.answer(502, "<html>Bad gateway</html>"),
    "closes": lambda request, peer: peer.close(),
    "resets": lambda request, peer: peer.reset(),
    "closes after its 200": send_and_close(b"HTTP/1.1 200 OK\r\n\r\n"),
    "no TLS after its 200": send_and_close(b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"),
}


@pytest.mark.parametrize("script", NO_TUNNEL.values(), ids=NO_TUNNEL)
def test_without_a_tunnel_nothing_is_sent(
    monkeypatch: pytest.MonkeyPatch, connect: Connect, hook: AnyHook, script: Script
) -> None:
    with RawServer(script) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        connect("https://wr.invalid", read_timeout=0.4)
        with pytest.raises((WRConnectionError, WRTimeoutError)) as caught:
            hook.trigger_run()
        assert caught.value.sent is False
        assert proxy.count(lambda request: request.method != "CONNECT") == 0


# --- TLS --------------------------------------------------------------------------------------------------


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Listen on a free port, and hand each connection to ``serve``."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closing = threading.Event()

        def accept() -> None:
            while True:
                sock, _ = listener.accept()
                with sock, suppress(OSError):
                    if closing.is_set():
                        return
                    serve(sock)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        port: int = listener.getsockname()[1]
        yield port
        closing.set()
        socket.create_connection(("127.0.0.1", port)).close()
        thread.join(10)


def old_tls(authority: Authority) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.path, authority.path.with_name("key.pem"))
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


HANDSHAKES: dict[str, Callable[[socket.socket, Authority], object]] = {
    "closed at once": lambda sock, authority: None,
    "closed after the hello": lambda sock, authority: sock.recv(65536),
    "plain HTTP": lambda sock, authority: sock.recv(65536) and sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "stalls": lambda sock, authority: [sock.recv(65536), sock.recv(65536)],
    "another version": lambda sock, authority: old_tls(authority).wrap_socket(sock, server_side=True),
}


@pytest.mark.parametrize("handshake", HANDSHAKES.values(), ids=HANDSHAKES)
def test_before_the_end_of_the_handshake_nothing_is_sent(
    hook: AnyHook,
    connect: Connect,
    authority: Authority,
    handshake: Callable[[socket.socket, Authority], object],
) -> None:
    with listening(lambda sock: handshake(sock, authority) and None) as port:
        connect(f"https://127.0.0.1:{port}", verify=str(authority.path), connect_timeout=0.3, read_timeout=0.3)
        with pytest.raises((WRConnectionError, WRTimeoutError)) as caught:
            hook.trigger_run()
        assert caught.value.sent is False


@pytest.mark.parametrize("script", LOSES.values(), ids=LOSES)
def test_after_the_handshake_an_answer_that_is_lost_leaves_a_doubt(
    hook: AnyHook, connect: Connect, authority: Authority, script: Script
) -> None:
    with RawServer(script, tls=authority.server) as server:
        connect(server.url, verify=str(authority.path), read_timeout=0.4)
        with pytest.raises(WRTriggerUnknownError):
            hook.trigger_run()
        assert server.count() == 1


# --- the head, byte by byte -------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "reset"])
def test_an_answer_that_breaks_off_at_any_byte_leaves_a_doubt(serve: Serve, hook: AnyHook, how: str) -> None:
    lengths = iter(range(len(WHOLE)))

    def script(request: Request, peer: Peer) -> None:
        peer.send(WHOLE[: next(lengths)])
        getattr(peer, how)()

    server = serve(script)
    for count in range(1, len(WHOLE) + 1):
        with pytest.raises(WRTriggerUnknownError):
            hook.trigger_run()
        assert server.count() == server.connections == count


def test_a_request_that_breaks_off_at_any_byte_leaves_a_doubt(hook: AnyHook, connect: Connect) -> None:
    """The server reads some bytes of the request, and resets: it may have read all of it."""
    taken = iter(range(1, 120, 7))
    connections = []

    def take_some(sock: socket.socket) -> None:
        connections.append(sock)
        sock.recv(next(taken), socket.MSG_WAITALL)

    with listening(take_some) as port:
        connect(f"http://127.0.0.1:{port}")
        for count in range(1, 18):
            with pytest.raises(WRTriggerUnknownError):
                hook.trigger_run()
            assert len(connections) == count


# --- answers of an unusual form ---------------------------------------------------------------------------

EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

#: Answers that contain the id of the run.
NAMED: dict[str, tuple[bytes, ...]] = {
    "103 first": (EARLY, WHOLE),
    "100 and 103 first, in one piece": (CONTINUE + EARLY + EARLY + WHOLE,),
    "HTTP/1.0, to the end of the connection": (b"HTTP/1.0 200 OK\r\n\r\n", STARTED.encode()),
    "the same length twice": (WHOLE.replace(b"\r\n\r\n", f"\r\nContent-Length: {len(STARTED)}\r\n\r\n".encode()),),
    "the same length twice, after another answer": (
        EARLY + WHOLE.replace(b"\r\n\r\n", f"\r\nContent-Length: {len(STARTED)}\r\n\r\n".encode()),
    ),
    "the same length twice, byte by byte": tuple(
        bytes([byte])
        for byte in WHOLE.replace(b"\r\n\r\n", f"\r\ncontent-length:{len(STARTED)} \r\n\r\n".encode())
    ),
    "the same length twice in one header": (WHOLE.replace(b"\r\n\r\n", f", {len(STARTED)}\r\n\r\n".encode()),),
    "chunks": (
        head(201, {"Transfer-Encoding": "chunked"}),
        f"{len(STARTED):x}\r\n{STARTED}\r\n0\r\n\r\n".encode(),
    ),
    "a header of 60 KiB": (WHOLE.replace(b"\r\n\r\n", b"\r\nX-Large: " + b"x" * 60 * 1024 + b"\r\n\r\n"),),
    "a key twice": (head(201), b'{"runId": "0", "runId": "' + RUN_ID.encode() + b'"}'),
}


@pytest.mark.parametrize("pieces", NAMED.values(), ids=NAMED)
def test_an_answer_that_names_a_run_starts_one(serve: Serve, hook: AnyHook, pieces: tuple[bytes, ...]) -> None:
    server = serve(send_and_close(*pieces))
    assert hook.trigger_run().run_id == RUN_ID
    assert server.count() == 1


#: Answers that do not prove that no run was started.
UNUSUAL: dict[str, Script] = {
    "half a head": send_and_close(WHOLE[:30]),
    "two lengths": send_and_close(WHOLE.replace(b"\r\n\r\n", b"\r\nContent-Length: 7\r\n\r\n")),
    "103 alone": send_and_close(EARLY),
    "103 for ever": lambda request, peer: peer.drip(EARLY, EARLY),
    "HTTP/1.0, cut": send_and_close(b"HTTP/1.0 200 OK\r\n\r\n", STARTED[:20].encode()),
    "a body that never ends": lambda request, peer: peer.drip(head(201), b" "),
    "chunks that never end": lambda request, peer: peer.drip(
        head(201, {"Transfer-Encoding": "chunked"}), b"1\r\n \r\n"
    ),
    "a header without an end": lambda request, peer: peer.drip(b"HTTP/1.1 201 Created\r\nX-Large: ", b"x" * 4096),
    "HTTP/2 without being asked": send_and_close(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00"),
    "a chunk of no size": send_and_close(head(201, {"Transfer-Encoding": "chunked"}), b"zz\r\n"),
    "gzip that is none": send_and_close(head(201, {"Content-Encoding": "gzip", "Content-Length": "5"}), b"12345"),
}


@pytest.mark.parametrize("script", UNUSUAL.values(), ids=UNUSUAL)
def test_an_answer_that_names_no_run_leaves_a_doubt(serve: Serve, hook: AnyHook, script: Script) -> None:
    server = serve(script, read_timeout=0.4)
    with pytest.raises(WRTriggerUnknownError) as caught:
        hook.trigger_run()
    assert isinstance(caught.value.reason, WRError)
    assert server.count() == server.connections == 1
