"""Text of the API's made fit for our own texts and logs."""

from __future__ import annotations

#: Characters of an answer that an error's text may repeat.
MAX_QUOTE = 500


def quote(text: str) -> str:
    """Return ``text`` in one line, without control characters, and no longer than an error may repeat."""
    shown = text[:MAX_QUOTE]
    if not shown.isprintable():
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)[:MAX_QUOTE]
    return f"{shown}…" if len(text) > MAX_QUOTE else shown
