"""Times in whatever form the API sends them."""

from __future__ import annotations

import pytest

from airflow_provider_wr.api.times import to_unix


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [
        ("2026-05-01T00:00:01.500Z", 1777593601.5),
        ("2026-05-01T02:00:01.5+02:00", 1777593601.5),
        ("2026-05-01T00:00:01.500000123Z", 1777593601.5),
        ("2026-05-01 00:00:01", 1777593601.0),
        ("1777593601.5", 1777593601.5),
        ("1777593601500", 1777593601.5),
        (None, None),
        ("", None),
        ("yesterday", None),
        ("0", None),
        ("-5", None),
        ("nan", None),
        ("inf", None),
        ("1e300", None),
        ("9999-12-31T23:59:59Z", None),
        ("0001-01-01T00:00:00Z", None),
    ],
)
def test_a_time(moment: str | None, seconds: float | None) -> None:
    assert to_unix(moment) == seconds
