"""What a stream says: whether it is one, and what each of its events means."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from airflow_provider_wr.api.calls import EVENT_STREAM, Call
from airflow_provider_wr.api.models import RunEvent
from airflow_provider_wr.api.text import printable
from airflow_provider_wr.exceptions import WRProtocolError

_decode = msgspec.json.Decoder().decode


def check_stream(call: Call[None], headers: Mapping[str, str]) -> None:
    """Raise :class:`WRProtocolError` unless a stream's 2xx answer is a stream: a proxy may answer a page."""
    kind = headers.get("Content-Type", "nothing")
    if kind.partition(";")[0].strip().lower() != EVENT_STREAM:
        raise WRProtocolError(
            f"the stream is not {EVENT_STREAM}, but {printable(kind)}", method=call.method, path=call.path
        )


def read_run_event(run_id: str, data: str) -> RunEvent | None:
    """
    Read the data of one event of a run's stream.

    Returns None for a heartbeat and, as the vendor's own client does, for what is not JSON: signs of life
    that say nothing. Raises :class:`WRProtocolError` for JSON that is not an event of this run.
    """
    if not data or data.strip() == ":ping":
        return None
    try:
        body = _decode(data)
    except (RecursionError, ValueError, msgspec.DecodeError):  # the last is a ValueError from msgspec 0.21 on
        return None
    event = RunEvent.from_json(body)
    if event.run_id != run_id and event.run_id.lower() != run_id.lower():
        raise WRProtocolError(f"the stream of run {run_id} told of another run: {printable(event.run_id)}")
    return event
