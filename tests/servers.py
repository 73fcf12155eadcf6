"""Misbehaving servers on real sockets, scripted byte by byte."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

RUN_ID = "9e4c7b1a-1111-4222-8333-944455556666"
WORKFLOW_ID = "7d0b6f1e-4a51-4c1e-9a57-0d5a2f6f0001"
COMPONENT_ID = "c0ffee00-1111-4222-8333-944455556666"
API_KEY = "ws_k"

PATIENCE = 10.0
"""Seconds after which a test that waits for something is taken to wait in vain."""


@dataclass(frozen=True)
class Request:
    """A received request; header names are in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def is_trigger(self) -> bool:
        return self.method == "POST" and "/components/" not in self.target

    @property
    def is_stream(self) -> bool:
        return self.target.endswith("/stream")


class Gone(OSError):
    """The client has closed the connection."""


class Peer:
    """The client's connection, for the script of a server."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._received = b""
        self.is_closed = False

    def read_request(self) -> Request | None:
        """Return the next request; None when the client has closed its side."""
        with suppress(Gone):
            head = self._until(b"\r\n\r\n")
            start, *lines = head.decode("latin-1").split("\r\n")
            method, target, _ = start.split(" ")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            body = self._exactly(int(headers.get("content-length", 0)))
            return Request(method, target, headers, body)
        return None

    def send(self, *pieces: bytes | str, every: float = 0.0) -> None:
        """Send raw bytes, with a pause after each piece; raises OSError if the client has disconnected."""
        for piece in pieces:
            self._socket.sendall(piece.encode() if isinstance(piece, str) else piece)
            time.sleep(every)

    def answer(
        self, status: int = 200, body: bytes | str | Any = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a complete answer; a body other than bytes and str is sent as JSON."""
        if not isinstance(body, (bytes, str)):
            headers = {"Content-Type": "application/json", **(headers or {})}
            body = json.dumps(body)
        content = body.encode() if isinstance(body, str) else body
        self.send(head(status, {"Content-Length": str(len(content)), **(headers or {})}), content)

    def drip(self, head: bytes, body: bytes = b".", *, every: float = 0.02) -> None:
        """Send ``head``, and then ``body`` repeatedly until the client disconnects."""
        self.send(head)
        while True:
            self.send(body, every=every)

    def hang(self) -> None:
        """Send nothing more, and return when the client disconnects or the server closes."""
        with suppress(OSError):
            while self._socket.recv(65536):
                pass
        self.close()

    def reset(self) -> None:
        """Close with RST."""
        # With a linger time of zero, closing the socket sends RST instead of FIN.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        self.is_closed = True
        self._socket.close()

    def interrupt(self) -> None:
        """Unblock a read or write from another thread."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _until(self, end: bytes) -> bytes:
        while end not in self._received:
            self._more()
        found, _, self._received = self._received.partition(end)
        return found

    def _exactly(self, count: int) -> bytes:
        while len(self._received) < count:
            self._more()
        found, self._received = self._received[:count], self._received[count:]
        return found

    def _more(self) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise Gone
        self._received += data


Script = Callable[[Request, Peer], None]


class RawServer:
    """
    Listens on a free port from its creation until ``close``, and runs ``script`` for each request.

    Each connection has a thread of its own. An error of the script other than OSError, which tells that the
    client has gone, is raised by ``close``. Also a context manager.
    """

    def __init__(self, script: Script, *, port: int = 0, tls: Any = None) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self._script = script
        self._tls = tls
        self._errors: list[Exception] = []
        self._peers: set[Peer] = set()
        self._changed = threading.Condition()
        self._closing = False
        self._listener = socket.create_server(("127.0.0.1", port), backlog=1024)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def count(self, condition: Callable[[Request], bool] = lambda request: True) -> int:
        with self._changed:
            return sum(map(condition, self.requests))

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until ``condition`` is true; checked after each request and disconnect."""
        with self._changed:
            assert self._changed.wait_for(condition, PATIENCE), self.requests

    def wait_until_alone(self) -> None:
        """Wait until no client is connected."""
        self.wait_for(lambda: not self._peers)

    def close(self) -> None:
        """Stop listening, and break every connection."""
        self._closing = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(PATIENCE)
        self._listener.close()
        with self._changed:
            peers = list(self._peers)
        for peer in peers:
            peer.interrupt()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        if self._errors:
            raise self._errors[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._closing:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        peer = Peer(sock)
        with self._changed:
            self.connections += 1
            self._peers.add(peer)
        try:
            if self._tls is not None:
                peer._socket = self._tls.wrap_socket(sock, server_side=True)
            while not peer.is_closed and (request := peer.read_request()):
                with self._changed:
                    self.requests.append(request)
                    self._changed.notify_all()
                self._script(request, peer)
        except OSError:
            pass
        except Exception as error:
            self._errors.append(error)
        finally:
            peer.close()
            with self._changed:
                self._peers.discard(peer)
                self._changed.notify_all()


def head(status: int = 200, headers: Mapping[str, str] | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in (headers or {}).items())]
    return "\r\n".join([*lines, "", ""]).encode()


STREAM_HEAD = head(200, {"Content-Type": "text/event-stream", "Connection": "close"})
"""The beginning of a stream that ends when its connection is closed."""


def event(status: str = "EXECUTING", **output: Any) -> bytes:
    """Return an event of the stream of ``RUN_ID``."""
    data = {"id": RUN_ID, "status": status, "output": output, "timestamp": "2026-01-01T00:00:00.000Z"}
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def run(status: str = "EXECUTING", **fields: Any) -> dict[str, Any]:
    """Return the details of ``RUN_ID``."""
    return {
        "id": RUN_ID,
        "status": status,
        "pendingStageCount": 0,
        "failedStageCount": 0,
        "cancelRequestedAt": None,
        "cancelReason": None,
        "totalUsage": 1,
        "createdAt": "2026-01-01T00:00:00.000Z",
        "updatedAt": "2026-01-01T00:00:00.000Z",
        "runStages": [],
        **fields,
    }


def ending(**fields: Any) -> Script:
    """Return the script of a run that is seen EXECUTING once, and whose stream reports its end."""
    statuses = iter(["EXECUTING"])

    def script(request: Request, peer: Peer) -> None:
        if request.is_stream:
            peer.send(STREAM_HEAD, event("COMPLETED"))
            peer.hang()
        else:
            peer.answer(200, run(next(statuses, "COMPLETED"), **fields))

    return script


def free_port() -> int:
    """Return an unused port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
