"""Sanitize text from the API for logs and error messages."""

from __future__ import annotations

import re

from airflow_provider_wr.api.redaction import MASK, redact

#: Maximum length of text from an answer in an error message.
MAX_TEXT = 500

#: The user and the password in a URL, such as a proxy's.
_USER_INFO = re.compile(r"(?<=://)[^\s/@]+(?=@)")


def printable(text: str) -> str:
    """Return ``text`` in one line, without control characters and secrets, of at most ``MAX_TEXT`` characters."""
    # Before truncating: a part of a secret is secret, too.
    text = redact(text)
    if "://" in text:
        text = _USER_INFO.sub(MASK, text)
    shown = text[:MAX_TEXT]
    if not shown.isprintable():
        shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)[:MAX_TEXT]
    return f"{shown}…" if len(text) > MAX_TEXT else shown


def is_utf8(text: str) -> bool:
    """Return whether a text can be encoded: it holds no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
