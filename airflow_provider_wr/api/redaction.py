"""
Secrets that must never be repeated: what the API echoes of them is masked where it is read.

They are kept for the whole process, as Airflow's own masker keeps them. That one masks logs alone; an error, an
event, an XCom and a lineage event pass it by.
"""

from __future__ import annotations

import re

MASK = "***"

#: Characters of the shortest secret that is masked, as in Airflow's masker: a shorter one would be found anywhere.
MIN_LENGTH = 5

_secrets: dict[str, tuple[re.Pattern[str], re.Pattern[bytes]]] = {}


def hide(secret: str) -> None:
    """Mask a secret, ASCII, in all that is read from now on."""
    if len(secret) >= MIN_LENGTH and secret not in _secrets:
        pattern = "".join(map(_forms, secret))
        _secrets[secret] = re.compile(pattern), re.compile(pattern.encode())


def redact(text: str) -> str:
    """Return ``text`` without the secrets, plain or in the escapes of JSON and of URLs."""
    for secret, (pattern, _) in _secrets.items():
        if secret in text or "\\" in text or "%" in text:
            text = pattern.sub(MASK, text)
    return text


def redact_bytes(data: bytes) -> bytes:
    """Do the same to the bytes of an answer."""
    for secret, (_, pattern) in _secrets.items():
        if secret.encode() in data or b"\\" in data or b"%" in data:
            data = pattern.sub(MASK.encode(), data)
    return data


def _forms(character: str) -> str:
    code = "".join(f"[{digit}{digit.upper()}]" for digit in f"{ord(character):02x}")
    return rf"(?:\\?{re.escape(character)}|\\u00{code}|%{code})"
