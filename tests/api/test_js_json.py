"""Our JSON equals JavaScript's, byte for byte."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import OrderedDict
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_wr.api.js_json import dumps
from airflow_provider_wr.exceptions import WRValidationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Recorded with Node 20: JSON.stringify(JSON.parse(given)) is printed.
RECORDED = [
    pytest.param("null", "null", id="null"),
    pytest.param("true", "true", id="true"),
    pytest.param("{ }", "{}", id="empty object"),
    pytest.param("[ ]", "[]", id="empty list"),
    pytest.param('{"a": [1, {"b": null}], "c": "d"}', '{"a":[1,{"b":null}],"c":"d"}', id="no spaces"),
    pytest.param('{"b":1,"a":2}', '{"b":1,"a":2}', id="keys in the order they came"),
    pytest.param('{"b":1,"10":2,"9":3}', '{"9":3,"10":2,"b":1}', id="index keys first, by number"),
    pytest.param('{"01":1,"-1":2,"1.0":3,"0":4}', '{"0":4,"01":1,"-1":2,"1.0":3}', id="keys like indices"),
    pytest.param(
        '{"b":0,"4294967295":1,"4294967294":2}',
        '{"4294967294":2,"b":0,"4294967295":1}',
        id="the last index",
    ),
    pytest.param('{"١":1,"1":2}', '{"1":2,"١":1}', id="digits of another script are no index"),
    pytest.param("1.0", "1", id="whole float"),
    pytest.param("-0.0", "0", id="minus zero"),
    pytest.param("0.1", "0.1", id="tenth"),
    pytest.param("-12.5", "-12.5", id="negative"),
    pytest.param("0.000001", "0.000001", id="smallest without exponent"),
    pytest.param("0.0000001", "1e-7", id="largest with negative exponent"),
    pytest.param("1.5e-7", "1.5e-7", id="negative exponent with fraction"),
    pytest.param("1e16", "10000000000000000", id="exponent in Python alone"),
    pytest.param("1e20", "100000000000000000000", id="largest power without exponent"),
    pytest.param("123456789012345680000.0", "123456789012345680000", id="21 digits"),
    pytest.param("1e21", "1e+21", id="smallest with exponent"),
    pytest.param("1.25e21", "1.25e+21", id="exponent with fraction"),
    pytest.param("1000000000000000000000", "1e+21", id="whole number with exponent"),
    pytest.param("5e-324", "5e-324", id="smallest double"),
    pytest.param("1.7976931348623157e308", "1.7976931348623157e+308", id="largest double"),
    pytest.param("9007199254740992", "9007199254740992", id="2 ** 53"),
    pytest.param('"é😀"', '"é😀"', id="not ASCII"),
    pytest.param(r'"\u00e9\ud83d\ude00"', '"é😀"', id="escapes that are not needed"),
    pytest.param(r'"\ud800"', r'"\ud800"', id="half a character"),
    pytest.param(r'"\udc00\ud800x"', r'"\udc00\ud800x"', id="halves in the wrong order"),
    pytest.param(r'"\ud83d\ude00\ud83d"', r'"😀\ud83d"', id="a character and a half"),
    pytest.param(r'"\"\\\/\b\f\n\r\t\u000b\u0000"', r'"\"\\/\b\f\n\r\t\u000b\u0000"', id="control characters"),
    pytest.param('"\x7f\u2028\u2029"', '"\x7f\u2028\u2029"', id="controls that are not escaped"),
    pytest.param(r'{"\u0001é":1}', r'{"\u0001é":1}', id="key with escapes"),
]


@pytest.mark.parametrize(("given_json", "printed"), RECORDED)
def test_recorded(given_json: str, printed: str) -> None:
    assert dumps(json.loads(given_json)) == printed


class Colour(str, Enum):
    RED = "red"


class Fahrenheit(float):
    """A float with another repr, as in numpy."""

    def __repr__(self) -> str:
        return f"Fahrenheit({float(self)})"

    def __abs__(self) -> Fahrenheit:
        return Fahrenheit(abs(float(self)))


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        pytest.param((1, 2), "[1,2]", id="tuple"),
        pytest.param(OrderedDict(b=1, a=2), '{"b":1,"a":2}', id="other mapping"),
        pytest.param(Colour.RED, '"red"', id="enum of texts"),
        pytest.param({Colour.RED: 1}, '{"red":1}', id="enum as key"),
        pytest.param("\ud83d\ude00", '"😀"', id="a character in two halves"),
        pytest.param(Fahrenheit(1.5), "1.5", id="float with a repr of its own"),
    ],
)
def test_python_values_beyond_those_of_json(value: object, printed: str) -> None:
    assert dumps(value) == printed


def nested(depth: int) -> list[Any]:
    outer: list[Any] = []
    for _ in range(depth):
        outer = [outer]
    return outer


def cyclic() -> dict[str, Any]:
    inner: dict[str, Any] = {}
    inner["self"] = inner
    return inner


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param(float("nan"), "$ is nan, which JSON cannot hold", id="NaN"),
        pytest.param({"a": [0, float("-inf")]}, "$.a[1] is -inf, which JSON cannot hold", id="infinity"),
        pytest.param(
            {"amount": 2**53 + 1},
            "$.amount is an integer that JavaScript would round: send it as a string",
            id="2 ** 53 + 1",
        ),
        pytest.param(
            -(2**63),
            "$ is an integer that JavaScript would round: send it as a string",
            id="a double in 20 digits",
        ),
        pytest.param(
            10**400, "$ is an integer that JavaScript would round: send it as a string", id="beyond doubles"
        ),
        pytest.param({1: 2}, "$ has the key 1, which is not a string", id="key of another type"),
        pytest.param({"a": {None: 2}}, "$.a has the key None, which is not a string", id="key null"),
        pytest.param({"a": {1, 2}}, "$.a is a set, which JSON cannot hold", id="set"),
        pytest.param([b"x"], "$[0] is a bytes, which JSON cannot hold", id="bytes"),
        pytest.param(Decimal("1.5"), "$ is a Decimal, which JSON cannot hold", id="Decimal"),
        pytest.param(nested(100_000), "the JSON is nested too deeply", id="deep"),
        pytest.param(cyclic(), "the JSON is nested too deeply", id="endless"),
    ],
)
def test_refused_with_the_place(value: object, message: str) -> None:
    with pytest.raises(WRValidationError) as refused:
        dumps(value)
    assert refused.value.message == message


def test_a_refusal_cannot_forge_a_log() -> None:
    # Anyone who may start a DAG run can pass such a config.
    with pytest.raises(WRValidationError) as refused:
        dumps({"a\nINFO all is well": 2**53 + 1})
    assert refused.value.message.isprintable()


# --- against the real one ---------------------------------------------------------------------------------

_PRINT_EACH_LINE = """
require("readline").createInterface({input: process.stdin, crlfDelay: Infinity, terminal: false})
    .on("line", line => process.stdout.write(JSON.stringify(JSON.parse(line)) + "\\n"))
