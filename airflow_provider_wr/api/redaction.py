"""
Secrets that must never be repeated: what the API echoes of them is masked where it is read.

They are kept for the whole process, as Airflow's own masker keeps them. That one masks logs alone; an error, an
event, an XCom and a lineage event pass it by.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

MASK = "***"

#: Characters of the shortest secret that is masked: a shorter one would be found anywhere.
MIN_LENGTH = 4

#: Characters of the longest escape of a character: two halves of a surrogate pair, or four bytes of UTF-8.
MAX_ESCAPE = 12

_secrets: tuple[_Secret, ...] = ()


class _Secret:
    """A secret, and how to find it in a text or in bytes."""

    def __init__(self, secret: str) -> None:
        self.plain = secret
        self._plain = secret.encode()
        self.pattern = re.compile("".join(map(_forms, secret)))
        self._pattern = re.compile(self.pattern.pattern.encode())
        self._escapes = [re.compile(escape) for escape in _escapes(secret)]
        self._escapes_in_bytes = [re.compile(escape.encode()) for escape in _escapes(secret)]
        self._reach = MAX_ESCAPE * len(secret)

    def is_in(self, data: str | bytes) -> bool:
        if isinstance(data, str):
            return self.plain in data or self._is_escaped_in(data, self.pattern, self._escapes)
        return self._plain in data or self._is_escaped_in(data, self._pattern, self._escapes_in_bytes)

    def _is_escaped_in(self, data: Any, pattern: re.Pattern[Any], escapes: list[re.Pattern[Any]]) -> bool:
        # The pattern is slow, and no other thread runs meanwhile: search around what may be a part of the secret.
        for escape in escapes:
            # A percent sign or a backslash; ten times as fast as the pattern.
            if escape.pattern[:1] not in data:
                continue
            start = end = 0
            for found in escape.finditer(data):
                if found.start() - self._reach > end:
                    if pattern.search(data, start, end):
                        return True
                    start = found.start() - self._reach
                end = found.start() + self._reach
            if pattern.search(data, start, end):
                return True
        return False


def _escapes(secret: str) -> Iterator[str]:
    """Yield patterns of the escapes that may stand for a character of a secret, in JSON and in a URL."""
    yield f"%(?:{'|'.join({_hex(byte) for byte in _in_groups(secret.encode(), 1)})})"
    yield rf"\\u(?:{'|'.join({_hex(unit) for unit in _in_groups(secret.encode('utf-16-be'), 2)})})"
    if in_quotes := "".join({each for each in secret if each in '"\\/'}):
        yield rf"\\[{re.escape(in_quotes)}]"


def _forms(character: str) -> str:
    """Return a pattern of a character as it is, and in escapes of JSON and of a URL."""
    in_json = "".join(rf"\\u{_hex(unit)}" for unit in _in_groups(character.encode("utf-16-be"), 2))
    in_url = "".join(f"%{_hex(byte)}" for byte in _in_groups(character.encode(), 1))
    return rf"(?:\\?{re.escape(character)}|{in_json}|{in_url})"


def _in_groups(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def _hex(data: bytes) -> str:
    return "".join(f"[{digit}{digit.upper()}]" for digit in data.hex())


def hide(secret: str) -> None:
    """Mask a secret in all that is read from now on."""
    global _secrets
    if len(secret) >= MIN_LENGTH and all(secret != known.plain for known in _secrets):
        # Another tuple, since other threads may be reading this one. The longest first: one may begin another.
        _secrets = tuple(sorted((*_secrets, _Secret(secret)), key=lambda each: -len(each.plain)))


def holds_secret(data: str | bytes) -> bool:
    """Return whether a text, or the bytes of an answer, holds a secret, plain or in escapes of JSON or a URL."""
    return any(secret.is_in(data) for secret in _secrets)


def redact(text: str) -> str:
    """Return a text with the secrets masked, plain or in these escapes."""
    for secret in _secrets:
        if secret.is_in(text):
            text = secret.pattern.sub(MASK, text)
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
