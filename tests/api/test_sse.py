"""The events of a stream do not depend on where its bytes are split."""

from __future__ import annotations

import re
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_wr.api import sse
from airflow_provider_wr.api.sse import EventStream
from airflow_provider_wr.exceptions import WRProtocolError

BOM = b"\xef\xbb\xbf"


def replay(*chunks: bytes) -> list[str]:
    stream = EventStream()
    return [data for chunk in chunks for data in stream.feed(chunk)]


def one_by_one(wire: bytes) -> list[str]:
    return replay(*(wire[place : place + 1] for place in range(len(wire))))


def check(wire: bytes, events: list[str]) -> None:
    """Feed a stream at once, byte by byte, and followed by the beginning of another event."""
    assert replay(wire) == events
    assert one_by_one(wire) == events
    assert replay(wire + b"data: unfinished") == events


@pytest.mark.parametrize(
    ("wire", "events"),
    [
        pytest.param(b"", [], id="nothing"),
        pytest.param(b"data: a\n", [], id="unfinished event"),
        pytest.param(b"data: a\n\n", ["a"], id="LF"),
        pytest.param(b"data: a\r\n\r\n", ["a"], id="CRLF"),
        pytest.param(b"data: a\r\rdata: b\r\r", ["a", "b"], id="CR"),
        pytest.param(b"data: a\n\r\ndata: b\r\n\ndata: c\r\n\r\n", ["a", "b", "c"], id="line ends mixed"),
        pytest.param(b"data: a\r\n\r\ndata: b\r\n\r\n", ["a", "b"], id="two events"),
        pytest.param(b"data: a\n\ndata: b\n\ndata: c\n\n", ["a", "b", "c"], id="three events"),
        pytest.param(b"data: a\n\n\ndata: b\n\n", ["a", "b"], id="blank line too many"),
        pytest.param(b"data:a\n\n", ["a"], id="no space"),
        pytest.param(b"data:  a \n\n", [" a "], id="one space alone is dropped"),
        pytest.param(b"data: a: b\n\n", ["a: b"], id="colon in the data"),
        pytest.param(b"data: a\ndata: b\ndata\ndata: c\n\n", ["a\nb\n\nc"], id="data in lines"),
        pytest.param(b"data: a\r\ndata: b\r\n\r\n", ["a\nb"], id="data in lines, CRLF"),
        pytest.param(b"data\n\n", [""], id="data without a colon"),
        pytest.param(b"data:\n\n", [""], id="empty data"),
        pytest.param(b"data: {}\nid: 1\nevent: update\nretry: 5\n\n", ["{}"], id="other fields"),
        pytest.param(b"id: 7\ndata: {}\n\nid: 8\ndata: {}\n\n", ["{}", "{}"], id="as NestJS sends it"),
        pytest.param(b"event: update\nid: 7\nretry: 5\ndata: {}\n\n", ["{}"], id="with the name of the event"),
        pytest.param(b"id: 7\n:ping\n\n", [""], id="heartbeat with an id"),
        pytest.param(b"id: 7\ndata: :ping\n\n", [":ping"], id="heartbeat as data with an id"),
        pytest.param(b"Data: a\ndatum: b\nunknown\n\n", [""], id="unknown fields"),
        pytest.param(b" data: a\n\n", [""], id="field name with a space"),
        pytest.param(b": hello\ndata: a\n\n", ["a"], id="comment before data"),
        pytest.param(b":ping\n\n", [""], id="heartbeat as a comment"),
        pytest.param(b":ping\r\n\r\n", [""], id="heartbeat as a comment, CRLF"),
        pytest.param(b"data: :ping\n\n", [":ping"], id="heartbeat as data"),
        pytest.param(b":ping\n\ndata: a\n\n:ping\n\n", ["", "a", ""], id="heartbeats around an event"),
        pytest.param(BOM + b"data: a\n\n", ["a"], id="BOM"),
        pytest.param(BOM + b"data: a\n\n" + BOM + b"data: b\n\n", ["a", ""], id="a second BOM is none"),
        pytest.param(b"data: a\n" + BOM + b"data: b\n\n", ["a"], id="BOM in a later line is none"),
        pytest.param("data: é😀\n\n".encode(), ["é😀"], id="not ASCII"),
        pytest.param(
            "data: a\u2028b\u0085c\x0bd\x1ce\n\n".encode(), ["a\u2028b\u0085c\x0bd\x1ce"], id="no line ends"
        ),
        pytest.param(b"data: \xf0\x9f\x98\n\n", ["\ufffd"], id="character cut by a line end"),
        pytest.param(b"data: a\xffb\xc3\n\ndata: \xc3\xa9\n\n", ["a\ufffdb\ufffd", "é"], id="not UTF-8"),
        pytest.param(b"data: \xed\xa0\x80\n\n", ["\ufffd\ufffd\ufffd"], id="half a character"),
        pytest.param(b"data: a\x00b\n\n", ["a\x00b"], id="NUL"),
        pytest.param(b"data: " + b"x" * 70_000 + b"\n\n", ["x" * 70_000], id="larger than 64 KiB"),
    ],
)
def test_the_wire(wire: bytes, events: list[str]) -> None:
    check(wire, events)


