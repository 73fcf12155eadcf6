"""Sanitize text from the API for logs and error messages."""

from __future__ import annotations

#: Characters of an answer that an error's text may repeat.
MAX_TEXT = 500


def printable(text: str) -> str:
    """Return ``text`` in one line, without control characters, and at most ``MAX_TEXT`` characters long."""
    shown = text[:MAX_TEXT]
    if not shown.isprintable():
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)[:MAX_TEXT]
    return f"{shown}…" if len(text) > MAX_TEXT else shown
