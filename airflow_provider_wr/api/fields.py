"""
Fields as an API may send them: read as far as can be, and said to be odd once.

Only the id and the status of a run decide anything. Whatever else is not as the API's pages show it – a number
as a text, a date as a number, an object for a list – costs no run its end.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

log = logging.getLogger(__name__)

_NUMBER = re.compile(r"\s*[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?\s*", re.ASCII)


def text(parent: Mapping[str, Any], key: str) -> str | None:
    """Return a text; None where there is none. A number is its digits."""
    value = parent.get(key)
    if value is None or type(value) is str:
        return value
    say_odd(key, "a text", value)
    return str(value) if type(value) in (int, float) else None


def number(parent: Mapping[str, Any], key: str) -> float | None:
    """Return a finite number, of any size, also from a text that is one; None where there is none."""
    value = parent.get(key)
    if value is None:
        return None
    if type(value) not in (int, float):
        say_odd(key, "a number", value)
    return _number(value)


def whole(parent: Mapping[str, Any], key: str) -> int | None:
    """Return a whole number of at most 64 bits, also from a text that is one; None where there is none."""
    value = parent.get(key)
    if value is None or (type(value) is int and abs(value) < 2**63):
        return value
    read = _number(value)
    if type(value) is not float or not value.is_integer():  # JavaScript has but one kind of number
        say_odd(key, "a whole number", value)
    return int(read) if read is not None and abs(read) < 2**63 and read == int(read) else None


def objects(parent: Mapping[str, Any], key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """
    Yield the objects of a list, with no name, or of an object, with their keys. What is neither is passed over.
    """
    value = parent.get(key)
    if value is not None and type(value) is not list:
        say_odd(key, "a list", value)
    named = (
        value.items() if type(value) is dict else (("", each) for each in (value if type(value) is list else ()))
    )
    for name, each in named:
        if type(each) is dict:
            yield name, each
        else:
            say_odd(f"{key}[]", "an object", each)


def _number(value: Any) -> float | None:
    if type(value) is str:
        if not _NUMBER.fullmatch(value):
            return None
        value = float(value)
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return value
    return None


def say_odd(key: str, expected: str, value: Any) -> None:
    """Log once in a process that a field is not as documented."""
    _say_once(f"{key!r} should be {expected}, and is {kind(value)}")


@lru_cache(maxsize=256)
def _say_once(what: str) -> None:
    log.info("The API's answers are not as documented: %s (logged once)", what)


_NAMES: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


def kind(value: Any) -> str:
    """Return what a JSON value is, in words."""
    return _NAMES.get(type(value), type(value).__name__)
