"""
The White Rabbit protocol without I/O: what a call sends, what an answer means, what may be sent again.

Both hooks carry these calls over their own transport and add nothing to them.
"""

from __future__ import annotations

import json
import math
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

import msgspec

from airflow_provider_wr import __version__, js_json
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
from airflow_provider_wr.models import Run, RunEvent, TriggeredRun
from airflow_provider_wr.quoting import MAX_QUOTE, quote

if TYPE_CHECKING:
    from airflow_provider_wr.connection import WRSettings

T = TypeVar("T")

#: Bytes of an answer that we read: a run's details can hold the outputs of thousands of stages.
MAX_BODY_BYTES = 64 * 2**20
MAX_ERROR_BYTES = 2**20

#: Errors of an answer that we keep of its list.
MAX_ERRORS = 20

#: Attempts at one plain call, and the longest Retry-After (seconds) that a plain call waits out.
CALL_ATTEMPTS = 4
CALL_MAX_PAUSE = 60.0

EVENT_STREAM = "text/event-stream"

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


# --- what a call sends ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """
    One call of the API.

    :param path: from ``/v1`` on.
    :param body: the exact bytes to send; None for none.
    :param read: makes the result out of the answer's JSON; raises :class:`WRProtocolError`.
    :param accept: the media type that is asked for.
    :param triggers: the workflow that the call starts a run of; None for a call that may be repeated.
    """

    method: str
    path: str
    body: bytes | None
    read: Callable[[Any], T] | None
    accept: str = "application/json"
    triggers: str | None = None

    def headers(self, settings: WRSettings, *, now: float) -> dict[str, str]:
        """
        Return the headers of one attempt.

        :param now: Unix seconds; the signature of every attempt carries its own.
        """
        headers = {
            "Accept": self.accept,
            "User-Agent": f"airflow-provider-wr/{__version__}",
            "X-Api-Key": settings.api_key,
        }
        if self.body is not None:
            headers["Content-Type"] = "application/json"
        if self.accept == EVENT_STREAM:
            headers["Accept-Encoding"] = "identity"  # a compressor on the way would hold events back
        if settings.signer is not None:
            headers |= settings.signer.headers(self.method, self.path, self.body, int(now))
        return headers


def trigger_run(workflow_id: str) -> Call[TriggeredRun]:
    """Start a run."""

    def read(body: Any) -> TriggeredRun:
        triggered = TriggeredRun.from_json(body)
        if not _UUID.fullmatch(triggered.run_id):
            raise WRProtocolError(f"the run id is not a UUID: {quote(triggered.run_id)}")
        return triggered

    check_uuid(workflow_id, "workflow_id")
    return Call("POST", f"/v1/sdk/workflows/{workflow_id}", b"{}", read, triggers=workflow_id)


def get_run(run_id: str) -> Call[Run]:
    """Read a run as it is now."""

    def read(body: Any) -> Run:
        run = Run.from_json(body)
        if run.id.lower() != run_id.lower():
            raise WRProtocolError(f"the API answered with another run: {quote(run.id)}")
        return run

    check_uuid(run_id, "run_id")
    return Call("GET", f"/v1/sdk/workflows/executions/{run_id}", None, read)


def stream_run(run_id: str) -> Call[None]:
    """Open the stream of a run's events."""
    check_uuid(run_id, "run_id")
    path = f"/v1/sdk/workflows/executions/{run_id}/stream"
    return Call("GET", path, None, None, accept=EVENT_STREAM)


def update_component(
    workflow_id: str,
    component_id: str,
    *,
    config: Mapping[str, Any] | None = None,
    name: str | None = None,
    position: Sequence[float] | None = None,
) -> Call[None]:
    """Change a component; what is None is left as it is, and ``config`` is merged on the server."""
    check_uuid(workflow_id, "workflow_id")
    check_uuid(component_id, "component_id")
    body: dict[str, Any] = {}
    if config is not None:
        if not isinstance(config, Mapping):
            raise WRValidationError(f"config should be an object (a dict), and is a {type(config).__name__}")
        body["config"] = config
    if name is not None:
        if not isinstance(name, str) or not name.strip():
            raise WRValidationError("name should be a text that is not empty")
        body["name"] = name
    if position is not None:
        body["position"] = _position(position)
    if not body:
        raise WRValidationError("nothing to update: give at least one of config, name and position")
    path = f"/v1/sdk/workflows/{workflow_id}/components/{component_id}"
    return Call("POST", path, js_json.dumps(body).encode(), None)


