"""Callbacks: send the record of a finished execution to a server on this machine."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import ssl
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

import h11

from airflow_provider_wr.sandbox.runs import now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ATTEMPTS = 3
"""Maximum attempts of a delivery, until an answer is 2xx. White Rabbit does not document the number."""

PAUSE = 0.5
"""Seconds before the second attempt; doubled for the third."""

TIMEOUT = 10
"""Timeout in seconds for the receiver's answer."""

RESERVED_HEADERS = frozenset(
    {
        *("connection", "content-length", "content-type", "host", "transfer-encoding", "x-delivery-id", "x-event"),
        *("x-signature", "x-signature-timestamp", "x-signature-version"),
    }
)


def callback_problems(url: Any, secret: Any, headers: Any) -> Iterator[str]:
    """Yield the problems of a request's callback; None means not given."""
    if url is not None and not (isinstance(url, str) and _is_on_this_machine(url)):
        yield "callbackUrl must be an http or https URL on this machine: the sandbox calls no other"
    if secret is not None and not (isinstance(secret, str) and secret):
        yield "callbackSecret must be a text"
    if headers is None:
        return
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        yield "callbackHeaders must be an object of texts"
    elif reserved := sorted(name for name in headers if name.lower() in RESERVED_HEADERS):
        yield f"callbackHeaders must not hold {', '.join(reserved)}"


def _is_on_this_machine(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
        return parts.scheme in ("http", "https") and (host == "localhost" or ip_address(host).is_loopback)
    except ValueError:
        return False


@dataclass
class Callback:
    """The callback of an execution and its delivery; without a URL nothing is sent."""

    url: str | None = None
    secret: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    delivered_at: str | None = None
    last_attempt_at: str | None = None
    attempt_count: int = 0
    last_error: str | None = None

    def as_json(self) -> dict[str, Any]:
        signed = self.secret is not None
        return {
            "url": self.url,
            "signed": signed,
            "signatureAlgorithm": "hmac-sha256-v1" if signed else None,
            "headerNames": list(self.headers),
            "deliveredAt": self.delivered_at,
            "lastAttemptAt": self.last_attempt_at,
            "attemptCount": self.attempt_count,
            "lastError": self.last_error,
        }

    async def deliver(self, execution_id: str, record: Callable[[], dict[str, Any]], pace: float) -> None:
        """Send the record until an answer is 2xx, at most `ATTEMPTS` times; `pace` multiplies the pauses."""
        for number in range(ATTEMPTS):
            if number:
                await asyncio.sleep(PAUSE * 2 ** (number - 1) * pace)
            body = json.dumps(record(), ensure_ascii=False, separators=(",", ":")).encode()
            self.attempt_count += 1
            self.last_attempt_at = now()
            self.last_error = await self._try(self._headers(execution_id, body), body)
            if self.last_error is None:
                self.delivered_at = now()
                return

    def _headers(self, execution_id: str, body: bytes) -> dict[str, str]:
        """Return the headers of one attempt, as in the vendor's documentation of webhooks."""
        headers = {
            **self.headers,
            "content-type": "application/json",
            "x-event": "component.execution.terminal",
            "x-delivery-id": f"{execution_id}:{self.attempt_count}",
        }
        if self.secret is not None:
            timestamp = now()
            signature = hmac.new(self.secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256)
            headers["x-signature"] = f"sha256={signature.hexdigest()}"
            headers["x-signature-version"] = "v1"
            headers["x-signature-timestamp"] = timestamp
        return headers

    async def _try(self, headers: dict[str, str], body: bytes) -> str | None:
        """Send it once; return the problem, or None."""
        try:
            status = await asyncio.wait_for(_post(urlsplit(str(self.url)), headers, body), TIMEOUT)
        except asyncio.TimeoutError:
            return f"no answer within {TIMEOUT} s"
        except (OSError, ValueError, h11.ProtocolError) as error:
            return str(error) or type(error).__name__
        return None if 200 <= status < 300 else f"answered {status}"


async def _post(url: SplitResult, headers: dict[str, str], body: bytes) -> int:
    """Send one request and return the status of its answer."""
    tls = _unverified() if url.scheme == "https" else None
    reader, writer = await asyncio.open_connection(url.hostname, url.port or (443 if tls else 80), ssl=tls)
    try:
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        ours = {"host": url.netloc.rpartition("@")[2], "content-length": str(len(body)), "connection": "close"}
        connection = h11.Connection(h11.CLIENT)
        request = h11.Request(method="POST", target=target, headers=[*ours.items(), *headers.items()])
        for part in (request, h11.Data(body), h11.EndOfMessage()):
            writer.write(connection.send(part) or b"")
        await writer.drain()
        while not isinstance(event := connection.next_event(), h11.Response):
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(65536))
        return event.status_code
    finally:
        writer.close()


def _unverified() -> ssl.SSLContext:
    """Return a TLS context without verification, since nothing leaves this machine."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
