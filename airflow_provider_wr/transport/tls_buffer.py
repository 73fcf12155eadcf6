"""
What a connection over TLS holds while it waits.

asyncio gives each connection a buffer of 256 KiB, from Python 3.11 on, and has no public way to a smaller one. A
stream that waits for hours for some events needs no more than a TLS record has.
"""

from __future__ import annotations

from asyncio.sslproto import SSLProtocol
from typing import Any

#: Buffer size of a connection: the maximum size of a TLS record.
BUFFER_BYTES = 16 * 1024


def shrink(transport: Any) -> None:
    """
    Give a connection over TLS, and the one to a proxy below it, a buffer of :data:`BUFFER_BYTES`.

    :param transport: of the connection, whatever it is. Without TLS, on another event loop than asyncio's own, and
        where a later Python keeps its buffer in another way, nothing is changed.
    """
    while type(protocol := getattr(transport, "_ssl_protocol", None)) is SSLProtocol:
        held = vars(protocol)
        if isinstance(held.get("_ssl_buffer"), bytearray) and isinstance(held.get("_ssl_buffer_view"), memoryview):
            buffer = bytearray(BUFFER_BYTES)
            vars(protocol).update(max_size=BUFFER_BYTES, _ssl_buffer=buffer, _ssl_buffer_view=memoryview(buffer))
        transport = held.get("_transport")
