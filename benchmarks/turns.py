"""What several turns of the same measurement say together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any


def spread(turns: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """Return the median, the least and the most of each column."""
    columns = {key: [turn[key] for turn in turns] for key in turns[0]}
    return {key: [median(seen), min(seen), max(seen)] for key, seen in columns.items()}


def show(value: Any) -> str:
    """Return a cell of a table: a median with its spread, where they differ, or whatever else it is."""
    if not isinstance(value, list):
        return _number(value) if isinstance(value, float) else str(value)
    middle, least, most = map(_number, value)
    return middle if least == most else f"{middle} ({least}–{most})"


def _number(value: float) -> str:
    if value == int(value) or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2g}"
