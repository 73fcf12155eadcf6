"""
Accept responses with a repeated ``Content-Length``, as some proxies send them.

HTTP allows it if the values are equal, and ``requests`` accepts them; ``aiohttp``'s parser does not.
"""

from __future__ import annotations

import asyncio
import functools
import re
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

from airflow_provider_wr.transport import tls_buffer

#: Maximum size of response headers to search; longer ones go to aiohttp unchanged.
_MAX_HEAD_BYTES = 128 * 1024

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9, \t]+?)[ \t]*(?=\r\n)", re.IGNORECASE)
_INTERIM = re.compile(rb"HTTP/1\.1 1(?!01)[0-9][0-9] ")


def connector() -> aiohttp.TCPConnector:
    """
    Return a connector without a connection limit that accepts such responses.

    Its connections over TLS use little memory, see :mod:`airflow_provider_wr.transport.tls_buffer`.
    """
    connector = aiohttp.TCPConnector(limit=0)
    # A private attribute: if a later aiohttp changes it, both are as aiohttp makes them.
    factory = getattr(connector, "_factory", None)
    if isinstance(factory, functools.partial) and factory.func is ResponseHandler:
        connector._factory = functools.partial(_Handler, *factory.args, **factory.keywords)  # type: ignore[assignment]
    return connector


class _Handler(ResponseHandler):
    """A connection that buffers the headers of each response until they are complete."""

    _head: bytes | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        tls_buffer.shrink(transport)
        super().connection_made(transport)

    def set_response_params(self, **params: Any) -> None:
        self._head = b""  # of the response to the request that is sent now
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            data = self._head + data
            size = _head_size(data)
            if size is None and len(data) < _MAX_HEAD_BYTES:
                self._head = data
                return
            self._head = None
            data = _with_one_length(data[:size]) + data[size:] if size is not None else data
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._head:
            head, self._head = self._head, None
            super().data_received(head)  # incomplete
        super().connection_lost(exc)


def _head_size(data: bytes) -> int | None:
    """Return the size of the headers, including those of interim responses; None while incomplete."""
    start = 0
    while (end := data.find(b"\r\n\r\n", start)) >= 0:
        end += len(b"\r\n\r\n")
        if not _INTERIM.match(data, start):
            return end
        start = end
    return None


def _with_one_length(head: bytes) -> bytes:
    """Merge repeated ``Content-Length`` headers if their values are equal."""
    found: list[bytes] = [length.strip() for each in _LENGTH.findall(head) for length in each.split(b",")]
    if len(found) < 2 or len(set(found)) != 1:
        return head
    return _LENGTH.sub(b"", head).removesuffix(b"\r\n") + b"Content-Length: " + found[0] + b"\r\n\r\n"
