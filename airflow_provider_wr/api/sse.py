"""
Server-Sent Events, cut out of a stream of bytes without I/O.

We find where an event ends, in whatever pieces the bytes arrive, and bound what a server can make us hold;
``sseclient-py`` reads the fields of each whole event, for both transports.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from airflow_provider_wr.exceptions import WRProtocolError

#: Bytes that one event may have. A fan-out of thousands of stages makes events of some hundred KiB.
MAX_EVENT_BYTES = 16 * 2**20

#: Lines that one event may have. White Rabbit's have one or two, and joining many would hold the event loop.
MAX_EVENT_LINES = 100

_BOM = b"\xef\xbb\xbf"


class EventStream:
    """
    An incremental parser: feed it bytes as they come, get the data of every event that is whole.

    Lines end with CR, LF or CRLF; a cut may be anywhere, even inside a character. Comments, which are the
    heartbeat in one of its two forms, and events without data come out as the empty text.
    """

    __slots__ = ("_after_cr", "_buffer", "_lines", "_started")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._lines = 0
        self._after_cr = False
        self._started = False

    def feed(self, chunk: bytes) -> list[str]:
        """Return the data of the events that ``chunk`` completes; raises :class:`WRProtocolError`."""
        if self._after_cr or b"\r" in chunk:
            chunk = self._with_lf(chunk)
        if not self._buffer and chunk.find(b"\n") == len(chunk) - 2 and chunk.endswith(b"\n"):
            return [self._data(chunk[:-2], lines=0)]  # most chunks are one whole event of one line
        searched = max(len(self._buffer) - 1, 0)
        self._buffer += chunk
        self._lines += chunk.count(b"\n")
        if self._buffer.find(b"\n\n", searched) < 0:
            # The last line break may yet turn out to be the first half of the event's end.
            _check(len(self._buffer) - self._buffer.endswith(b"\n"), self._lines - 1)
            return []
        *frames, rest = bytes(self._buffer).split(b"\n\n")
        self._buffer = bytearray(rest)
        self._lines = rest.count(b"\n")
        return [self._data(frame, frame.count(b"\n")) for frame in frames]

    def _with_lf(self, chunk: bytes) -> bytes:
        """Return ``chunk`` with LF for its line ends, a CRLF cut between two chunks included."""
        if chunk:
            if self._after_cr:
                chunk = chunk.removeprefix(b"\n")
            self._after_cr = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _data(self, frame: bytes, lines: int) -> str:
        _check(len(frame), lines)
        if not self._started:
            self._started = True
            frame = frame.removeprefix(_BOM)
        if not lines and frame.startswith(b"data:"):
            # All of White Rabbit's events look so; this takes a seventh of the time.
            return frame[6 if frame.startswith(b"data: ") else 5 :].decode(errors="replace")
        return "\n".join(event.data for event in _events(frame))


def _check(size: int, lines: int) -> None:
    if size > MAX_EVENT_BYTES or lines > MAX_EVENT_LINES:
        raise WRProtocolError(
            f"the stream sent an event of more than {MAX_EVENT_BYTES} bytes or {MAX_EVENT_LINES} lines"
        )


def _events(frame: bytes) -> Iterator[Any]:
    from sseclient import SSEClient  # not when a DAG is parsed: waiting, which the operators know, knows this

    try:
        frame.decode()
    except UnicodeDecodeError:
        frame = frame.decode(errors="replace").encode()
    return SSEClient(iter([frame + b"\n\n"])).events()