def test_an_empty_chunk_does_not_part_cr_from_lf() -> None:
    stream = EventStream()
    assert stream.feed(b"data: a\r") == []
    assert stream.feed(b"") == []
    assert stream.feed(b"\n") == []
    assert stream.feed(b"\r\n") == ["a"]


def test_an_event_comes_out_with_its_last_byte() -> None:
    stream = EventStream()
    assert stream.feed(b"data: a\n") == []
    assert stream.feed(b"\n") == ["a"]
    assert stream.feed(b"data: b\r\n") == []
    assert stream.feed(b"\r") == ["b"]
    assert stream.feed(b"\n") == []


@pytest.mark.parametrize("blank", range(5))
def test_blank_lines_too_many_count_alike_wherever_they_are_cut(blank: int) -> None:
    wire = b"data: a\n\n" + b"\n" * blank + b"data: b\n\n"
    for place in range(len(wire)):
        assert replay(wire[:place], wire[place:]) == replay(wire)


# --- what a server can make us hold -----------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 20)
    monkeypatch.setattr(sse, "MAX_EVENT_LINES", 3)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(b"data: " + b"x" * 13 + b"\n\n", id="bytes"),
        pytest.param(b"data: " + b"x" * 13 + b"\n\n" + b"data: " + b"y" * 13 + b"\n\n", id="bytes, twice"),
        pytest.param(b"data\n" * 3 + b"\n", id="lines"),
        pytest.param(b":\n" * 3 + b"\n", id="lines of comments"),
    ],
)
def test_an_event_within_the_limits(wire: bytes) -> None:
    assert one_by_one(wire) == replay(wire)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(b"data: " + b"x" * 15 + b"\n\n", id="bytes"),
        pytest.param(b"data: " + b"x" * 15, id="bytes, unfinished"),
        pytest.param(b"data: a\n\n" + b"data: " + b"x" * 15 + b"\n\n", id="bytes, second event"),
        pytest.param(b"d\n" * 5 + b"\n", id="lines"),
        pytest.param(b"d\n" * 5, id="lines, unfinished"),
        pytest.param(b":\r\n" * 5 + b"\r\n", id="lines of comments"),
    ],
)
def test_an_event_beyond_the_limits_is_refused(wire: bytes) -> None:
    for play in (replay, one_by_one):
        with pytest.raises(WRProtocolError, match="an event of more than 20 bytes or 3 lines"):
            play(wire)


def test_the_limits_fit_a_fan_out_and_no_more() -> None:
    stream = EventStream()
    assert stream.feed(b"data: " + b"x" * (sse.MAX_EVENT_BYTES - 100)) == []
    with pytest.raises(WRProtocolError):
        stream.feed(b"x" * 100)


# --- any bytes --------------------------------------------------------------------------------------------


def by_the_specification(wire: bytes) -> list[str]:
    """The data of each block, from a simple reference parser: all at once, line by line."""
    text = wire.removeprefix(BOM).decode(errors="replace")
    *lines, _ = re.split("\r\n|\r|\n", text)
    events, data, begun = [], list[str](), False
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            data += [value.removeprefix(" ")] * (name == "data")
            begun = True
        else:
            events += ["\n".join(data)] * begun
            data, begun = [], False
    return events


PIECES = st.sampled_from(
    [
        b"data: ",
        b"data",
        b":ping",
        b": ",
        b":",
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b" ",
        BOM,
        b"\xc3",
        b"\xa9",
        b"id: 1",
    ]
)
WIRES = st.lists(PIECES | st.binary(max_size=4), max_size=40).map(b"".join)


@given(WIRES, st.lists(st.integers(0, 160)))
@example(b"data: \xc3\xa9\r\n\r\n", [7, 9, 10, 11])
def test_a_cut_changes_nothing(wire: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(wire)]
    chunks = [wire[start:end] for start, end in pairwise(edges)]
    assert replay(*chunks) == replay(wire)


@given(WIRES)
def test_events_are_those_of_the_specification(wire: bytes) -> None:
    # An empty block, from extra line ends, may count as another heartbeat.
    assert [data for data in replay(wire) if data] == [data for data in by_the_specification(wire) if data]


@given(st.lists(st.binary()))
def test_any_bytes_are_events_or_refused(chunks: list[bytes]) -> None:
    with suppress(WRProtocolError):
        assert all(isinstance(data, str) for data in replay(*chunks))
