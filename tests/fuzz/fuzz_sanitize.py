"""
Any JSON can be stored after sanitizing; valid values are unchanged, and each change is reported.

Run: python tests/fuzz/fuzz_sanitize.py -max_total_time=15 tests/fuzz/corpus_sanitize
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

sys.path.append(str(Path(__file__).parents[1]))

with atheris.instrument_imports(include=["airflow_provider_wr", "json"]):
    from airflow_provider_wr.api.decoding import decode
    from airflow_provider_wr.api.sanitize import sanitize
    from airflow_provider_wr.exceptions import WRProtocolError

from storage import stored


def test_one_input(wire: bytes) -> None:
    # The first byte is the nesting depth: a fuzzer hardly finds a hundred brackets by itself.
    levels, wire = (wire[0] if wire else 0) * 8, wire[1:]
    try:
        value = decode(b"[" * levels + wire + b"]" * levels)
    except WRProtocolError:
        return
    kept, changes = sanitize(value)
    if stored(kept) != kept:
        raise AssertionError(f"{wire!r} is kept as {stored(kept)!r}")
    if (kept is value) == bool(changes):
        raise AssertionError(f"{wire!r} is changed without a word, or not: {changes}")
    if not all(change.isprintable() for change in changes):
        raise AssertionError(f"not fit for a log: {changes}")


if __name__ == "__main__":
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
