"""
Calls over ``requests``: one attempt at a time, which sends the key and nothing else, and keeps to its time.

``requests`` bounds only the silence between bytes: a server that sends one now and then could hold a call
for ever.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPResponse
from http.cookiejar import DefaultCookiePolicy
from socket import SHUT_RD
from typing import TYPE_CHECKING, Any, TypeVar

import requests
import urllib3.exceptions
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from airflow_provider_wr.api import answers, events
from airflow_provider_wr.api.answers import Answer
from airflow_provider_wr.exceptions import WRError, naming

if TYPE_CHECKING:
    from airflow_provider_wr.api.calls import Call
    from airflow_provider_wr.connection import WRSettings

T = TypeVar("T")

#: Bytes that are read at a time.
CHUNK_BYTES = 64 * 1024


class RequestsTransport:
    """Makes calls over connections that it keeps until :meth:`close`."""

    @cached_property
    def session(self) -> requests.Session:
        """The session that all repeatable calls share. It holds no key: that goes with each request."""
        return _new_session()

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        self.session.close()

    def send(self, call: Call[T], settings: WRSettings, *, within: float | None = None) -> T:
        """
        Make a call, once.

        :param within: seconds in which the whole answer must be there; None for the connection's read timeout.
        """
        # A pooled connection may have been closed on the other side, which shows only once something was
        # sent. That leaves a doubt about a trigger which a new connection does not leave.
        session = self.session if call.repeatable else _new_session()
        seconds = _least(settings.read_timeout, within)
        until = time.monotonic() + seconds
        try:
            with naming(settings.conn_id):
                response = _request(session, call, settings, read_timeout=seconds)
                return answers.read_answer(call, _read(call, response, within=until - time.monotonic()))
        finally:
            if session is not self.session:
                session.close()

    def open_stream(
        self, call: Call[None], settings: WRSettings, *, silence: float, within: float | None
    ) -> RequestsStream:
        """
        Open a stream of events.

        :param silence: seconds without a byte after which it counts as broken.
        :param within: seconds in which it must be open; None for ``silence``.
        """
        until = None if within is None else time.monotonic() + within
        with naming(settings.conn_id):
            response = _request(self.session, call, settings, read_timeout=_least(silence, within))
            if not 200 <= response.status_code < 300:
                seconds = _least(settings.read_timeout, until and until - time.monotonic())
                answers.read_answer(call, _read(call, response, within=seconds))
        try:
            events.check_stream(call, response.headers)
        except WRError:
            response.close()
            raise
        return RequestsStream(call, response)


class RequestsStream:
    """An open stream. Its read timeout, set when it was opened, bounds each silence."""

    def __init__(self, call: Call[None], response: requests.Response) -> None:
        self._call = call
        self._response = response
        self._chunks: Generator[bytes, None, None] | None = None

    def chunks(self, *, within: float | None) -> Iterator[bytes]:
        """
        Yield the bytes as they arrive, and close the stream at the end; raises :class:`WRError`.

        Another call goes on where the last left off, and within its time.

        :param within: seconds for all of it; None for no end.
        """
        if self._chunks is None:
            self._chunks = _chunks(self._call, self._response, within=within)
        return self._chunks

    def close(self) -> None:
        if self._chunks is not None:
            self._chunks.close()
        self._response.close()


# --- one attempt ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Attempt:
    """How far a request got."""

    sent: bool = False


#: The attempt that this thread makes now: its connection, deep in urllib3, reports to it.
_attempt: ContextVar[_Attempt] = ContextVar("_attempt")


def _request(
    session: requests.Session, call: Call[Any], settings: WRSettings, *, read_timeout: float
) -> requests.Response:
    """Send a call, and return when the head of its answer is there."""
    attempt = _Attempt()
    token = _attempt.set(attempt)
    try:
        return session.request(
            call.method,
            settings.base_url + call.path,
            data=call.body,
            headers=call.headers(api_key=settings.api_key, signer=settings.signer, now=time.time()),
            timeout=(min(settings.connect_timeout, read_timeout), read_timeout),
            allow_redirects=False,
            stream=True,
            verify=settings.verify,
        )
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        raise answers.no_answer(
            call, error, sent=attempt.sent, timed_out=isinstance(error, (requests.Timeout, TimeoutError))
        ) from None
    finally:
        _attempt.reset(token)


def _read(call: Call[Any], response: requests.Response, *, within: float) -> Answer:
    body = bytearray()
    for chunk in _chunks(call, response, within=within):
        body += chunk
        if len(body) > answers.body_limit(response.status_code):
            break
    return Answer(response.status_code, response.headers, bytes(body))


def _chunks(call: Call[Any], response: requests.Response, *, within: float | None) -> Generator[bytes, None, None]:
    try:
        with shutdown_after(within, response.raw.shutdown):
            while chunk := response.raw.read1(CHUNK_BYTES, decode_content=True):
                yield chunk
    except (urllib3.exceptions.HTTPError, OSError) as error:
        timed_out = isinstance(error, (urllib3.exceptions.TimeoutError, TimeoutError))
        raise answers.no_answer(call, error, sent=True, timed_out=timed_out) from None
    finally:
        response.close()


def _least(seconds: float, within: float | None) -> float:
    return seconds if within is None else max(0.001, min(seconds, within))


# --- connections ------------------------------------------------------------------------------------------


def _new_session() -> requests.Session:
    """Return a session that keeps no cookies, reads no ``.netrc``, and sends nothing again."""
    session = requests.Session()
    session.auth = lambda request: request  # whatever is here keeps requests from looking into .netrc
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter())
    return session


@contextmanager
def shutdown_after(seconds: float | None, shutdown: Callable[[], object]) -> Iterator[None]:
    """
    End what blocks on a connection after some seconds, and raise ``TimeoutError``.

    :param seconds: None for never.
    :param shutdown: shuts the connection down; called in another thread.
    """
    if seconds is None:
        yield
        return
    is_over = threading.Event()

    def end() -> None:
        is_over.set()
        with suppress(OSError, RuntimeError, ValueError):  # it is closed already
            shutdown()

    timer = threading.Timer(max(0.0, seconds), end)
    timer.start()
    try:
        yield
    except Exception:
        if not is_over.is_set():
            raise
    finally:
        timer.cancel()
        timer.join()
    if is_over.is_set():
        raise TimeoutError(f"{max(0.0, seconds):.1f} s have passed")


class _FinalResponse(HTTPResponse):
    """An answer without those before it: a server may send ``103 Early Hints`` first."""

    def begin(self) -> None:
        super().begin()
        while 100 <= self.status < 200 and self.status != 101:
            self.headers = self.msg = None  # type: ignore[assignment]  # or begin() would not read on
            super().begin()


class _Connection:
    """Reports that a request is sent, and bounds the head of its answer as a whole by the read timeout."""

    response_class = _FinalResponse

    def connect(self: Any) -> None:
        super().connect()  # type: ignore[misc]
        if not hasattr(self.sock, "shutdown"):  # TLS within TLS
            self.sock.shutdown = self.sock.socket.shutdown

    def request(self: Any, *args: Any, **kwargs: Any) -> None:
        if self.sock is None:
            self.connect()  # the tunnel through a proxy and the TLS handshake included
        _attempt.get().sent = True
        super().request(*args, **kwargs)  # type: ignore[misc]

    def getresponse(self: Any) -> urllib3.HTTPResponse:
        with shutdown_after(self.timeout, lambda: self.sock.shutdown(SHUT_RD)):
            return super().getresponse()  # type: ignore[misc, no-any-return]


class _HTTPConnection(_Connection, HTTPConnection):  # type: ignore[misc]
    pass


class _HTTPSConnection(_Connection, HTTPSConnection):  # type: ignore[misc]
    pass


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


class _Adapter(HTTPAdapter):
    _POOLS = {"http": _HTTPPool, "https": _HTTPSPool}  # noqa: RUF012

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = self._POOLS
        return manager
