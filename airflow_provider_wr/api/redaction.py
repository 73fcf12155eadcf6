"""
Secrets that must never be repeated: what the API echoes of them is masked where it is read.

They are kept for the whole process, as Airflow's own masker keeps them. That one masks logs alone; an error, an
event, an XCom and a lineage event pass it by.
"""

from __future__ import annotations

import re
from typing import Any

MASK = "***"

#: Characters of the shortest secret that is masked, as in Airflow's masker: a shorter one would be found anywhere.
MIN_LENGTH = 5

_secrets: dict[str, tuple[re.Pattern[str], re.Pattern[bytes]]] = {}


def hide(secret: str) -> None:
    """Mask a secret, ASCII, in all that is read from now on."""
    global _secrets
    if len(secret) >= MIN_LENGTH and secret not in _secrets:
        pattern = "".join(map(_forms, secret))
        new = {**_secrets, secret: (re.compile(pattern), re.compile(pattern.encode()))}
        # Another dict, since other threads may be reading this one; the longest first, since one may begin another.
        _secrets = dict(sorted(new.items(), key=lambda each: -len(each[0])))


def holds_secret(data: str | bytes) -> bool:
    """Return whether a text, or the bytes of an answer, holds a secret, plain or in escapes of JSON or a URL."""
    for secret, (of_text, of_bytes) in _secrets.items():
        if isinstance(data, str):
            if secret in data or (("\\" in data or "%" in data) and of_text.search(data)):
                return True
        elif secret.encode() in data or ((b"\\" in data or b"%" in data) and of_bytes.search(data)):
            return True
    return False


def redact(text: str) -> str:
    """Return a text with the secrets masked, plain or in these escapes."""
    if holds_secret(text):
        for pattern, _ in _secrets.values():
            text = pattern.sub(MASK, text)
    return text


def redact_json(value: Any) -> Any:
    """Return a JSON value with the secrets masked in each of its texts, keys included."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list):
        return [redact_json(each) for each in value]
    if isinstance(value, dict):
        return {redact(key): redact_json(each) for key, each in value.items()}
    return value


def _forms(character: str) -> str:
    code = "".join(f"[{digit}{digit.upper()}]" for digit in f"{ord(character):02x}")
    return rf"(?:\\?{re.escape(character)}|\\u00{code}|%{code})"
