"""The lowest versions that ``pyproject.toml`` allows are those that are tested."""

from __future__ import annotations

from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

PINNED = Path(__file__).parents[2] / "dev" / "constraints-lowest.txt"


def is_tested(requirement: Requirement) -> bool:
    """Tell whether the package needs it, or its extra ``test`` does."""
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("sandbox", "test"))


def test_the_lowest_versions_are_pinned() -> None:
    pinned = dict(line.split("==") for line in PINNED.read_text().splitlines())
    needed = filter(is_tested, map(Requirement, requires("airflow-provider-wr") or ()))
    bounds = {each.name: each.specifier for each in needed if each.name != "airflow-provider-wr"}
    assert {"aiohttp", "starlette", "pytest"} <= bounds.keys()
    assert {name: Version(pinned[name]) for name in bounds} == {
        name: Version(str(bound).removeprefix(">=")) for name, bound in bounds.items()
    }
