"""JSON that servers send although parsers reject it."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_wr.api import redaction
from airflow_provider_wr.api.decoding import MAX_DEPTH, Later, complete, decode
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
def test_unexpected_values_are_read(data: bytes, value: Any) -> None:
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


# --- fields that are decoded later ------------------------------------------------------------------------


def test_a_field_is_decoded_when_asked_for() -> None:
    read = decode(b'{"id": "a", "stages": [{"n": 1}, 2], "id": "b"}', later={"stages"})
    assert read["id"] == "b"
    assert isinstance(read["stages"], Later)
    assert complete(read) == {"id": "b", "stages": [{"n": 1}, 2]}
    assert complete(read)["stages"] == read["stages"].decode()


def test_an_object_with_nothing_left_is_complete() -> None:
    read = decode(b'{"id": "a"}', later={"stages"})
    assert complete(read) is read


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_secrets", ())
    redaction.hide("ws_echoed")


@pytest.mark.usefixtures("secret")
@pytest.mark.parametrize("form", ["ws_echoed", r"ws\u005fechoed", "ws%5Fechoed"])
def test_a_secret_in_a_field_is_masked_when_it_is_decoded(form: str) -> None:
    read = decode(f'{{"id": "a", "stages": ["{form}"]}}'.encode(), later={"stages"})
    assert isinstance(read["stages"], Later)
    assert complete(read) == {"id": "a", "stages": ["***"]}


@pytest.mark.usefixtures("secret")
@pytest.mark.parametrize("body", ['{"id": "ws_echoed", "stages": []}', '{"ws_echoed": "", "stages": []}'])
def test_a_secret_in_another_field_is_masked_at_once(body: str) -> None:
    read = decode(body.encode(), later={"stages"})
    assert "ws_echoed" not in repr(read)
    assert "***" in repr(read)


@pytest.mark.parametrize(
    "stages",
    [
        *(b"null", b"{}", b'{"a": {"n": 1}}', b'"text"', b"[]", b"[[1], null]", b"[20000000000000000000]"),
        *(b'["\\ud83d"]', b'["\xff"]', b"[1e999]", b"[NaN]", b'[{"a": [' + b"[" * 5000 + b"]" * 5000 + b"]}]"),
    ],
)
def test_what_is_decoded_later_is_what_would_have_been_decoded_at_once(stages: bytes) -> None:
    body = b'{"id": "a", "stages": ' + stages + b"}"
    assert repr(complete(decode(body, later={"stages"}))) == repr(decode(body))


@pytest.mark.parametrize("stages", [b"[1,]", b"[nul]", b'["a]', b"[01]", b'["\\x"]', b"[" * 5000])
def test_what_is_no_json_is_refused_at_once(stages: bytes) -> None:
    with pytest.raises(WRProtocolError):
        decode(b'{"id": "a", "stages": ' + stages + b"}", later={"stages"})


@given(
    st.binary()
    | st.recursive(st.none() | st.text() | st.integers(), lambda inner: st.lists(inner)).map(
        lambda value: json.dumps(value).encode()
    )
)
def test_any_bytes_are_decoded_later_or_refused_at_once(data: bytes) -> None:
    with suppress(WRProtocolError):
        complete(decode(b'{"id": "a", "stages": ' + data + b"}", later={"stages"}))
        read = decode(data, later={"stages"})
        if isinstance(read, dict):
            complete(read)
