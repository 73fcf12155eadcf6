"""Times as the API sends them."""

from __future__ import annotations

import math
from datetime import datetime, timezone

import msgspec

#: Unix seconds that count as a time: monitoring keeps nanoseconds in 64 bits.
MAX_UNIX = 2**63 / 1e9

#: A number above this is in milliseconds: in seconds it would be after the year 5000.
MILLISECONDS = 1e11


def to_unix(moment: str | None) -> float | None:
    """Return the Unix seconds of an ISO 8601 time, or of a number of seconds or milliseconds; None for others."""
    if moment is None:
        return None
    try:
        seconds = float(moment)
        if seconds > MILLISECONDS:
            seconds /= 1000
    except ValueError:
        try:
            parsed = msgspec.convert(moment.strip(), datetime)
        except msgspec.ValidationError:
            return None
        seconds = parsed.replace(tzinfo=parsed.tzinfo or timezone.utc).timestamp()
    return seconds if math.isfinite(seconds) and 0 < seconds < MAX_UNIX else None
