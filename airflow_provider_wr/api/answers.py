"""
Turn an answer, or its absence, into a result or an error, and decide whether a call may be retried.

Whether a request was sent is a fact that the transport reports (``sent``), not a guess from an exception's class.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from airflow_provider_wr.api.calls import Call
from airflow_provider_wr.api.decoding import beginning, decode
from airflow_provider_wr.api.sanitize import sanitize
from airflow_provider_wr.api.text import printable
from airflow_provider_wr.exceptions import (
    WRAuthError,
    WRConnectionError,
    WRError,
    WRNotFoundError,
    WRProtocolError,
    WRRateLimitError,
    WRServerError,
    WRTimeoutError,
    WRTriggerUnknownError,
    WRValidationError,
)

T = TypeVar("T")

#: Maximum size of an answer: a run's details can hold the outputs of thousands of stages.
MAX_BODY_BYTES = 64 * 2**20
MAX_ERROR_BYTES = 2**20

#: Maximum number of errors to keep from an answer.
MAX_ERRORS = 20

#: Maximum attempts for a plain call, and the longest ``Retry-After`` in seconds that it honours.
CALL_ATTEMPTS = 4
CALL_MAX_PAUSE = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """
    An answer as a transport received it.

    :param headers: case-insensitive.
    :param body: at most :func:`body_limit` bytes.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_ok(self) -> bool:
        return 200 <= self.status < 300


def body_limit(status: int) -> int:
    """Return how many bytes of a body to read: the limit, plus one to detect a larger body."""
    return (MAX_BODY_BYTES if 200 <= status < 300 else MAX_ERROR_BYTES) + 1


def read_answer(call: Call[T], answer: Answer) -> T:
    """
    Return a call's result.

    Raises a :class:`WRError` for an error; see :func:`in_doubt` for calls that are not repeatable.
    """
    try:
        return _read(call, answer)
    except WRError as error:
        raise in_doubt(call, error) from None


def _read(call: Call[T], answer: Answer) -> T:
    if not answer.is_ok:
        raise _error(call, answer)
    if call.read is None:
        return None  # type: ignore[return-value]  # T is None then
    try:
        if len(answer.body) > MAX_BODY_BYTES:
            raise WRProtocolError(f"the answer is larger than {MAX_BODY_BYTES} bytes")
        return call.read(decode(answer.body, later=call.later))
    except WRProtocolError as error:
        raise WRProtocolError(
            error.message,
            method=call.method,
            path=call.path,
            status_code=answer.status,
            details=beginning(answer.body),
            sent=True,
        ) from None


_ERRORS: dict[int, type[WRError]] = {
    400: WRValidationError,
    401: WRAuthError,
    403: WRAuthError,
    404: WRNotFoundError,
    408: WRTimeoutError,
    409: WRValidationError,
    422: WRValidationError,
    429: WRRateLimitError,
}


def _error(call: Call[Any], answer: Answer) -> WRError:
    """Return the error for an answer other than 2xx, with the API's own message."""
    kind = _ERRORS.get(answer.status, WRServerError if answer.status >= 500 else WRError)
    details, errors = _details(answer.body[:MAX_ERROR_BYTES])
    message = "; ".join(error["message"] for error in errors if error["message"])
    if answer.status < 300:
        kind = WRProtocolError
        message = f"answered {answer.status}, which is no end"
    elif answer.status < 400:
        kind = WRProtocolError
        target = printable(answer.headers.get("Location", "nowhere"))
        message = f"redirected to {target}, which is not followed: set the connection's host to where the API is"
    elif answer.status == 408:
        message = f"timed out: {message}"
    elif answer.status == 401:
        message += _clock_note(answer.headers)
    return kind(
        message,
        method=call.method,
        path=call.path,
        status_code=answer.status,
        details=details,
        errors=errors,
        retry_after=retry_after(answer.headers, now=time.time()),
        sent=True,
    )


