"""
Calls over ``requests``. Retries are up to the caller.

``requests`` limits only the time between two bytes, so a slow server could block a call forever. A total timeout
is added here.
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

#: Maximum number of bytes per read.
CHUNK_BYTES = 64 * 1024


class RequestsTransport:
    """Makes calls over pooled connections, until :meth:`close`."""

    @cached_property
    def session(self) -> requests.Session:
        """The session for all repeatable calls. It does not hold the API key: each request adds it."""
        return _new_session()

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        self.session.close()

    def send(self, call: Call[T], settings: WRSettings, *, within: float | None = None) -> T:
        """
        Make a call, once.

        :param within: time limit in seconds for the whole response; None for the connection's read timeout.
        """
        # The server may have closed a pooled connection, which shows only after sending. A trigger would then have
        # an unknown outcome, so it gets a new connection.
        session = self.session if call.repeatable else _new_session()
        seconds = _least(settings.read_timeout + call.held_for, within)
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

        :param silence: seconds without a byte after which the stream is considered dead.
        :param within: time limit in seconds for opening it; None for ``silence``.
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
    """An open stream. Its idle timeout is the read timeout it was opened with."""

    def __init__(self, call: Call[None], response: requests.Response) -> None:
        self._call = call
        self._response = response
        self._chunks: Generator[bytes, None, None] | None = None

    def chunks(self, *, within: float | None) -> Iterator[bytes]:
        """
        Yield the bytes as they arrive, and close the stream at the end; raises :class:`WRError`.

        Later calls return the same iterator, with the timeout of the first.

        :param within: total timeout in seconds; None for none.
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
    """Whether any bytes of a request were sent."""

    sent: bool = False


#: The current attempt of this thread, for the connection inside urllib3 to update.
_attempt: ContextVar[_Attempt] = ContextVar("_attempt")


def _request(
    session: requests.Session, call: Call[Any], settings: WRSettings, *, read_timeout: float
) -> requests.Response:
    """Send a call, and return once the response headers have arrived."""
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
    """Return a session without cookies, ``.netrc`` and retries."""
    session = requests.Session()
    session.auth = lambda request: request  # any value keeps requests from reading .netrc
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter())
    return session


@contextmanager
def shutdown_after(seconds: float | None, shutdown: Callable[[], object]) -> Iterator[None]:
    """
    Unblock a connection after some seconds, and raise ``TimeoutError``.

    :param seconds: None for no limit.
    :param shutdown: shuts down the connection; called in another thread.
    """
    if seconds is None:
        yield
        return
    is_over = threading.Event()

    def end() -> None:
        is_over.set()
        with suppress(OSError, RuntimeError, ValueError):  # already closed
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
    """Skips informational responses such as ``103 Early Hints``."""

    def begin(self) -> None:
        super().begin()
        while 100 <= self.status < 200 and self.status != 101:
            self.headers = self.msg = None  # type: ignore[assignment]  # otherwise begin() returns at once
            super().begin()


class _Connection:
    """Records that a request is sent, and applies the read timeout to the response headers as a whole."""

    response_class = _FinalResponse

    def connect(self: Any) -> None:
        super().connect()  # type: ignore[misc]
        if not hasattr(self.sock, "shutdown"):  # TLS within TLS
            self.sock.shutdown = self.sock.socket.shutdown

    def request(self: Any, *args: Any, **kwargs: Any) -> None:
        if self.sock is None:
            self.connect()  # including a proxy tunnel and the TLS handshake
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
