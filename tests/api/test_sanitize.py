"""Values from the API become values that Airflow can store, and each change is reported."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from storage import stored

from airflow_provider_wr.api.sanitize import MAX_DEPTH, RESERVED_KEYS, sanitize
from airflow_provider_wr.models import Run

RUN_ID = "9e4c7b1a-1111-4222-8333-944455556666"

TEXT = "characters that a database cannot store are replaced with U+FFFD"
WHOLE = "an integer beyond 64 bits is kept as a string"
NUMBER = "a number that is not finite is kept as a string"
DEEP = f"a value nested deeper than {MAX_DEPTH} levels is kept as a string of its JSON"
NO_JSON = "a value that is not JSON is kept as a string"


def nested(levels: int, innermost: Any = 1) -> Any:
    for level in range(levels):
        innermost = [innermost] if level % 2 else {"a": innermost}
    return innermost


def renamed(key: str) -> str:
    return f"the key was {key}, which Airflow cannot store"


@pytest.mark.parametrize(
    ("value", "kept", "change"),
    [
        pytest.param({"symbol": "USDC\0"}, {"symbol": "USDC\ufffd"}, f"symbol: {TEXT}", id="U+0000"),
        pytest.param({"memo": "cut \ud83d"}, {"memo": "cut \ufffd"}, f"memo: {TEXT}", id="half a pair"),
        pytest.param({"memo": "\udc00é\0"}, {"memo": "\ufffdé\ufffd"}, f"memo: {TEXT}", id="both"),
        pytest.param({"wei": 2 * 10**19}, {"wei": "20000000000000000000"}, f"wei: {WHOLE}", id="20 ether in wei"),
        pytest.param({"wei": 2**64}, {"wei": str(2**64)}, f"wei: {WHOLE}", id="2^64"),
        pytest.param({"wei": -(2**63) - 1}, {"wei": str(-(2**63) - 1)}, f"wei: {WHOLE}", id="below -2^63"),
        pytest.param([math.nan], ["NaN"], f"[0]: {NUMBER}", id="NaN"),
        pytest.param([0, -math.inf], [0, "-Infinity"], f"[1]: {NUMBER}", id="-Infinity"),
        pytest.param({"\ud83d": 1}, {"\ufffd": 1}, "\ufffd: " + renamed(r"'\ud83d'"), id="key, half a pair"),
        pytest.param({"\0": 1}, {"\ufffd": 1}, "\ufffd: " + renamed(r"'\x00'"), id="key, U+0000"),
        pytest.param({7: 1}, {"7": 1}, "7: " + renamed("7"), id="key, a number"),
        pytest.param(
            {"__classname__": "x"},
            {"___classname__": "x"},
            "___classname__: " + renamed("'__classname__'"),
            id="class",
        ),
        pytest.param(
            {"a": {"__type": "dict", "b": 1}},
            {"a": {"___type": "dict", "b": 1}},
            "a.___type: " + renamed("'__type'"),
            id="class, as old Airflows have it",
        ),
        pytest.param(
            {"__id__": 1, "___id__": 2},
            {"____id__": 1, "___id__": 2},
            "____id__: " + renamed("'__id__'"),
            id="class, and the other name is taken",
        ),
        pytest.param(
            {"runStages": [{}, {"output": {"rows": [[1, 2**64]]}}]},
            {"runStages": [{}, {"output": {"rows": [[1, str(2**64)]]}}]},
            f"runStages[1].output.rows[0][1]: {WHOLE}",
            id="far inside",
        ),
        pytest.param("\0", "\ufffd", f"the value: {TEXT}", id="a text alone"),
        pytest.param((1, 2), "(1, 2)", f"the value: {NO_JSON}", id="no JSON"),
        pytest.param({"x": b"a"}, {"x": "b'a'"}, f"x: {NO_JSON}", id="bytes"),
    ],
)
def test_what_airflow_cannot_keep_is_changed_and_named(value: Any, kept: Any, change: str) -> None:
    before = repr(value)
    assert sanitize(value) == (kept, [change])
    assert repr(value) == before
    assert stored(kept) == kept


@pytest.mark.parametrize("key", sorted(RESERVED_KEYS))
def test_no_key_makes_airflow_build_an_object(key: str) -> None:
    others = dict.fromkeys(RESERVED_KEYS - {key}, "airflow.models.dag.DAG")
    kept, changes = sanitize({key: "builtins.tuple", **others})
    assert stored(kept) == kept
    assert len(changes) == len(RESERVED_KEYS)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        "",
        "👍 é \ufffd \x01 \\u0000",
        2**64 - 1,
        -(2**63),
        -0.0,
        1.7e308,
        {},
        [],
        {"": "", "classname": 1, "__typename": 2},
        nested(MAX_DEPTH),
    ],
)
def test_what_airflow_can_keep_is_the_same_object(value: Any) -> None:
    kept, changes = sanitize(value)
    assert kept is value
    assert changes == []
    assert stored(value) == value


@pytest.mark.parametrize("levels", [1, 2, 50, 300])
def test_what_is_nested_too_deeply_is_kept_as_text(levels: int) -> None:
    kept, (change,) = sanitize(nested(MAX_DEPTH + levels, "\0"))
    assert change.endswith(DEEP)
    assert stored(kept) == kept
    while not isinstance(kept, str):
        (kept,) = kept.values() if isinstance(kept, dict) else kept
    assert json.loads(kept) == nested(levels, "\0")


def test_only_the_first_changes_are_named() -> None:
    kept, changes = sanitize(["\0"] * 5000)
    assert kept == ["\ufffd"] * 5000
    assert len(changes) == 21
    assert changes[-1] == "and 4980 more"


def test_a_place_forges_no_log_and_has_an_end() -> None:
    _, (change,) = sanitize({"a\nINFO all is well" + "x" * 500: "\0"})
    assert change.isprintable()
    assert len(change) < 200


ANY_TEXT = st.text() | st.text(st.sampled_from("a\0\ud83d\ude00é")) | st.sampled_from(sorted(RESERVED_KEYS))
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(2**62, 2**65) | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(ANY_JSON)
def test_any_json_can_be_kept(value: Any) -> None:
    kept, changes = sanitize(value)
    assert stored(kept) == kept
    assert (kept is value) == (not changes)
    assert sanitize(kept) == (kept, [])
    assert all(change.isprintable() for change in changes)


@given(st.recursive(st.none(), lambda inner: st.lists(inner, max_size=1), max_leaves=1), st.integers(0, 400))
def test_any_depth_can_be_kept(value: Any, levels: int) -> None:
    kept, _ = sanitize(nested(levels, value))
    assert stored(kept) == kept


# --- the run as an XCom -----------------------------------------------------------------------------------


def test_the_log_shows_the_changes_of_a_stages_output(caplog: pytest.LogCaptureFixture) -> None:
    stages = [{"id": str(place), "module": "M", "status": "COMPLETED"} for place in range(4)]
    stages[3]["output"] = {"balance": 2 * 10**19}  # type: ignore[assignment]
    run = Run.from_json({"id": RUN_ID, "status": "COMPLETED", "runStages": stages})
    xcom = run.as_xcom()
    assert xcom["runStages"][3]["output"] == {"balance": "20000000000000000000"}
    assert caplog.messages == [f"Run {RUN_ID}, in its XCom: runStages[3].output.balance: {WHOLE}"]
    assert run.raw["runStages"][3]["output"] == {"balance": 2 * 10**19}
    caplog.clear()
    run.as_xcom(stage_outputs=False)
    assert caplog.messages == []