def check_uuid(value: object, name: str) -> str:
    """Return ``value`` if it is a UUID; raises :class:`WRValidationError`, which names it, if not."""
    if isinstance(value, str) and _UUID.fullmatch(value):
        return value
    shown = quote(value) if isinstance(value, str) else type(value).__name__
    raise WRValidationError(
        f"{name} should be a UUID, such as 123e4567-e89b-12d3-a456-426614174000, and is {shown!r}"
    )


def choose_workflow(*candidates: str | None) -> str:
    """Return the first workflow id that is given; raises :class:`WRValidationError` when none is."""
    for workflow_id in candidates:
        if workflow_id:
            return workflow_id
    raise WRValidationError(
        "no workflow id: give workflow_id to the call or the operator, or put it into the connection's extra"
    )


def _position(position: Any) -> list[float]:
    def is_number(value: Any) -> bool:
        return type(value) in (int, float) and abs(value) <= sys.float_info.max

    if isinstance(position, (list, tuple)) and len(position) == 2 and all(map(is_number, position)):
        return list(position)
    raise WRValidationError(f"position should be two finite numbers [x, y], and is {quote(repr(position))}")


# --- what an answer means ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """
    An answer as a transport carried it.

    :param headers: looked up without regard to case.
    :param body: as much of it as :func:`body_limit` says.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_ok(self) -> bool:
        return 200 <= self.status < 300


def body_limit(status: int) -> int:
    """Return how many bytes of an answer's body to read, and one more to know that there were more."""
    return (MAX_BODY_BYTES if 200 <= status < 300 else MAX_ERROR_BYTES) + 1


def read_answer(call: Call[T], answer: Answer) -> T:
    """
    Make a call's result out of its answer.

    Raises the :class:`WRError` that the answer means. For a trigger, an answer that leaves open whether a run
    was started is a :class:`WRTriggerUnknownError`, and every other error means that none was.
    """
    try:
        return _read(call, answer)
    except (WRProtocolError, WRServerError, WRTimeoutError) as error:
        # A redirect other than 303 was not obeyed: it says that the request should go elsewhere.
        if call.triggers is None or (300 <= answer.status < 400 and answer.status != 303):
            raise
        raise trigger_unknown(call, error) from error


def _read(call: Call[T], answer: Answer) -> T:
    if not answer.is_ok:
        raise _error(call, answer)
    if call.read is None:
        return None  # type: ignore[return-value]  # T is None for a call that reads nothing
    try:
        if len(answer.body) > MAX_BODY_BYTES:
            raise WRProtocolError(f"the answer is larger than {MAX_BODY_BYTES} bytes")
        return call.read(_json(answer.body))
    except WRProtocolError as error:
        raise WRProtocolError(
            error.message,
            method=call.method,
            path=call.path,
            status_code=answer.status,
            details=_beginning(answer.body),
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
    """Return the error that an answer other than 2xx means, with the API's own words."""
    kind = _ERRORS.get(answer.status, WRServerError if answer.status >= 500 else WRError)
    details, errors = _details(answer.body[:MAX_ERROR_BYTES])
    message = "; ".join(error["message"] for error in errors if error["message"])
    if answer.status < 400:
        kind = WRProtocolError
        target = quote(answer.headers.get("Location", "nowhere"))
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
    )


def _details(body: bytes) -> tuple[Any, list[dict[str, Any]]]:
    """Read an error's body in either of the API's two shapes, or whatever a proxy made of it."""
    try:
        details = _json(body)
    except WRProtocolError:
        text = _beginning(body)
        return text or None, [{"code": None, "message": text}]
    shown = details if isinstance(details, dict) else {"message": details}
    listed = shown.get("errors")
    if not isinstance(listed, list) or not listed:
        message = shown.get("message") or shown.get("error")
        messages = message if isinstance(message, list) else [message]
        listed = [{"code": shown.get("code"), "message": each} for each in messages]
    errors = [each if isinstance(each, dict) else {"message": each} for each in listed[:MAX_ERRORS]]
    return details, [{"code": each.get("code"), "message": _words(each.get("message"))} for each in errors]


def _words(message: Any) -> str:
    if message is None:
        return ""
    return quote(message if isinstance(message, str) else json.dumps(message))


def _clock_note(headers: Mapping[str, str]) -> str:
    # A signature's timestamp must be within 30 s of the server's clock.
    date = _http_date(headers.get("Date"))
    if date is None or abs(off := time.time() - date.timestamp()) <= 20:
        return ""
    return f"; this machine's clock is {abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} the API's"


