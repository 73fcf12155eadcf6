"""What the browser gets of a run: times as numbers, texts without tricks, everything bounded."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from airflow_provider_wr.api.models import RunStage
from airflow_provider_wr.api.redaction import redact
from airflow_provider_wr.api.text import printable
from airflow_provider_wr.api.times import to_unix

#: Maximum characters of an output or an error.
MAX_DOCUMENT = 100_000

#: Maximum characters of a module, a status or an id.
MAX_NAME = 100

_pretty = json.JSONEncoder(ensure_ascii=False, indent=2, default=str)

#: Candidates for an escape: control characters, and those that change the direction of text.
_ODD = re.compile(r"[^\n\t -~]")


def name(text: str) -> str:
    """Return a short text, in one line."""
    shown = printable(text)
    return shown if len(shown) <= MAX_NAME else f"{shown[:MAX_NAME]}…"


def document(value: Any) -> dict[str, Any] | None:
    """Return a JSON value as text, and whether it was cut; None for null."""
    if value is None:
        return None
    text, is_cut = _join([value] if isinstance(value, str) else _encoded(value), MAX_DOCUMENT)
    return {"text": _ODD.sub(_escape, redact(text)), "cut": is_cut}


def _encoded(value: Any) -> Iterator[str]:
    try:
        yield from _pretty.iterencode(value)
    except RecursionError:
        yield "… (nested too deeply to show)"


def _join(chunks: Iterable[str], most: int) -> tuple[str, bool]:
    """Join the chunks up to a length, without producing more of them."""
    parts: list[str] = []
    length = 0
    for chunk in chunks:
        parts.append(chunk[: most + 1 - length])
        length += len(parts[-1])
        if length > most:
            return "".join(parts)[:most], True
    return "".join(parts), False


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def milliseconds(value: str | None) -> int | None:
    """Return a time in Unix milliseconds, from ISO 8601 or a number of seconds or milliseconds; otherwise None."""
    seconds = to_unix(value)
    return None if seconds is None else round(seconds * 1000)


def amount(credits: float | None) -> str | None:
    """Return an amount of credits as text; None if unknown."""
    return None if credits is None else f"{credits:.12g}"


def status(text: str) -> str:
    """Return a status, which may be any text, or empty."""
    return name(text) or "UNKNOWN"


def stage(stage: RunStage) -> dict[str, Any]:
    """Return what is shown of a stage, except its times and its output."""
    return {
        "id": name(stage.id),
        "module": name(stage.module) or "no module",
        "status": status(stage.status),
        "attempt": stage.execution_attempt,
        "credits": amount(stage.credit_usage),
        "error": None if stage.error is None else name(stage.error_text),
    }
