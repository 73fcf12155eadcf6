"""
A ``requests`` session that sends the key and nothing else, and keeps to its time.

``requests`` bounds only the silence between bytes: a server that sends one now and then could hold a call
for ever.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.cookiejar import DefaultCookiePolicy
from socket import SHUT_RD
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.response import HTTPResponse


def new_session() -> requests.Session:
    """
    Return a session that keeps no cookies, reads no ``.netrc``, and sends nothing again.

    Its read timeout also bounds the head of an answer as a whole; for the body, use :func:`cut_off`.
    """
    session = requests.Session()
    session.auth = lambda request: request  # whatever is here keeps requests from looking into .netrc
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter())
    return session


@contextmanager
def cut_off(shutdown: Callable[[], object], seconds: float | None) -> Iterator[None]:
    """
    End what blocks on a connection after some seconds, and raise ``TimeoutError``.

    :param shutdown: shuts the connection down; called in another thread.
    :param seconds: None for never.
    """
    if seconds is None:
        yield
        return
    is_cut = threading.Event()

    def cut() -> None:
        is_cut.set()
        with suppress(OSError, RuntimeError, ValueError):  # it is closed already
            shutdown()

    timer = threading.Timer(max(0.0, seconds), cut)
    timer.start()
    try:
        yield
    except Exception:
        if not is_cut.is_set():
            raise
    finally:
        timer.cancel()
        timer.join()
    if is_cut.is_set():
        raise TimeoutError(f"{max(0.0, seconds):.1f} s have passed")


class _HeadInTime:
    """A connection whose timeout holds for the whole head of an answer."""

    def getresponse(self: Any) -> HTTPResponse:
        with cut_off(lambda: self.sock.shutdown(SHUT_RD), self.timeout):
            return super().getresponse()  # type: ignore[misc, no-any-return]


class _HTTPConnection(_HeadInTime, HTTPConnection):  # type: ignore[misc]
    pass


class _HTTPSConnection(_HeadInTime, HTTPSConnection):  # type: ignore[misc]
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
