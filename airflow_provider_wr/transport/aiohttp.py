"""
Calls over ``aiohttp``. Retries are up to the caller.

All hooks of a connection on one event loop share a session.
"""

from __future__ import annotations

import asyncio
import math
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from weakref import WeakKeyDictionary

import aiohttp
import certifi
from asgiref.sync import sync_to_async
from yarl import URL

from airflow_provider_wr.api import answers, events
from airflow_provider_wr.api.answers import Answer
from airflow_provider_wr.connection import WRSettings
from airflow_provider_wr.exceptions import WRError, WRTimeoutError, naming
from airflow_provider_wr.transport import repeated_length

if TYPE_CHECKING:
    from airflow_provider_wr.api.calls import Call

if sys.version_info >= (3, 11):
    from asyncio import timeout as timeout
else:
    from async_timeout import timeout as timeout

T = TypeVar("T")

#: Maximum number of concurrent plain calls per connection. Without it, all waits of a restarted triggerer would
#: read their runs at once.
CALLS_AT_A_TIME = 16

#: Streams that the hooks of one connection open at a time: when all streams are cut, or a triggerer restarts, so
#: many TLS handshakes are under way, and not thousands.
OPENING_AT_A_TIME = 32

#: Seconds after which a stream that is still not open lets another take its turn: a server may send the head of
#: its answer with the first event only.
OPENING_SECONDS = 1.0

#: Seconds after which a new hook reloads the Airflow connection.
FRESH = 60.0

#: Answers larger than this are parsed in a thread, so that they do not block the event loop.
LARGE_BODY_BYTES = 256 * 1024

#: Maximum size of a response header, the same as in ``requests``.
MAX_HEADER_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Endpoint:
    """
    The settings of an Airflow connection, with everything loaded that would block an event loop.

    :param tls: the ``ssl`` argument for ``aiohttp``.
    :param proxy: URL of the proxy for the API, from the environment; None for none.
    :param timeout: the connect timeout. :func:`timeout` and :class:`IdleTimeout` limit the rest: ``aiohttp`` would
        set a timer for each chunk, which is slow with thousands of streams.
    """

    settings: WRSettings
    tls: ssl.SSLContext | bool
    proxy: str | None
    timeout: aiohttp.ClientTimeout

    @classmethod
    def load(cls, conn_id: str, *, was_found: bool = False) -> Endpoint:
        """Look up the connection and prepare it. Blocks. See :meth:`WRSettings.load`."""
        import requests  # here, since this runs in a thread
        from requests.utils import select_proxy

        settings = WRSettings.load(conn_id, was_found=was_found)
        # Ask requests, so that both hooks use the same certificates and proxies.
        found = requests.Session().merge_environment_settings(settings.base_url, {}, None, settings.verify, None)
        return cls(
            settings,
            tls=_tls(found["verify"]),
            proxy=select_proxy(settings.base_url, found["proxies"]),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=settings.connect_timeout),
        )


def _tls(verify: bool | str | None) -> ssl.SSLContext | bool:
    if verify is False:
        return False
    path = verify if isinstance(verify, str) else certifi.where()
    if Path(path).is_dir():
        return ssl.create_default_context(capath=path)
    return ssl.create_default_context(cafile=path)


