"""Check that an answer is an event stream, and read its events."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from airflow_provider_wr.api.calls import EVENT_STREAM, Call
from airflow_provider_wr.api.models import RunEvent
from airflow_provider_wr.api.redaction import holds_secret, redact_json
from airflow_provider_wr.api.text import printable
from airflow_provider_wr.exceptions import WRProtocolError

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
    if not data or data.strip() == ":ping":
        return None
    try:
        body = _decode(data)
        event = RunEvent.from_json(redact_json(body) if holds_secret(data) else body)
    except (RecursionError, ValueError, msgspec.DecodeError, WRProtocolError):
        return None  # msgspec.DecodeError is a ValueError since 0.21
    return event if event.run_id == run_id or event.run_id.lower() == run_id.lower() else None
