"""
Read the fields of an answer leniently, and log once what is not as documented.

Only the id and the status of a run matter for waiting. No other field, such as a number sent as a string or an
object sent for a list, may fail a task.
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
    """Return a string; None if missing. Numbers are converted."""
    value = parent.get(key)
    if value is None or type(value) is str:
        return value
    log_unexpected(key, "a string", value)
    return str(value) if type(value) in (int, float) else None


def number(parent: Mapping[str, Any], key: str) -> float | None:
    """Return a finite number of any size, also from a numeric string; None if missing or invalid."""
    value = parent.get(key)
    if value is None:
        return None
    if type(value) not in (int, float):
        log_unexpected(key, "a number", value)
    return _number(value)


def whole(parent: Mapping[str, Any], key: str) -> int | None:
    """Return an integer of at most 64 bits, also from a numeric string; None if missing or invalid."""
    value = parent.get(key)
    if value is None or (type(value) is int and abs(value) < 2**63):
        return value
    read = _number(value)
    if type(value) is not float or not value.is_integer():  # JavaScript has only floats
        log_unexpected(key, "an integer", value)
    return int(read) if read is not None and abs(read) < 2**63 and read == int(read) else None


def objects(parent: Mapping[str, Any], key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """
    Yield the objects in a list, with empty names, or in an object, with their keys. Other values are skipped.
    """
    value = parent.get(key)
    if value is not None and type(value) is not list:
        log_unexpected(key, "a list", value)
    named = (
        value.items() if type(value) is dict else (("", each) for each in (value if type(value) is list else ()))
    )
    for name, each in named:
        if type(each) is dict:
            yield name, each
        else:
            log_unexpected(f"{key}[]", "an object", each)


def _number(value: Any) -> float | None:
    if type(value) is str:
        if not _NUMBER.fullmatch(value):
            return None
        value = float(value)
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return value
    return None


def log_unexpected(key: str, expected: str, value: Any) -> None:
    """Log, once per process, that a field is not as documented."""
    _log_once(f"{key!r} should be {expected}, not {kind(value)}")


@lru_cache(maxsize=256)
def _log_once(what: str) -> None:
    log.info("The API's answers are not as documented: %s (logged once)", what)


_NAMES: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


def kind(value: Any) -> str:
    """Return the kind of a JSON value, in words."""
    return _NAMES.get(type(value), type(value).__name__)
