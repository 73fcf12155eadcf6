"""Parse request bodies, and build error answers and faulty answers."""

from __future__ import annotations

import json
import socket
import struct
from http.client import responses
from typing import TYPE_CHECKING, Any

from starlette.responses import HTMLResponse, JSONResponse, Response

if TYPE_CHECKING:
    import asyncio

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from airflow_provider_wr.sandbox.faults import Fault

PHRASES = {**responses, 422: "Unprocessable Entity"}  # another phrase in Python 3.13 and later


CODES = {422: "INVALID_INPUT", 429: "RATE_LIMITED", 500: "INTERNAL_ERROR"}
"""The API's error codes that are not the phrase of the status, such as `NOT_FOUND`."""

MESSAGES = {401: "Invalid API key", 429: "Rate limit exceeded"}
"""The API's messages for statuses set by a fault; others use the phrase of the status."""


class ApiError(Exception):
    """A request that the API rejects, with a status and one or more messages."""

    def __init__(self, status: int, *messages: str, code: str | None = None) -> None:
        super().__init__(status, *messages)
        self.status = status
        self.messages = messages
        self.code = code

    def response(self) -> JSONResponse:
        return error_response(self.status, *self.messages, code=self.code)


async def json_object(request: Request) -> dict[str, Any]:
    """Parse the body, an empty one as `{}`; reject values that could not be sent back as JSON."""
    try:
        value = json.loads(await request.body() or b"{}")
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "Malformed JSON in request body") from error
    if not isinstance(value, dict):
        raise ApiError(422, "body must be an object")
    return value


def error_response(
    status: int, *messages: str, code: str | None = None, headers: dict[str, str] | None = None
) -> JSONResponse:
    """Return an error in one of the API's formats: a list of errors for invalid input, else code and message."""
    code = code or CODES.get(status) or PHRASES.get(status, "Error").upper().replace(" ", "_")
    body: dict[str, Any]
    if status == 422:
        body = {"errors": [{"code": code, "message": message} for message in messages]}
    else:
        body = {"error": code, "message": messages[0]}
    return JSONResponse(body, status, headers)


def faulty_response(fault: Fault, request: Request) -> Response | None:
    """Return the answer of a fault, or None if it does not replace the API's answer."""
    if fault.reset or fault.close:
        return NoAnswer(reset=fault.reset)
    headers = {"Retry-After": fault.retry_after} if fault.retry_after is not None else {}
    if fault.html:
        status = fault.status or 502
        title = f"{status} {PHRASES.get(status, 'Error')}"
        page = f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
        return HTMLResponse(page, status, headers)
    if fault.status is not None:
        message = MESSAGES.get(fault.status) or PHRASES.get(fault.status, "Error")
        if fault.echo_key:
            message += f": {request.headers.get('X-Api-Key')}"
        return error_response(fault.status, message, headers=headers)
    return None


class NoAnswer(Response):
    """Resets or closes the connection instead of answering."""

    def __init__(self, *, reset: bool) -> None:
        super().__init__()
        self.status_code = 0
        self._reset = reset

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        transport: asyncio.Transport = scope["state"]["transport"]
        if self._reset:
            # With a linger time of zero, closing the socket sends RST instead of FIN.
            linger = struct.pack("ii", 1, 0)
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
        while (await receive())["type"] != "http.disconnect":
            pass
