"""One ``aiohttp`` session for all the hooks of a WR connection on an event loop."""

from __future__ import annotations

import asyncio
import math
import ssl
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from weakref import WeakKeyDictionary

import aiohttp
import certifi
import requests
from asgiref.sync import sync_to_async
from requests.utils import select_proxy

from airflow_provider_wr.connection import WRSettings

if sys.version_info >= (3, 11):
    from asyncio import timeout as timeout
else:
    from async_timeout import timeout as timeout

#: Plain calls that the hooks of one connection make at a time. Without a limit, the waits that a restarted
#: triggerer takes up again would all read their runs in the same moment.
CALLS_AT_A_TIME = 16

#: Seconds after which a hook that joins has the Airflow connection read again.
FRESH = 60.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """
    An Airflow connection made ready for use: all that would block an event loop is done.

    :param tls: what ``aiohttp`` takes as its ``ssl`` argument.
    :param proxy: URL of the proxy that the environment names for the API; None for none.
    :param timeout: bounds the making of a connection. What comes after is bounded by :func:`timeout` and
        :class:`Patience`: ``aiohttp`` would set a timer for each chunk, which is dear with thousands of streams.
    """

    settings: WRSettings
    tls: ssl.SSLContext | bool
    proxy: str | None
    timeout: aiohttp.ClientTimeout

    @classmethod
    def load(cls, conn_id: str) -> Endpoint:
        """Look the connection up and prepare it. Blocks; raises what :meth:`WRSettings.load` raises."""
        settings = WRSettings.load(conn_id)
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

    Use :meth:`join`, and :meth:`leave` as often.
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
    async def join(cls, conn_id: str) -> SharedSession:
        """Return the session of this connection, new where nobody uses one."""
        loop = asyncio.get_running_loop()
        siblings = cls._all.setdefault(loop, {})
        shared = siblings.get(conn_id)
        if shared is None:
            shared = siblings[conn_id] = cls(conn_id, siblings)
        shared._users += 1
        try:
            async with shared._loading:
                if loop.time() - shared._loaded_at > FRESH:
                    await shared._load()
        except BaseException:
            await shared.leave()
            raise
        return shared

    async def leave(self) -> None:
        """Say that the session is not needed any more."""
        self._users -= 1
        if self._users == 0:
            del self._siblings[self._conn_id]
            if hasattr(self, "http"):
                await self.http.close()

    async def renew(self) -> None:
        """Read the Airflow connection again; those who ask while it is being read share what was read."""
        stale = self.endpoint
        async with self._loading:
            if self.endpoint is stale:
                await self._load()

    async def _load(self) -> None:
        # Not the asynchronous lookup: reading certificates and keys blocks as well, and a thread serves all.
        self.endpoint = await sync_to_async(Endpoint.load)(self._conn_id)
        self._loaded_at = asyncio.get_running_loop().time()
        if not hasattr(self, "http"):
            self.http = new_session()


def new_session() -> aiohttp.ClientSession:
    """Return a session that holds any number of streams, keeps no cookies and reads no ``.netrc``."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    )


class Patience:
    """
    Breaks off a body that is silent for too long, or goes on for too long, with a ``TimeoutError``.

    It looks at the time when its timer fires, and not at each chunk.

    :param silence: seconds without a byte that are too long.
    :param within: seconds in all that are too long; None for no end.
    """

    __slots__ = ("_content", "_end", "_loop", "_renewed_at", "_silence", "_timer")

    def __init__(self, content: aiohttp.StreamReader, *, silence: float, within: float | None) -> None:
        self._content = content
        self._loop = asyncio.get_running_loop()
        self._silence = silence
        self._end = math.inf if within is None else self._loop.time() + within

    def __enter__(self) -> Patience:
        self.renew()
        self._timer = self._loop.call_at(self._until, self._look)
        return self

    def __exit__(self, *exc: object) -> None:
        self._timer.cancel()

    def renew(self) -> None:
        """Say that a byte has come."""
        self._renewed_at = self._loop.time()

    @property
    def _until(self) -> float:
        return min(self._renewed_at + self._silence, self._end)

    def _look(self) -> None:
        if self._until > self._loop.time():
            self._timer = self._loop.call_at(self._until, self._look)
        else:
            self._content.set_exception(asyncio.TimeoutError())
