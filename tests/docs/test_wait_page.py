"""The page on waiting has the same table as the tests."""

from __future__ import annotations

import pytest
from outcomes import ENDED_BY_TRIGGER, OUTCOMES, WORKERS, End, Outcome

from .blocks import ROOT, tokens

PAGE = ROOT / "docs" / "wait.md"

#: Rows that the tests' table does not have: see ``sensors/test_sensor.py``.
ELSEWHERE = ["404 for 30 s"]


def table(head: str) -> dict[str, list[str]]:
    """Return the rows of the table with this first header, by their first cell."""
    rows: list[list[str]] = []
    wanted = False
    for token, after in zip(found := tokens(PAGE), found[1:], strict=False):
        if token.type == "th_open" and after.content == head:
            wanted = True
        elif token.type == "table_close":
            wanted = False
        elif wanted and token.type == "tr_open":
            rows.append([])
        elif wanted and token.type == "td_open":
            rows[-1].append(after.content)
    return {first: rest for first, *rest in rows}


def told(end: End | None) -> tuple[tuple[str, ...], str]:
    """Return how a cell of the page begins, and what it says of a retry."""
    if end is None:
        return ("–",), ""
    if end.state == "failed":
        error = end.says[-1].partition(":")[0]
        return (f"fails with `{error}`",), "no retry" if end.retries_left else "a retry "
    return ("succeeds", "waits on") if end.state == "success" else ("is skipped",), ""


def test_every_outcome_has_a_row() -> None:
    assert list(table("what happens")) == [outcome.row for outcome in OUTCOMES] + ELSEWHERE


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: outcome.name)
def test_each_row_matches_the_tests(outcome: Outcome) -> None:
    for cell, end in zip(table("what happens")[outcome.row], (outcome.sensor, outcome.operator), strict=True):
        begins, retry = told(end)
        assert cell.startswith(begins)
        assert retry in cell


def test_the_modes_use_as_many_workers_as_the_tests_count() -> None:
    workers = [row[0].partition(":")[0].split()[0] for row in table("mode").values()]
    modes = [WORKERS["poke"], "one", WORKERS["deferred"], WORKERS["start_from_trigger"]]
    assert workers == [*map(str, modes), str(ENDED_BY_TRIGGER["start_and_end_from_trigger"])]
