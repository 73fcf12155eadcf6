"""
Parse Server-Sent Events from a stream of bytes, without I/O.

It finds the end of each event, limits its size, and returns its data; ``sseclient-py`` joins data of many lines.
The other fields say nothing about a run: NestJS, the API's framework, puts an ``id:`` line before the data.
"""

from __future__ import annotations

from collections.abc import Sequence

from airflow_provider_wr.exceptions import WRProtocolError

#: Maximum size of an event. A fan-out of thousands of stages has events of some hundred KiB.
MAX_EVENT_BYTES = 16 * 2**20

#: Maximum lines in an event. White Rabbit sends one or two, and parsing many would block the event loop.
MAX_EVENT_LINES = 100

_BOM = b"\xef\xbb\xbf"


class EventStream:
    """
    An incremental parser: feed it chunks of bytes, and it returns the data of each complete event.

    Lines end with CR, LF or CRLF; chunks may split anything, even a character. Comments, one of the two kinds of
    heartbeats, and events without data are returned as empty strings.
    """

    __slots__ = ("_after_cr", "_line", "_lines", "_size", "_started")

    def __init__(self) -> None:
        self._line = bytearray()  # the beginning of a line whose end has not come
        self._lines: list[bytes] = []  # of the event whose end has not come
        self._size = 0  # their bytes
        self._after_cr = False
        self._started = False

    def feed(self, chunk: bytes) -> list[str]:
        """Return the data of the events that ``chunk`` completes; raises :class:`WRProtocolError`."""
        if self._after_cr or b"\r" in chunk:
            chunk = self._with_lf(chunk)
        events = []
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            line = chunk[start:end]
            start = end + 1
            if self._line:
                line = bytes(self._line) + line
                self._line = bytearray()
            if line:
                self._read(line)
            elif self._lines:
                events.append(_data(self._lines))
                self._lines = []
                self._size = 0
        if start < len(chunk):
            self._line += chunk[start:] if start else chunk
            self._check(self._size + len(self._line))
        return events

    def _read(self, line: bytes) -> None:
        """Take a line of an event."""
        if not self._started:
            self._started = True
            line = line.removeprefix(_BOM)
        self._lines.append(line)
        self._size += len(line)
        self._check(self._size)
        self._size += 1

    def _check(self, size: int) -> None:
        if size > MAX_EVENT_BYTES or len(self._lines) > MAX_EVENT_LINES:
            raise WRProtocolError(
                f"the stream sent an event of more than {MAX_EVENT_BYTES} bytes or {MAX_EVENT_LINES} lines"
            )

    def _with_lf(self, chunk: bytes) -> bytes:
        """Normalize line ends to LF, also for a CRLF that is split between two chunks."""
        if chunk:
            if self._after_cr:
                chunk = chunk.removeprefix(b"\n")
            self._after_cr = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _data(lines: Sequence[bytes]) -> str:
    """Return the data of an event."""
    data = [line for line in lines if line.startswith(b"data")]
    if not data:
        return ""
    if len(data) == 1 and data[0].startswith(b"data:"):
        return data[0][6 if data[0].startswith(b" ", 5) else 5 :].decode(errors="replace")
    # Late, since it imports requests, which the triggerer and DAG parsing do not need.
    from sseclient import SSEClient

    text = b"\n".join(data).decode(errors="replace").encode()
    return "\n".join(event.data for event in SSEClient(iter([text + b"\n\n"])).events())
