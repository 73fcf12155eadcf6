"""JSON as a server may send it: read whatever can be read, but our own secrets."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from airflow_provider_wr.api.redaction import holds_secret, redact, redact_json
from airflow_provider_wr.api.text import MAX_TEXT, printable
from airflow_provider_wr.exceptions import WRProtocolError

_decode = msgspec.json.Decoder().decode

#: Levels of lists and objects that are read of an answer that has more than a parser takes.
MAX_DEPTH = 200

#: What opens or closes a level; a text may hold any of these, and is passed over.
_LEVELS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{]|[\]}]', re.DOTALL)


def decode(data: bytes) -> Any:
    """
    Return the value that JSON stands for; raises :class:`WRProtocolError` for what is no JSON at all.

    Of a key that stands twice the last counts, as in JavaScript. Whole numbers of any size are kept exactly.
    What is nested too deeply for a parser comes as the text of its JSON. Our secrets are masked.
    """
    if holds_secret(data):
        # Not in the bytes, where a secret could be a part of a number or of an escape; and not too deep to walk.
        return redact_json(_parse(_flatten(data)))
    return _parse(data)


def _parse(data: bytes) -> Any:
    try:
        return _decode(data)
    except RecursionError:
        return _decode_flattened(data)
    except (ValueError, msgspec.DecodeError):  # the last is a ValueError from msgspec 0.21 on
        return _decode_leniently(data)


def _decode_leniently(data: bytes) -> Any:
    """Read what msgspec refuses and others send: a byte order mark, halves of a character, huge numbers, NaN."""
    try:
        return json.loads(data.decode("utf-8-sig", errors="replace"), parse_int=_whole)
    except RecursionError:
        return _decode_flattened(data)
    except ValueError:
        raise WRProtocolError(f"the answer is not JSON: {beginning(data) or 'it is empty'}") from None


def _decode_flattened(data: bytes) -> Any:
    flat = _flatten(data)
    if flat == data:  # what was opened is never closed
        raise WRProtocolError("the answer's JSON is nested too deeply")
    return _decode_leniently(flat)


def _whole(digits: str) -> int | str:
    try:
        return int(digits)
    except ValueError:  # more digits than Python reads
        return digits


def _flatten(data: bytes) -> bytes:
    """Return JSON in which what lies below ``MAX_DEPTH`` levels is a text."""
    parts: list[bytes] = []
    depth = done = 0
    for match in _LEVELS.finditer(data):
        if match[0] in b"[{":
            depth += 1
            if depth == MAX_DEPTH + 1:
                parts.append(data[done : match.start()])
                done = match.start()
        elif match[0] in b"]}":
            depth -= 1
            if depth == MAX_DEPTH:
                parts.append(json.dumps(data[done : match.end()].decode(errors="replace")).encode())
                done = match.end()
    return b"".join([*parts, data[done:]])


def beginning(data: bytes) -> str:
    """Return the beginning of an answer in one printable line."""
    return printable(" ".join(redact(data.decode(errors="replace"))[: 4 * MAX_TEXT].split()))