class SharedSession:
    """
    A session shared by the hooks of one connection on one event loop. The last to leave closes it.

    Call :meth:`join`, then :meth:`load`, and :meth:`leave` when done.
    """

    _all: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, SharedSession]]] = WeakKeyDictionary()

    endpoint: Endpoint
    http: aiohttp.ClientSession

    def __init__(self, conn_id: str, siblings: dict[str, SharedSession]) -> None:
        self._conn_id = conn_id
        self._siblings = siblings
        self._users = 0
        self._loading = asyncio.Lock()
        self._loaded_at = float("-inf")
        self.calls = asyncio.Semaphore(CALLS_AT_A_TIME)
        self._opening = asyncio.Semaphore(OPENING_AT_A_TIME)

    @classmethod
    def join(cls, conn_id: str) -> SharedSession:
        """Return the session of this connection, or a new one."""
        siblings = cls._all.setdefault(asyncio.get_running_loop(), {})
        shared = siblings.get(conn_id)
        if shared is None:
            shared = siblings[conn_id] = cls(conn_id, siblings)
        shared._users += 1
        return shared

    async def leave(self) -> None:
        """Release the session; the last user closes it."""
        self._users -= 1
        if self._users == 0:
            del self._siblings[self._conn_id]
            if hasattr(self, "http"):
                await self.http.close()

    async def send(
        self, call: Call[T], *, within: float | None = None, see: Callable[[T], None] | None = None
    ) -> T:
        """
        Make a call, once.

        :param within: time limit in seconds for the whole response, waiting for a slot included; None for the
            connection's read timeout, and no limit on waiting for a slot.
        :param see: called with the result, in a thread if the answer is large.
        """
        with naming(self._conn_id):
            return await self._send(call, within, see)

    async def _send(self, call: Call[T], within: float | None, see: Callable[[T], None] | None) -> T:
        until = None if within is None else time.monotonic() + within
        try:
            await asyncio.wait_for(self.calls.acquire(), within if self.calls.locked() else None)
        except asyncio.TimeoutError as error:
            raise answers.no_answer(call, error, sent=False, timed_out=True) from None
        # See RequestsTransport.send for why a new connection.
        session = self.http if call.repeatable else _new_session()
        attempt = _Attempt()
        read_timeout = self.endpoint.settings.read_timeout + call.held_for
        try:
            async with timeout(_least(read_timeout, until and until - time.monotonic())):
                answer = await _read(await _request(session, self.endpoint, call, attempt))
        except (aiohttp.ClientError, OSError, ValueError, asyncio.TimeoutError) as error:
            raise _no_answer(call, error, sent=attempt.sent) from None
        finally:
            self.calls.release()
            if session is not self.http:
                await session.close()
        if len(answer.body) > LARGE_BODY_BYTES:
            return await asyncio.to_thread(_read_answer, call, answer, see)
        return _read_answer(call, answer, see)

    async def open_stream(self, call: Call[None], *, silence: float, within: float | None) -> AiohttpStream:
        """
        Open a stream of events.

        :param silence: seconds without a byte after which the stream is considered dead.
        :param within: time limit in seconds for opening it, waiting for its turn included; None for ``silence``
            from its turn on.
        """
        with naming(self._conn_id):
            return await self._open_stream(call, silence, within)

    async def _open_stream(self, call: Call[None], silence: float, within: float | None) -> AiohttpStream:
        attempt = _Attempt()
        try:
            async with timeout(within), self._turn_to_open(), timeout(silence):
                response = await _request(self.http, self.endpoint, call, attempt)
                refusal = None if 200 <= response.status < 300 else await _read(response)
        except (aiohttp.ClientError, OSError, ValueError, asyncio.TimeoutError) as error:
            raise _no_answer(call, error, sent=attempt.sent) from None
        if refusal is not None:
            answers.read_answer(call, refusal)
        try:
            events.check_stream(call, response.headers)
        except WRError:
            response.close()
            raise
        return AiohttpStream(call, response, silence)

    @asynccontextmanager
    async def _turn_to_open(self) -> AsyncIterator[None]:
        """Wait for the turn to open a stream, and leave it to the next once that is open, or takes long."""
        await self._opening.acquire()
        turn = ExitStack()
        turn.callback(self._opening.release)
        passing = asyncio.get_running_loop().call_later(OPENING_SECONDS, turn.close)
        try:
            yield
        finally:
            passing.cancel()
            turn.close()

    async def load(self, *, was_found: bool = False, within: float | None = None) -> None:
        """
        Look up the Airflow connection, unless that was done within the last :data:`FRESH` seconds.

        :param was_found: see :meth:`WRSettings.load`.
        :param within: time limit in seconds; None for none.
        """
        if self._is_fresh:
            return
        async with self._lookup_timeout(within), self._loading:
            if not self._is_fresh:
                await self._load(was_found=was_found)

    async def renew(self, *, within: float | None = None) -> None:
        """
        Reload the Airflow connection. Concurrent callers share one reload.

        :param within: time limit in seconds; None for none.
        """
        stale = self.endpoint
        async with self._lookup_timeout(within), self._loading:
            if self.endpoint is stale:
                await self._load(was_found=True)

    @property
    def _is_fresh(self) -> bool:
        return asyncio.get_running_loop().time() - self._loaded_at <= FRESH

    @asynccontextmanager
    async def _lookup_timeout(self, within: float | None) -> AsyncIterator[None]:
        try:
            async with timeout(within):
                yield
        except asyncio.TimeoutError:
            raise WRTimeoutError(f"timed out looking up the Airflow connection {self._conn_id!r}") from None

    async def _load(self, *, was_found: bool) -> None:
        # In a thread: the lookup may block, and so does reading certificates and keys.
        was_found = was_found or hasattr(self, "endpoint")
        self.endpoint = await sync_to_async(Endpoint.load)(self._conn_id, was_found=was_found)
        self._loaded_at = asyncio.get_running_loop().time()
        if not hasattr(self, "http"):
            self.http = _new_session()


