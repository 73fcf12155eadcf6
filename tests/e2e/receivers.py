"""Real receivers on loopback: StatsD over UDP, OpenTelemetry over HTTP."""

from __future__ import annotations

import gzip
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


class StatsD:
    """Keeps each line that it received."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.lines: list[str] = []
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()

    def _receive(self) -> None:
        while data := self._socket.recv(65535):
            self.lines += data.decode().splitlines()

    def close(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join(5)
        self._socket.close()

    def metrics(self, name: str) -> list[tuple[dict[str, str], float, str]]:
        """Return the tags, the value and the type of each line of this metric, in InfluxDB's form."""
        found = []
        for line in self.lines:
            named, _, measured = line.partition(":")
            metric, *tags = named.split(",")
            if metric == name:
                value, _, kind = measured.partition("|")
                found.append((dict(tag.split("=", 1) for tag in tags), float(value), kind))
        return found


class Collector:
    """Keeps each span that it received, by its id."""

    def __init__(self) -> None:
        self.spans: dict[bytes, Any] = {}
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                request = ExportTraceServiceRequest.FromString(body)
                for resource in request.resource_spans:
                    for scope in resource.scope_spans:
                        collector.spans.update({span.span_id: span for span in scope.spans})
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1/traces"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def named(self, name: str) -> list[Any]:
        """Return the spans of this name."""
        return [span for span in list(self.spans.values()) if span.name == name]

    def under(self, parent: Any) -> list[Any]:
        """Return the spans right under another."""
        return [span for span in list(self.spans.values()) if span.parent_span_id == parent.span_id]


def attributes(span: Any) -> dict[str, Any]:
    """Return a span's attributes."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


@contextmanager
def receivers() -> Iterator[tuple[StatsD, Collector]]:
    """Open both, and close them."""
    statsd, collector = StatsD(), Collector()
    try:
        yield statsd, collector
    finally:
        statsd.close()
        collector.close()
