"""The lowest versions that ``pyproject.toml`` allows are tested."""

from __future__ import annotations

from environments import ROOT, pyproject
from packaging.requirements import Requirement
from packaging.version import Version

PINNED = ROOT / "dev" / "constraints-lowest.txt"


def test_the_lowest_versions_are_pinned() -> None:
    pinned = dict(line.split("==") for line in PINNED.read_text().splitlines())
    project = pyproject()
    tested = (
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["sandbox"],
        *project["dependency-groups"]["test"],
    )
    bounds = {each.name: each.specifier for each in map(Requirement, tested)}
    assert {"aiohttp", "starlette", "pytest"} <= bounds.keys()
    assert {name: Version(pinned[name]) for name in bounds} == {
        name: Version(str(bound).removeprefix(">=")) for name, bound in bounds.items()
    }