class AiohttpStream:
    """An open stream of events."""

    __slots__ = ("_call", "_content", "_response", "_silence")

    def __init__(self, call: Call[None], response: aiohttp.ClientResponse, silence: float) -> None:
        self._call = call
        self._response = response
        self._content = response.content
        self._silence = silence

    def idle_timeout(self, *, within: float | None) -> IdleTimeout:
        """Limit the idle time, and the total time to ``within`` seconds; None for no total limit."""
        return IdleTimeout(self._content, silence=self._silence, within=within)

    async def read(self) -> bytes:
        """Return the next bytes, or empty bytes at the end; raises :class:`WRError`."""
        try:
            return await self._content.readany()
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
            raise _no_answer(self._call, error, sent=True) from None

    def close(self) -> None:
        self._response.close()


class IdleTimeout:
    """
    Aborts reading a body with a ``TimeoutError`` after an idle or a total timeout.

    One timer checks the clock when it fires; chunks only update a timestamp.

    :param silence: idle timeout in seconds.
    :param within: total timeout in seconds; None for none.
    """

    __slots__ = ("_content", "_end", "_loop", "_reset_at", "_silence", "_timer")

    def __init__(self, content: aiohttp.StreamReader, *, silence: float, within: float | None) -> None:
        self._content = content
        self._loop = asyncio.get_running_loop()
        self._silence = silence
        self._end = math.inf if within is None else self._loop.time() + within

    def __enter__(self) -> IdleTimeout:
        self.reset()
        self._timer = self._loop.call_at(self._until, self._check)
        return self

    def __exit__(self, *exc: object) -> None:
        self._timer.cancel()

    def reset(self) -> None:
        """Restart the idle timeout after each chunk."""
        self._reset_at = self._loop.time()

    @property
    def _until(self) -> float:
        return min(self._reset_at + self._silence, self._end)

    def _check(self) -> None:
        if self._until > self._loop.time():
            self._timer = self._loop.call_at(self._until, self._check)
        else:
            self._content.set_exception(asyncio.TimeoutError())


# --- one attempt ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Attempt:
    """Whether any bytes of a request were sent."""

    sent: bool = False


async def _mark_sent(session: aiohttp.ClientSession, context: SimpleNamespace, params: Any) -> None:
    # aiohttp calls this once it is connected, tunnel and TLS included, just before the first byte.
    context.trace_request_ctx.sent = True


async def _request(
    session: aiohttp.ClientSession, endpoint: Endpoint, call: Call[Any], attempt: _Attempt
) -> aiohttp.ClientResponse:
    """Send a call, and return once the response headers have arrived. The caller sets the timeout."""
    settings = endpoint.settings
    return await session.request(
        call.method,
        URL(settings.base_url + call.path, encoded=True),
        data=call.body,
        headers=call.headers(api_key=settings.api_key, signer=settings.signer, now=time.time()),
        timeout=endpoint.timeout,
        allow_redirects=False,
        ssl=endpoint.tls,
        proxy=endpoint.proxy,
        trace_request_ctx=attempt,
    )


async def _read(response: aiohttp.ClientResponse) -> Answer:
    body = bytearray()
    with closing(response):
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > answers.body_limit(response.status):
                break
    return Answer(response.status, response.headers, bytes(body))


def _read_answer(call: Call[T], answer: Answer, see: Callable[[T], None] | None) -> T:
    result = answers.read_answer(call, answer)
    if see is not None:
        see(result)
    return result


def _no_answer(call: Call[Any], error: BaseException, *, sent: bool) -> WRError:
    return answers.no_answer(call, error, sent=sent, timed_out=isinstance(error, asyncio.TimeoutError))


def _least(seconds: float, within: float | None) -> float:
    # aiohttp treats 0 as no timeout.
    return seconds if within is None else max(0.001, min(seconds, within))


def _new_session() -> aiohttp.ClientSession:
    """Return a session without a connection limit, cookies and ``.netrc``."""
    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(_mark_sent)
    return aiohttp.ClientSession(
        connector=repeated_length.connector(),
        cookie_jar=aiohttp.DummyCookieJar(),
        max_field_size=MAX_HEADER_BYTES,
        max_line_size=MAX_HEADER_BYTES,
        trace_configs=[trace],
        trust_env=False,
    )