"""


@pytest.fixture(scope="session")
def stringify() -> Iterator[Callable[[list[Any]], list[str]]]:
    """Node's output for each value of a batch; one process for all batches."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node on the PATH: the recorded table stands for it")
    with subprocess.Popen(
        [node, "-e", _PRINT_EACH_LINE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None

        def ask(values: list[Any]) -> list[str]:
            stdin.write("".join(f"{json.dumps(value)}\n" for value in values).encode())
            stdin.flush()
            return [stdout.readline().decode().removesuffix("\n") for _ in values]

        yield ask
        stdin.close()


SAFE = st.integers(-(2**53), 2**53)
# Powers of ten and their neighbours, since the format depends on the exponent.
NEAR_POWERS = st.builds(lambda digits, exponent: float(f"{digits}e{exponent}"), SAFE, st.integers(-40, 40))
CHARACTERS = st.characters(categories=None)  # including lone surrogates
KEYS = st.text(CHARACTERS) | st.integers(0, 2**33).map(str) | st.sampled_from(["__proto__", "toJSON", "01", "-0"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | SAFE
    | st.floats(allow_nan=False, allow_infinity=False)
    | NEAR_POWERS
    | st.text(CHARACTERS),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=20,
)


@settings(deadline=None)
@given(st.lists(VALUES, max_size=20))
def test_node_prints_the_same(stringify: Callable[[list[Any]], list[str]], values: list[Any]) -> None:
    # Parse the JSON that Node gets, so that escaped surrogate pairs are one character in both.
    assert [dumps(json.loads(json.dumps(value))) for value in values] == stringify(values)


@settings(deadline=None)
@given(st.lists(st.integers() | st.builds(lambda a, b: a * 10**b, SAFE, st.integers(0, 40)), max_size=20))
def test_whole_numbers_are_refused_just_where_node_rounds_them(
    stringify: Callable[[list[Any]], list[str]], numbers: list[int]
) -> None:
    for number, printed in zip(numbers, stringify(numbers), strict=True):
        if Decimal(printed) == number:
            assert dumps(number) == printed
        else:
            with pytest.raises(WRValidationError, match="would round"):
                dumps(number)
