"""
Answers to ``aiohttp`` that say their length twice, as behind some proxies.

HTTP lets a client read them where both say the same, as ``requests`` does; ``aiohttp``'s parser refuses them.
"""

from __future__ import annotations

import functools
import re
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

#: Bytes of a head that are searched; a longer one is left to aiohttp as it is.
_MAX_HEAD_BYTES = 128 * 1024

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9, \t]+?)[ \t]*(?=\r\n)", re.IGNORECASE)
_INTERIM = re.compile(rb"HTTP/1\.1 1(?!01)[0-9][0-9] ")


def connector() -> aiohttp.TCPConnector:
    """Return a connector without a limit, whose connections read such answers where aiohttp lets them."""
    connector = aiohttp.TCPConnector(limit=0)
    # Not public: where a later aiohttp makes its connections in another way, such an answer is refused as before.
    factory = getattr(connector, "_factory", None)
    if isinstance(factory, functools.partial) and factory.func is ResponseHandler:
        connector._factory = functools.partial(_Handler, *factory.args, **factory.keywords)  # type: ignore[assignment]
    return connector


class _Handler(ResponseHandler):
    """A connection that holds the head of each answer back until it is whole."""

    _head: bytes | None = None

    def set_response_params(self, **params: Any) -> None:
        self._head = b""  # of the answer to the request that is being sent
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
            super().data_received(head)  # as far as it came
        super().connection_lost(exc)


def _head_size(data: bytes) -> int | None:
    """Return the size of a head, with those before it such as ``103 Early Hints``; None while it is not whole."""
    start = 0
    while (end := data.find(b"\r\n\r\n", start)) >= 0:
        end += len(b"\r\n\r\n")
        if not _INTERIM.match(data, start):
            return end
        start = end
    return None


def _with_one_length(head: bytes) -> bytes:
    """Return a head whose lengths, if they are equal, stand there once."""
    found: list[bytes] = [length.strip() for each in _LENGTH.findall(head) for length in each.split(b",")]
    if len(found) < 2 or len(set(found)) != 1:
        return head
    return _LENGTH.sub(b"", head).removesuffix(b"\r\n") + b"Content-Length: " + found[0] + b"\r\n\r\n"
