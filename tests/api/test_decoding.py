"""JSON that servers send although parsers reject it."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_wr.api.decoding import MAX_DEPTH, decode
from airflow_provider_wr.exceptions import WRProtocolError


@pytest.mark.parametrize(
    ("data", "value"),
    [
        pytest.param(b'{"a": 1, "a": 2}', {"a": 2}, id="key twice"),
        pytest.param(b"\xef\xbb\xbf[1]", [1], id="byte order mark"),
        pytest.param(b'["\\ud83d"]', ["\ud83d"], id="half a character"),
        pytest.param(b'["\xff"]', ["\ufffd"], id="not UTF-8"),
        pytest.param(b'["\\u0000"]', ["\0"], id="U+0000"),
        pytest.param(b"[20000000000000000000]", [2 * 10**19], id="20 ether in wei"),
        pytest.param(b"[" + b"9" * 5000 + b"]", ["9" * 5000], id="more digits than Python reads"),
    ],
)
def test_what_is_odd_is_read(data: bytes, value: Any) -> None:
    assert decode(data) == value


@pytest.mark.parametrize("levels", [10_000, 200_000])
@pytest.mark.parametrize("inner", [b'"]"', rb'"\"["', b'"\\ud83d"', b'{"a":[]}', b""])
def test_what_is_nested_too_deeply_is_a_text(levels: int, inner: bytes) -> None:
    deep = b"[" * levels + inner + b"]" * levels
    read = decode(b'{"id": 1, "deep": [' + deep + b", 2, " + deep + b'], "status": "COMPLETED"}')
    assert (read["id"], read["status"], read["deep"][1]) == (1, "COMPLETED", 2)
    first, _, second = read["deep"]
    assert first == second
    for _ in range(MAX_DEPTH - 2):
        (first,) = first
    assert first == deep[MAX_DEPTH - 2 : -(MAX_DEPTH - 2)].decode()


@pytest.mark.parametrize(
    "data",
    [b"[" * 100_000, b"]" * 10, b'{"a":' * 100_000, b'"' + b"[" * 10_000],
)
def test_what_has_no_end_is_refused(data: bytes) -> None:
    with pytest.raises(WRProtocolError):
        decode(data)


@given(st.binary() | st.text(st.sampled_from('[]{}",:\\a1')).map(str.encode), st.integers(0, 3000))
def test_any_bytes_are_read_or_refused(data: bytes, levels: int) -> None:
    with suppress(WRProtocolError):
        decode(data)
    with suppress(WRProtocolError):
        decode(b"[" * levels + data + b"]" * levels)


@given(st.recursive(st.none() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_any_json_is_read_as_it_is(value: Any) -> None:
    assert decode(json.dumps(value).encode()) == value