def retry_after(headers: Mapping[str, str], *, now: float) -> float | None:
    """
    Return the seconds that ``Retry-After`` (seconds or an HTTP date) asks to wait; None when it does not.

    :param now: Unix seconds, for an answer that does not carry a date of its own.
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


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_constant(text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise WRProtocolError(f"the answer's JSON has a key twice: {quote(twice)}")
    return found


_DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_unique)

#: For events, of which there are many: three times as fast. It lets a key stand twice and knows no lone surrogate,
#: but what an event says of the run's end is read from the run again.
_decode_event = msgspec.json.Decoder().decode


def _json(body: bytes) -> Any:
    try:
        return _DECODER.decode(body.decode("utf-8-sig"))
    except RecursionError:
        raise WRProtocolError("the answer's JSON is nested too deeply") from None
    except ValueError:
        raise WRProtocolError(f"the answer is not JSON: {_beginning(body) or 'it is empty'}") from None


def _beginning(body: bytes) -> str:
    return quote(" ".join(body[: 4 * MAX_QUOTE].decode(errors="replace").split()))


# --- what no answer means, and what may be sent again ------------------------------------------------------


def no_answer(call: Call[Any], error: BaseException, *, sent: bool, timed_out: bool) -> WRError:
    """
    Return the error for a call that brought no answer, or not all of it.

    :param error: what the transport raised.
    :param sent: whether any of the request may have reached the API.
    :param timed_out: whether time ran out.
    """
    what = "the connection broke" if sent else "no connection could be made"
    if timed_out:
        what = "timed out waiting for the answer" if sent else "timed out connecting"
    kind = WRTimeoutError if timed_out else WRConnectionError
    # How an answer that took too long was broken off depends on the transport, and says nothing more.
    text = what if sent and timed_out else f"{what}: {quote(_root(error))}"
    failure = kind(text, method=call.method, path=call.path)
    return trigger_unknown(call, failure) if call.triggers is not None and sent else failure


def _root(error: BaseException) -> str:
    """Return the words of the error at the root: what wraps it repeats them at length."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return str(error) or type(error).__name__


def trigger_unknown(call: Call[Any], error: WRError) -> WRTriggerUnknownError:
    """Return the error for a trigger that was sent and brought no usable answer."""
    when = datetime.now(timezone.utc).isoformat(timespec="seconds")
    said = f"answered {error.status_code}: {error.message}" if error.status_code else error.message
    return WRTriggerUnknownError(
        f"workflow {call.triggers} was sent a trigger at {when}; whether a run started is not known: {said}",
        reason=error,
        method=call.method,
        path=call.path,
        details=error.details,
        errors=error.errors,
    )


def may_send_again(error: BaseException) -> bool:
    """
    Return whether the same call may be sent again after ``error``.

    A trigger that may have been obeyed raises :class:`WRTriggerUnknownError`, which is none of these.
    """
    if isinstance(error, WRError) and (error.retry_after or 0) > CALL_MAX_PAUSE:
        return False
    return isinstance(error, (WRConnectionError, WRTimeoutError, WRRateLimitError, WRServerError))


# --- a stream's events ------------------------------------------------------------------------------------


def check_stream(call: Call[None], headers: Mapping[str, str]) -> None:
    """Raise :class:`WRProtocolError` unless a stream's 2xx answer is a stream: a proxy may answer a page."""
    kind = headers.get("Content-Type", "nothing")
    if kind.partition(";")[0].strip().lower() != EVENT_STREAM:
        raise WRProtocolError(
            f"the stream is not {EVENT_STREAM}, but {quote(kind)}", method=call.method, path=call.path
        )


def read_event(run_id: str, data: str) -> RunEvent | None:
    """
    Read the data of one event of a run's stream.

    Returns None for a heartbeat and, as the vendor's own client does, for what is not JSON: signs of life
    that say nothing. Raises :class:`WRProtocolError` for JSON that is not an event of this run.
    """
    if not data or data.strip() == ":ping":
        return None
    try:
        body = _decode_event(data)
    except (RecursionError, ValueError, msgspec.DecodeError):  # the last is a ValueError from msgspec 0.21 on
        return None
    event = RunEvent.from_json(body)
    if event.run_id != run_id and event.run_id.lower() != run_id.lower():
        raise WRProtocolError(f"the stream of run {run_id} told of another run: {quote(event.run_id)}")
    return event
