"""
Sanitize values from the API so that Airflow can store them.

Without this, an event with such a value kills the triggerer (seen on Airflow 3.3.2 with PostgreSQL):

- JSONB cannot hold U+0000, and UTF-8 no lone surrogates: each becomes U+FFFD, also in keys.
- msgpack, between a task and its supervisor, holds integers from -2^63 to 2^64-1: others become strings.
- JSON has no NaN and no Infinity: they become strings.
- Airflow decodes at most 200 nested levels: values deeper than ``MAX_DEPTH`` become strings of their JSON.
- A key such as ``__classname__`` makes Airflow build an object: it is renamed.
"""

from __future__ import annotations

import json
import math
import re
from operator import is_
from typing import Any

from airflow_provider_wr.api.text import printable

#: Maximum nesting depth. Half of Airflow's limit, since the value may be nested in others.
MAX_DEPTH = 100

#: Maximum number of changes to describe; the rest is counted.
MAX_CHANGES = 20

#: Maximum length of the place of a change.
MAX_PLACE = 120

#: Keys with a meaning in Airflow's serialization (``FORBIDDEN_XCOM_KEYS`` in 3.3).
RESERVED_KEYS = frozenset(
    {"__cache__", "__classname__", "__data__", "__id__", "__source", "__type", "__var", "__version__"}
)

_UNFIT = re.compile("[\0\ud800-\udfff]")

#: The place of a value: its parent's place, and its key or index there. None for the root.
_Place = tuple[Any, "str | int"] | None


def sanitize(value: Any) -> tuple[Any, list[str]]:
    """
    Return a value that Airflow can store, and a line for each change: where and what.

    :param value: any JSON. Returned as it is, not copied, if nothing has to change.
    """
    changes = _Changes()
    return _fit(value, None, 0, changes), changes.lines()


def fit_text(text: str) -> str:
    """Return a string that Airflow can store: U+0000 and lone surrogates are replaced by U+FFFD."""
    return text if _is_fit(text) else _UNFIT.sub("\ufffd", text)


class _Changes:
    """A bounded list of changes: a run may hold millions of such values."""

    __slots__ = ("_count", "_named")

    def __init__(self) -> None:
        self._count = 0
        self._named: list[str] = []

    def add(self, place: _Place, what: str) -> None:
        self._count += 1
        if len(self._named) < MAX_CHANGES:
            self._named.append(f"{_in_words(place)}: {what}")

    def lines(self) -> list[str]:
        more = self._count - len(self._named)
        return [*self._named, f"and {more} more"] if more else self._named


def _in_words(place: _Place) -> str:
    steps: list[str] = []
    while place is not None:
        place, step = place
        steps.append(f"[{step}]" if isinstance(step, int) else f".{printable(step)}")
    words = printable("".join(reversed(steps)).removeprefix("."))
    return (words if len(words) <= MAX_PLACE else f"{words[:MAX_PLACE]}…") or "the value"


def _fit(value: Any, place: _Place, depth: int, changes: _Changes) -> Any:
    kind = type(value)
    if kind is str:
        if _is_fit(value):
            return value
        changes.add(place, "characters that a database cannot store are replaced with U+FFFD")
        return fit_text(value)
    if value is None or kind is bool:
        return value
    if kind is int:
        if -(2**63) <= value < 2**64:
            return value
        changes.add(place, "an integer beyond 64 bits is kept as a string")
        return str(value)
    if kind is float:
        if math.isfinite(value):
            return value
        changes.add(place, "a number that is not finite is kept as a string")
        return json.dumps(value)
    if kind is not dict and kind is not list:
        changes.add(place, "a value that is not JSON is kept as a string")
        return fit_text(str(value))
    if depth >= MAX_DEPTH:
        changes.add(place, f"a value nested deeper than {MAX_DEPTH} levels is kept as a string of its JSON")
        return _as_text(value)
    if kind is dict:
        return _fit_object(value, place, depth + 1, changes)
    new = [_fit(each, (place, number), depth + 1, changes) for number, each in enumerate(value)]
    return value if all(map(is_, new, value)) else new


def _fit_object(value: dict[Any, Any], place: _Place, depth: int, changes: _Changes) -> dict[str, Any]:
    new: dict[str, Any] = {}
    for key, each in value.items():
        if type(key) is not str or key in RESERVED_KEYS or not _is_fit(key):
            shown, key = printable(repr(key)), _free_key(key, value, new)
            changes.add((place, key), f"the key was {shown}, which Airflow cannot store")
        new[key] = _fit(each, (place, key), depth, changes)
    is_same = all(map(is_, new, value)) and all(map(is_, new.values(), value.values()))
    return value if is_same else new


def _free_key(key: Any, values: dict[Any, Any], fit: dict[str, Any]) -> str:
    new = fit_text(str(key))
    while new in RESERVED_KEYS or new in values or new in fit:
        new = f"_{new}"
    return new


def _is_fit(text: str) -> bool:
    if text.isascii():
        return "\0" not in text
    if "\0" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _as_text(value: Any) -> str:
    try:
        return json.dumps(value, default=str)
    except (RecursionError, TypeError, ValueError):
        return "…"