def _details(body: bytes) -> tuple[Any, list[dict[str, Any]]]:
    """Read an error's body, in either of the API's two formats or from a proxy."""
    try:
        details = decode(body)
    except WRProtocolError:
        text = beginning(body)
        return text or None, [{"code": None, "message": text}]
    shown = details if isinstance(details, dict) else {"message": details}
    listed = shown.get("errors")
    if not isinstance(listed, list) or not listed:
        message = shown.get("message") or shown.get("error")
        messages = message if isinstance(message, list) else [message]
        # As in the SDK's fixtures: {"error": "UNAUTHORIZED", "message": "Invalid API key"}.
        code = shown.get("code") or (shown.get("error") if shown.get("message") else None)
        listed = [{"code": code, "message": each} for each in messages]
    errors = [each if isinstance(each, dict) else {"message": each} for each in listed[:MAX_ERRORS]]
    return sanitize(details)[0], [_entry(each) for each in errors]


def _entry(error: Mapping[str, Any]) -> dict[str, Any]:
    code = error.get("code") or error.get("error")
    return {"code": code if code is None else _words(code), "message": _words(error.get("message"))}


def _words(message: Any) -> str:
    if message is None:
        return ""
    return printable(message if isinstance(message, str) else json.dumps(sanitize(message)[0]))


def _clock_note(headers: Mapping[str, str]) -> str:
    # A signature's timestamp must be within 30 s of the server's clock.
    date = _http_date(headers.get("Date"))
    if date is None or abs(off := time.time() - date.timestamp()) <= 20:
        return ""
    return f"; this machine's clock is {abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} the API's"


def retry_after(headers: Mapping[str, str], *, now: float) -> float | None:
    """
    Return the seconds to wait from ``Retry-After`` (seconds or an HTTP date); None without one.

    :param now: Unix seconds, used if the answer has no ``Date``.
    """
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    until = _http_date(value)
    if until is None:
        return None
    date = _http_date(headers.get("Date"))
    return max(0.0, until.timestamp() - (date.timestamp() if date else now))


def _http_date(text: str | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(text or "")
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=timezone.utc)


def no_answer(call: Call[Any], error: BaseException, *, sent: bool, timed_out: bool) -> WRError:
    """
    Return the error for a call without a complete answer.

    :param error: the exception of the transport.
    :param sent: whether any bytes of the request were sent, so that it may have reached the API.
    :param timed_out: whether a timeout was the cause.
    """
    what = "the connection broke" if sent else "cannot connect"
    if timed_out:
        what = "timed out waiting for the answer" if sent else "timed out connecting"
    kind = WRTimeoutError if timed_out else WRConnectionError
    # After a timeout, the transport's own message depends on how it aborted the read, and adds nothing.
    text = what if sent and timed_out else f"{what}: {printable(_root(error))}"
    return in_doubt(call, kind(text, method=call.method, path=call.path, sent=sent))


def _root(error: BaseException) -> str:
    """Return the message of the root cause: the exceptions around it only repeat it."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    if getattr(error, "reason", None) in _NO_TLS:
        return "the server does not speak TLS, set the schema to http"
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__


#: What Python's ``ssl`` says of a server that answers a TLS handshake in plain HTTP.
_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST")


#: Statuses that prove that a request had no effect. Others, such as 408 or a proxy's 499, leave it open.
_REFUSED = frozenset(
    {301, 302, 307, 308}  # not 303, which comes after the request was processed
    | {
        400,
        401,
        402,
        403,
        404,
        405,
        406,
        407,
        409,
        410,
        411,
        413,
        414,
        415,
        417,
        421,
        422,
        425,
        426,
        428,
        429,
        431,
    }
)


def in_doubt(call: Call[Any], error: WRError) -> WRError:
    """
    Return the error, or :class:`WRTriggerUnknownError` if the call may have had its effect.

    That is the case for a call that is not repeatable, was sent, and was not clearly refused.
    """
    if call.repeatable or error.sent is False or error.status_code in _REFUSED:
        return error
    when = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return WRTriggerUnknownError(
        f"{error.cause}; {call.subject} was triggered at {when}",
        reason=error,
        starts=call.starts,
        method=call.method,
        path=call.path,
        details=error.details,
        errors=error.errors,
        sent=True,
    )


def may_repeat(error: BaseException) -> bool:
    """
    Return whether to retry a call after ``error``.

    Calls that must not be repeated raise :class:`WRTriggerUnknownError` instead: see :func:`in_doubt`.
    """
    if not isinstance(error, WRError) or (error.retry_after or 0) > CALL_MAX_PAUSE:
        return False
    return isinstance(error, (WRConnectionError, WRTimeoutError, WRRateLimitError, WRServerError))
