"""JSON as a server may send it: read whatever can be read."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from airflow_provider_wr.api.text import MAX_TEXT, printable
from airflow_provider_wr.exceptions import WRProtocolError

_decode = msgspec.json.Decoder().decode


def decode(data: bytes) -> Any:
    """
    Return the value that JSON stands for; raises :class:`WRProtocolError` for what is no JSON at all.

    Of a key that stands twice the last counts, as in JavaScript. Whole numbers of any size are kept exactly.
    """
    try:
        return _decode(data)
    except RecursionError:
        raise WRProtocolError("the answer's JSON is nested too deeply") from None
    except (ValueError, msgspec.DecodeError):  # the last is a ValueError from msgspec 0.21 on
        return _decode_leniently(data)


def _decode_leniently(data: bytes) -> Any:
    """Read what msgspec refuses and others send: a byte order mark, halves of a character, huge numbers, NaN."""
    try:
        return json.loads(data.decode("utf-8-sig", errors="replace"), parse_int=_whole)
    except RecursionError:
        raise WRProtocolError("the answer's JSON is nested too deeply") from None
    except ValueError:
        raise WRProtocolError(f"the answer is not JSON: {beginning(data) or 'it is empty'}") from None


def _whole(digits: str) -> int | str:
    try:
        return int(digits)
    except ValueError:  # more digits than Python reads
        return digits


def beginning(data: bytes) -> str:
    """Return the beginning of an answer in one printable line."""
    return printable(" ".join(data[: 4 * MAX_TEXT].decode(errors="replace").split()))
