"""
Read the fields of an answer leniently, and log once what is not as documented.

Only the id and the status of a run or an execution matter for waiting. No other field, such as a number sent as a
string or an object sent for a list, may fail a task.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, TypeVar

from airflow_provider_wr.exceptions import WRProtocolError

S = TypeVar("S")

log = logging.getLogger(__name__)

_NUMBER = re.compile(r"\s*[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?\s*", re.ASCII)


def the_object(value: Any, what: str) -> dict[str, Any]:
    """Return ``value`` if it is an object; raises :class:`WRProtocolError` if not."""
    if not isinstance(value, dict):
        raise WRProtocolError(f"{what} should be a JSON object, not {kind(value)}")
    return value


def the_id(parent: Mapping[str, Any], key: str = "id") -> str:
    """Return an id, also from an integer; raises :class:`WRProtocolError` if missing."""
    value = parent.get(key)
    if not is_id(value):
        raise _missing(key, value)
    return str(value)


def is_id(value: Any) -> bool:
    """Return whether a value can be an id: a string that is not blank, or an integer."""
    return (isinstance(value, str) and bool(value.strip())) or type(value) is int


def the_status(parent: Mapping[str, Any], known: Mapping[str, S]) -> S | str:
    """Return the status, of those ``known`` or as it came; raises :class:`WRProtocolError` if it is no string."""
    value = parent.get("status")
    if type(value) is not str:
        raise _missing("status", value)
    return known.get(value.strip().upper(), value)


def _missing(key: str, value: Any) -> WRProtocolError:
    if value is None:
        return WRProtocolError(f"the field {key!r} is missing")
    found = "an empty string" if value == "" else kind(value)
    return WRProtocolError(f"the field {key!r} should be a string, not {found}")


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


def flag(parent: Mapping[str, Any], key: str) -> bool | None:
    """Return a boolean; None if missing or invalid."""
    value = parent.get(key)
    if value is None or type(value) is bool:
        return value
    log_unexpected(key, "true or false", value)
    return None


def strings(parent: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Return the strings in a list. Other values are skipped."""
    value = parent.get(key)
    if value is not None and type(value) is not list:
        log_unexpected(key, "a list", value)
    return tuple(each for each in value if type(each) is str) if type(value) is list else ()


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
