"""
Calls over ``aiohttp``: one attempt at a time, over one session for all the hooks of a connection on an event loop.
"""

from __future__ import annotations

import asyncio
import math
import ssl
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from weakref import WeakKeyDictionary

import aiohttp
import certifi
import requests
from asgiref.sync import sync_to_async
from requests.utils import select_proxy
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

#: Plain calls that the hooks of one connection make at a time. Without a limit, the waits that a restarted
#: triggerer takes up again would all read their runs in the same moment.
CALLS_AT_A_TIME = 16

#: Seconds after which a hook that joins has the Airflow connection read again.
FRESH = 60.0

#: Bytes from which on an answer is read in a thread, not to hold up the other waits of the event loop.
LARGE_BODY_BYTES = 256 * 1024

#: Bytes that one header of an answer may have; ``requests`` reads as many.
MAX_HEADER_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Endpoint:
    """
    An Airflow connection made ready for use: all that would block an event loop is done.

    :param tls: what ``aiohttp`` takes as its ``ssl`` argument.
    :param proxy: URL of the proxy that the environment names for the API; None for none.
    :param timeout: bounds the making of a connection. What comes after is bounded by :func:`timeout` and
        :class:`IdleTimeout`: ``aiohttp`` would set a timer for each chunk, costly with thousands of streams.
    """

    settings: WRSettings
    tls: ssl.SSLContext | bool
    proxy: str | None
    timeout: aiohttp.ClientTimeout

    @classmethod
    def load(cls, conn_id: str, *, was_found: bool = False) -> Endpoint:
        """Look the connection up and prepare it. Blocks; takes and raises what :meth:`WRSettings.load` does."""
        settings = WRSettings.load(conn_id, was_found=was_found)
        # What requests would do: certificates and proxies are the same for both hooks.
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
    A session shared by the hooks of one connection on one event loop; the last to leave closes it.

    Use :meth:`join`, and :meth:`leave` as often; :meth:`load` comes before the first call.
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

    @classmethod
    def join(cls, conn_id: str) -> SharedSession:
        """Return the session of this connection, new where nobody uses one."""
        siblings = cls._all.setdefault(asyncio.get_running_loop(), {})
        shared = siblings.get(conn_id)
        if shared is None:
            shared = siblings[conn_id] = cls(conn_id, siblings)
        shared._users += 1
        return shared

    async def leave(self) -> None:
        """Say that the session is not needed any more."""
        self._users -= 1
        if self._users == 0:
            del self._siblings[self._conn_id]
            if hasattr(self, "http"):
                await self.http.close()

    async def send(self, call: Call[T], *, within: float | None = None) -> T:
        """
        Make a call, once.

        :param within: seconds in which the whole answer must be there, waiting for a slot included; None for the
            connection's read timeout, and for a slot for as long as it takes.
        """
        with naming(self._conn_id):
            return await self._send(call, within=within)

    async def _send(self, call: Call[T], *, within: float | None) -> T:
        until = None if within is None else time.monotonic() + within
        try:
            await asyncio.wait_for(self.calls.acquire(), within if self.calls.locked() else None)
        except asyncio.TimeoutError as error:
            raise answers.no_answer(call, error, sent=False, timed_out=True) from None
        # See RequestsTransport.send on the pooled connections.
        session = self.http if call.repeatable else _new_session()
        attempt = _Attempt()
        try:
            async with timeout(_least(self.endpoint.settings.read_timeout, until and until - time.monotonic())):
                answer = await _read(await _request(session, self.endpoint, call, attempt))
        except (aiohttp.ClientError, OSError, ValueError, asyncio.TimeoutError) as error:
            raise _no_answer(call, error, sent=attempt.sent) from None
        finally:
            self.calls.release()
            if session is not self.http:
                await session.close()
        if len(answer.body) > LARGE_BODY_BYTES:
            return await asyncio.to_thread(answers.read_answer, call, answer)
        return answers.read_answer(call, answer)

    async def open_stream(self, call: Call[None], *, silence: float, within: float | None) -> AiohttpStream:
        """
        Open a stream of events.

        :param silence: seconds without a byte after which it counts as broken.
        :param within: seconds in which it must be open; None for ``silence``.
        """
        with naming(self._conn_id):
            return await self._open_stream(call, silence, within)

    async def _open_stream(self, call: Call[None], silence: float, within: float | None) -> AiohttpStream:
        attempt = _Attempt()
        try:
            async with timeout(_least(silence, within)):
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

    async def load(self, *, was_found: bool = False, within: float | None = None) -> None:
        """
        Have the Airflow connection looked up, unless that was done within :data:`FRESH` seconds.

        :param was_found: see :meth:`WRSettings.load`.
        :param within: seconds that it may take; None for no end.
        """
        async with self._time_to_look_up(within), self._loading:
            if asyncio.get_running_loop().time() - self._loaded_at > FRESH:
                await self._load(was_found=was_found)

    async def renew(self, *, within: float | None = None) -> None:
        """
        Look the Airflow connection up again; those who ask meanwhile share what is found.

        :param within: seconds that it may take; None for no end.
        """
        stale = self.endpoint
        async with self._time_to_look_up(within), self._loading:
            if self.endpoint is stale:
                await self._load(was_found=True)

    @asynccontextmanager
    async def _time_to_look_up(self, within: float | None) -> AsyncIterator[None]:
        try:
            async with timeout(within):
                yield
        except asyncio.TimeoutError:
            raise WRTimeoutError(f"timed out looking up the Airflow connection {self._conn_id!r}") from None

    async def _load(self, *, was_found: bool) -> None:
        # Not the asynchronous lookup: reading certificates and keys blocks as well, and a thread serves all.
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
        """Bound each silence, and all of the reading by ``within`` seconds; None for no end."""
        return IdleTimeout(self._content, silence=self._silence, within=within)

    async def read(self) -> bytes:
        """Return the next bytes, none at the end; raises :class:`WRError`."""
        try:
            return await self._content.readany()
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
            raise _no_answer(self._call, error, sent=True) from None

    def close(self) -> None:
        self._response.close()


class IdleTimeout:
    """
    Breaks off a body that is silent for too long, or goes on for too long, with a ``TimeoutError``.

    It looks at the time when its timer fires, and not at each chunk.

    :param silence: seconds without a byte that are too long.
    :param within: seconds in all that are too long; None for no end.
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
        """Start the silence anew: a byte has come."""
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
    """How far a request got."""

    sent: bool = False


async def _mark_sent(session: aiohttp.ClientSession, context: SimpleNamespace, params: Any) -> None:
    # aiohttp calls this when the connection is there, its tunnel and TLS included, just before the first byte.
    context.trace_request_ctx.sent = True


async def _request(
    session: aiohttp.ClientSession, endpoint: Endpoint, call: Call[Any], attempt: _Attempt
) -> aiohttp.ClientResponse:
    """Send a call, and return when the head of its answer is there. The caller bounds the time."""
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


def _no_answer(call: Call[Any], error: BaseException, *, sent: bool) -> WRError:
    return answers.no_answer(call, error, sent=sent, timed_out=isinstance(error, asyncio.TimeoutError))


def _least(seconds: float, within: float | None) -> float:
    # To aiohttp, no time at all means no end.
    return seconds if within is None else max(0.001, min(seconds, within))


def _new_session() -> aiohttp.ClientSession:
    """Return a session that holds any number of streams, keeps no cookies and reads no ``.netrc``."""
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
