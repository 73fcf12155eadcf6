"""
Any bytes, split anywhere, become events, heartbeats or a WRProtocolError, regardless of the splits.

Run: python tests/fuzz/fuzz_sse.py -max_total_time=30 tests/fuzz/corpus_sse
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["airflow_provider_wr", "sseclient"]):
    from airflow_provider_wr.api.events import read_run_event
    from airflow_provider_wr.api.sse import EventStream
    from airflow_provider_wr.models import RunEvent

RUN = "9e4c7b1a-1111-4222-8333-944455556666"


def replay(chunks: list[bytes]) -> list[str]:
    stream = EventStream()
    return [data for chunk in chunks for data in stream.feed(chunk)]


def test_one_input(wire: bytes) -> None:
    # The first byte is the place of the split.
    size, wire = wire[0] if wire else 0, wire[1:]
    chunks = [wire[place : place + size] for place in range(0, len(wire), size)] if size else [wire]
    events = replay(chunks)
    if events != replay([wire]):
        raise AssertionError(f"cut into pieces of {size} bytes, {wire!r} is {events}, whole {replay([wire])}")
    for data in events:
        event = read_run_event(RUN, data)
        if not isinstance(event, RunEvent | None):
            raise AssertionError(f"{data!r} is {event!r}")
        if event is not None:
            _ = event.active_stages


if __name__ == "__main__":
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
