"""The tables of the page "Scale" are what was seen, and what was seen is what the page says."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from .blocks import ROOT

PAGE = (ROOT / "docs" / "scale.md").read_text()
RESULTS: dict[str, list[dict[str, Any]]] = json.loads((ROOT / "tests" / "scale" / "results.json").read_text())

#: Ends that were also noted by tries that Airflow had given up; the page explains it.
NOTED_TWICE = {"API server away for 30 s, a worker waits": 2}


@pytest.mark.parametrize("name", RESULTS)
def test_a_table_holds_the_results(name: str) -> None:
    _, found, rest = PAGE.partition(f"<!-- {name} -->\n")
    table = rest.partition(f"<!-- end of {name} -->")[0].strip().splitlines()

    assert found
    assert table[2:] == [f"| {' | '.join(row.values())} |" for row in RESULTS[name]]


@pytest.mark.parametrize("row", RESULTS["disasters"], ids=lambda row: row["what happens"])
def test_as_many_runs_were_started_as_wanted_and_each_wait_ended_once(row: dict[str, str]) -> None:
    ends = dict(reversed(end.split(" ")) for end in row["ends"].split(", "))
    tries = [int(count) for count in re.findall(r": (\d+)", row["tries"])]

    assert row["started"] == row["runs wanted"]
    assert sum(tries) == int(row["waits"])
    assert sum(map(int, ends.values())) in (int(row["waits"]), NOTED_TWICE.get(row["what happens"]))
