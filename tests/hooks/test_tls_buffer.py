"""What a waiting connection over TLS holds, with a proxy and without, and on a Python that holds it elsewhere."""

from __future__ import annotations

import asyncio
import sys
import threading
from asyncio.sslproto import SSLProtocol
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from servers import RUN_ID, STREAM_HEAD, Peer, RawServer, Request, event, run

from airflow_provider_wr.hooks.wr import WRAsyncHook
from airflow_provider_wr.transport import tls_buffer

from .conftest import Authority, Connect
from .test_sent import ASYNC_TLS_IN_TLS, Tunnel

#: From this version on asyncio gives each connection a buffer; see ``tls_buffer``.
HAS_BUFFER = sys.version_info >= (3, 11)


@pytest.fixture
def ended() -> Iterator[threading.Event]:
    """Ends the run."""
    ended = threading.Event()
    yield ended
    ended.set()


@pytest.fixture
def api(authority: Authority, ended: threading.Event) -> Iterator[RawServer]:
    """An API over TLS; before the run ends, it sends an event that is larger than any buffer."""

    def script(request: Request, peer: Peer) -> None:
        if request.is_stream:
            peer.send(STREAM_HEAD)
            ended.wait(10)
            peer.send(event(text="x" * 2**20), event("COMPLETED"))
            peer.hang()
        else:
            peer.answer(200, run("COMPLETED" if ended.is_set() else "EXECUTING"))

    with RawServer(script, tls=authority.server) as server:
        yield server


def protocols(transport: Any) -> list[SSLProtocol]:
    """Return the protocols of TLS that a connection goes through."""
    found = []
    while (protocol := getattr(transport, "_ssl_protocol", None)) is not None:
        found.append(protocol)
        transport = protocol._transport
    return found


@pytest.mark.parametrize("way", ["direct", "tunnel", "tunnel over TLS"])
async def test_a_stream_over_tls_waits_with_a_small_buffer(
    way: str,
    api: RawServer,
    ended: threading.Event,
    authority: Authority,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if way == "tunnel over TLS" and not ASYNC_TLS_IN_TLS:
        pytest.skip("asyncio does TLS within TLS from Python 3.11 on")
    tls = authority.server if way == "tunnel over TLS" else None
    transports: list[Any] = []
    shrink = tls_buffer.shrink
    monkeypatch.setattr(tls_buffer, "shrink", lambda transport: (transports.append(transport), shrink(transport)))
    with RawServer(Tunnel(api), tls=tls) as proxy:
        url = f"{'https' if tls else 'http'}://127.0.0.1:{proxy.port}"
        for name in ("HTTPS_PROXY", "https_proxy"):
            monkeypatch.setenv(name, "" if way == "direct" else url)
        connect(api.url, verify=str(authority.path))
        async with WRAsyncHook() as hook:
            waiting = asyncio.create_task(hook.wait_for_run(RUN_ID, timeout=20))
            await asyncio.to_thread(api.wait_for, lambda: api.count() == 2)
            found = [protocols(transport) for transport in transports]
            # To the stream and to the read.
            assert sum(len(each) == (2 if way == "tunnel over TLS" else 1) for each in found) == 2
            if HAS_BUFFER:
                buffers = {len(protocol.get_buffer(-1)) for each in found for protocol in each}
                assert buffers == {tls_buffer.BUFFER_BYTES}
            ended.set()
            assert (await waiting).status == "COMPLETED"


def no_protocol() -> Any:
    return object()


def no_tls() -> Any:
    return SimpleNamespace(_ssl_protocol=None)


def another_loops() -> Any:
    protocol = SimpleNamespace(_ssl_buffer=bytearray(9), _ssl_buffer_view=memoryview(b""))
    return SimpleNamespace(_ssl_protocol=protocol)


def another_buffer() -> Any:
    protocol = SSLProtocol.__new__(SSLProtocol)
    vars(protocol).update(_ssl_buffer=[bytearray(9)], _ssl_buffer_view=memoryview(b""), _transport=None)
    return SimpleNamespace(_ssl_protocol=protocol)


def no_buffer() -> Any:
    return SimpleNamespace(_ssl_protocol=SSLProtocol.__new__(SSLProtocol))


@pytest.mark.parametrize("make", [no_protocol, no_tls, another_loops, another_buffer, no_buffer])
def test_what_is_not_as_expected_is_left_alone(make: Callable[[], Any]) -> None:
    transport = make()
    protocol = getattr(transport, "_ssl_protocol", None)
    before = dict(vars(protocol)) if protocol else {}
    tls_buffer.shrink(transport)
    assert (dict(vars(protocol)) if protocol else {}) == before
