"""Check that an answer is an event stream, and read its events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from airflow_provider_wr.api.calls import EVENT_STREAM, Call
from airflow_provider_wr.api.executions import ExecutionEvent
from airflow_provider_wr.api.models import RunEvent
from airflow_provider_wr.api.redaction import holds_secret, redact_json
from airflow_provider_wr.api.text import printable
from airflow_provider_wr.exceptions import WRProtocolError

E = TypeVar("E")

_decode = msgspec.json.Decoder().decode


def check_stream(call: Call[None], headers: Mapping[str, str]) -> None:
    """Raise :class:`WRProtocolError` unless a 2xx answer is an event stream: a proxy may send a web page."""
    kind = headers.get("Content-Type", "nothing")
    if kind.partition(";")[0].strip().lower() != EVENT_STREAM:
        raise WRProtocolError(
            f"the stream is not {EVENT_STREAM}, but {printable(kind)}", method=call.method, path=call.path
        )


def read_run_event(run_id: str, data: str) -> RunEvent | None:
    """
    Read the data of one event of a run's stream.

    Returns None for anything else: heartbeats, data that is not JSON (the vendor's client ignores it, too), and
    other messages such as ``{"type": "connected"}``.
    """
    event = _read(RunEvent.from_json, data)
    return event if event is not None and _is_same(event.run_id, run_id) else None


def read_execution_event(execution_id: str, data: str) -> ExecutionEvent | None:
    """Read the data of one event of an execution's stream; see :func:`read_run_event`."""
    event = _read(ExecutionEvent.from_json, data)
    return event if event is not None and _is_same(event.execution_id, execution_id) else None


def _read(read: Callable[[Any], E], data: str) -> E | None:
    if not data or data.strip() == ":ping":
        return None
    try:
        body = _decode(data)
        return read(redact_json(body) if holds_secret(data) else body)
    except (RecursionError, ValueError, msgspec.DecodeError, WRProtocolError):
        return None  # msgspec.DecodeError is a ValueError since 0.21


def _is_same(one: str, other: str) -> bool:
    return one == other or one.lower() == other.lower()
