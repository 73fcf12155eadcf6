"""
Parse Server-Sent Events from a stream of bytes, without I/O.

It finds the end of each event, limits its size, and returns its data. The other fields say nothing about a run:
NestJS, the API's framework, puts an ``id:`` line before the data.
"""

from __future__ import annotations

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

    __slots__ = ("_after_cr", "_data", "_line", "_lines", "_size", "_started")

    def __init__(self) -> None:
        self._line = bytearray()  # the beginning of a line whose end has not come
        self._data: list[str] = []  # so far, of the event whose end has not come; its lines and bytes likewise
        self._lines = self._size = 0
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
                events.append("\n".join(self._data))
                self._data = []
                self._lines = self._size = 0
        if start < len(chunk):
            self._line += chunk[start:] if start else chunk
            self._check(self._size + len(self._line))
        return events

    def _read(self, line: bytes) -> None:
        """Take a line of an event."""
        self._lines += 1
        self._size += len(line)
        self._check(self._size)
        self._size += 1
        if not self._started:
            self._started = True
            line = line.removeprefix(_BOM)
        if line.startswith(b"data:"):
            self._data.append(line[6 if line.startswith(b" ", 5) else 5 :].decode(errors="replace"))
        elif line == b"data":
            self._data.append("")

    def _check(self, size: int) -> None:
        if size > MAX_EVENT_BYTES or self._lines > MAX_EVENT_LINES:
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
