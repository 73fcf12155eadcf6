"""The result of `make build`, and an environment with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from environments import ROOT, CleanEnvironment, uv


@dataclass(frozen=True)
class Built:
    """The built files."""

    wheel: Path
    sdist: Path


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The wheel and the sdist, both made from the checkout."""
    folder = tmp_path_factory.mktemp("dist")
    uv("build", "--quiet", "--wheel", "--sdist", "--out-dir", folder, ROOT)
    return Built(*folder.glob("*.whl"), *folder.glob("*.tar.gz"))


@pytest.fixture(scope="session")
def alone(built: Built, tmp_path_factory: pytest.TempPathFactory) -> CleanEnvironment:
    """An environment with only the wheel."""
    return CleanEnvironment.make(tmp_path_factory.mktemp("alone"), str(built.wheel))
