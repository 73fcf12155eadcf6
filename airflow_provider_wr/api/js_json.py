"""
JSON exactly as JavaScript's ``JSON.stringify`` prints it.

White Rabbit's server may check a request's signature against the body after parsing and printing it again. So the
body must be what JavaScript would print: no spaces, non-ASCII characters unescaped, ``1.0`` as ``1``, ``1e21`` as
``1e+21``, keys that look like array indices first.

An integer that JavaScript cannot represent is rejected rather than rounded: it may be an amount of money.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from airflow_provider_wr.api.text import printable
from airflow_provider_wr.exceptions import WRValidationError

#: The largest object key that JavaScript treats as an array index, and prints first, in ascending order.
_LAST_INDEX = 2**32 - 2

_INDEX = re.compile("0|[1-9][0-9]{0,9}")
_SURROGATE = re.compile("[\ud800-\udfff]")


def dumps(value: Any) -> str:
    """
    Return ``value`` as ``JSON.stringify`` would print it.

    Raises :class:`WRValidationError`, with the place, for values that JSON or JavaScript cannot represent: NaN and
    Infinity, integers that a double cannot hold, keys that are not strings, other types.
    """
    try:
        return "".join(_parts(value, "$"))
    except RecursionError:
        raise WRValidationError("the JSON is nested too deeply") from None


def _parts(value: Any, place: str) -> Iterator[str]:
    if value is None or isinstance(value, bool):
        yield json.dumps(value)
    elif isinstance(value, str):
        yield _text(value)
    elif isinstance(value, int):
        yield _whole(value, place)
    elif isinstance(value, float):
        yield _number(value, place)
    elif isinstance(value, Mapping):
        separator = "{"
        for key in _in_order(value, place):
            yield f"{separator}{_text(key)}:"
            yield from _parts(value[key], f"{place}.{printable(key)}")
            separator = ","
        yield "}" if value else "{}"
    elif isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray, memoryview)):
        # Including Airflow's lazy sequences, the output of mapped tasks, which are read here.
        separator = "["
        for position, item in enumerate(value):
            yield separator
            yield from _parts(item, f"{place}[{position}]")
            separator = ","
        yield "[]" if separator == "[" else "]"
    else:
        raise WRValidationError(f"{place} is a {type(value).__name__}, which JSON cannot hold")


def _text(text: str) -> str:
    if _SURROGATE.search(text):
        # Join surrogate pairs. A lone surrogate is no character, and JavaScript escapes it.
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        printed = json.dumps(text, ensure_ascii=False)
        return _SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", printed)
    return json.dumps(text, ensure_ascii=False)


def _whole(number: int, place: str) -> str:
    try:
        printed = _number(float(number), place)
    except OverflowError:
        printed = "Infinity"
    if Decimal(printed) != number:
        raise WRValidationError(f"{place} is an integer that JavaScript would round: send it as a string")
    return printed


def _number(number: float, place: str) -> str:
    """Print a double by the rules of ECMAScript's Number::toString."""
    if not math.isfinite(number):
        raise WRValidationError(f"{place} is {number}, which JSON cannot hold")
    if number == 0:
        return "0"
    sign = "-" if number < 0 else ""
    # Python's repr has the same shortest digits; only the decimal point and the exponent differ.
    mantissa, _, exponent = float.__repr__(abs(number)).partition("e")
    before, _, after = mantissa.partition(".")
    digits = (before + after).lstrip("0")
    point = len(before) + int(exponent or 0) - (len(before + after) - len(digits))
    digits = digits.rstrip("0")
    if len(digits) <= point <= 21:
        return sign + digits.ljust(point, "0")
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{fraction}e{point - 1:+d}"


def _in_order(mapping: Mapping[Any, Any], place: str) -> list[str]:
    for key in mapping:
        if not isinstance(key, str):
            raise WRValidationError(f"{place} has the key {key!r}, which is not a string")
    return sorted(mapping, key=_index)


def _index(key: str) -> float:
    """Return ``key`` as an array index; infinity for other keys, which a stable sort leaves in order."""
    if _INDEX.fullmatch(key) and int(key) <= _LAST_INDEX:
        return int(key)
    return math.inf
