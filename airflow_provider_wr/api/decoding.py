"""Decode JSON leniently, and mask our own secrets in it."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from contextlib import suppress
from typing import Any

import msgspec

from airflow_provider_wr.api.redaction import holds_secret, redact, redact_json
from airflow_provider_wr.api.text import MAX_TEXT, printable
from airflow_provider_wr.exceptions import WRProtocolError

_decode = msgspec.json.Decoder().decode
_split_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_split_list = msgspec.json.Decoder(list[msgspec.Raw]).decode

#: Maximum nesting depth that is decoded if an answer is too deep for the parser.
MAX_DEPTH = 200

#: Opening and closing brackets; strings, which may contain any, are matched first to skip them.
_LEVELS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{]|[\]}]', re.DOTALL)


class Later:
    """
    The JSON of a field that was checked, and is decoded when asked for.

    A run of thousands of stages takes some ten milliseconds for each MiB, while no other thread runs. So the items
    of a list are decoded one by one.
    """

    __slots__ = ("_data",)

    def __init__(self, data: msgspec.Raw) -> None:
        self._data = data

    def decode(self) -> Any:
        """Return the value, with our secrets masked."""
        if holds_secret(data := bytes(self._data)):
            return decode(data)
        try:
            items = _split_list(data)
        except (ValueError, msgspec.DecodeError):
            return _parse(data)
        return [_parse(item) for item in items]


def decode(data: bytes, *, later: Collection[str] = ()) -> Any:
    """
    Decode JSON; raises :class:`WRProtocolError` if it is not JSON at all.

    For duplicate keys the last wins, as in JavaScript. Integers of any size are exact. Values nested too deeply
    for the parser are returned as JSON text. Our secrets are masked.

    :param later: fields whose value is a :class:`Later`, unless the answer needs special care.
    """
    if later:
        with suppress(RecursionError, ValueError, msgspec.DecodeError):
            fields = _split_object(data).items()
            now = [part for name, value in fields if name not in later for part in (name.encode(), value)]
            if not holds_secret(b" ".join(now)):
                return {name: Later(value) if name in later else _parse(value) for name, value in fields}
    if holds_secret(data):
        # Mask after parsing: in the bytes, a secret could overlap a number or an escape. Flatten to limit
        # recursion.
        return redact_json(_parse(_flatten(data)))
    return _parse(data)


def complete(value: dict[str, Any]) -> dict[str, Any]:
    """Return an object with no field left to be decoded later; itself if there is none."""
    if not any(type(each) is Later for each in value.values()):
        return value
    return {name: each.decode() if type(each) is Later else each for name, each in value.items()}


def _parse(data: bytes | msgspec.Raw) -> Any:
    try:
        return _decode(data)
    except RecursionError:
        return _decode_flattened(bytes(data))
    except (ValueError, msgspec.DecodeError):  # msgspec.DecodeError is a ValueError since 0.21
        return _decode_leniently(bytes(data))


def _decode_leniently(data: bytes) -> Any:
    """Decode what msgspec rejects: a byte order mark, lone surrogates, huge numbers, NaN."""
    try:
        return json.loads(data.decode("utf-8-sig", errors="replace"), parse_int=_whole)
    except RecursionError:
        return _decode_flattened(data)
    except ValueError:
        raise WRProtocolError(f"the answer is not JSON: {beginning(data) or 'it is empty'}") from None


def _decode_flattened(data: bytes) -> Any:
    flat = _flatten(data)
    if flat == data:  # brackets that are never closed
        raise WRProtocolError("the answer's JSON is nested too deeply")
    return _decode_leniently(flat)


def _whole(digits: str) -> int | str:
    try:
        return int(digits)
    except ValueError:  # too many digits for int()
        return digits


def _flatten(data: bytes) -> bytes:
    """Replace values below ``MAX_DEPTH`` levels by strings of their JSON."""
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
    """Return the beginning of an answer as one printable line."""
    return printable(" ".join(redact(data.decode(errors="replace"))[: 4 * MAX_TEXT].split()))
