"""What `make build` makes, and clean environments to install it into."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from uv import find_uv_bin

ROOT = Path(__file__).resolve().parents[2]
CONSTRAINTS = ROOT / "dev" / "constraints.txt"


def uv(*arguments: str | Path) -> None:
    """Run uv; pytest shows what it says when it fails."""
    subprocess.run([find_uv_bin(), "--system-certs", *arguments], check=True, timeout=300)


@dataclass(frozen=True)
class Built:
    """What was built."""

    wheel: Path
    sdist: Path


@dataclass(frozen=True)
class CleanEnvironment:
    """A Python with what was asked for and what that needs, at the pinned versions."""

    folder: Path

    @classmethod
    def make(cls, folder: Path, *requirements: str) -> CleanEnvironment:
        """Make an environment in a folder that is not there yet."""
        environment = cls(folder)
        uv("venv", "--quiet", "--python", sys.executable, folder / "venv")
        python = environment.program("python")
        uv("pip", "install", "--quiet", "--python", python, "--constraint", CONSTRAINTS, *requirements)
        return environment

    def program(self, name: str) -> Path:
        """Return the path of a program of the environment."""
        return self.folder / "venv" / "bin" / name

    def run(self, program: str, *arguments: str, status: int = 0) -> str:
        """Run a program of the environment, outside the checkout, and return what it prints."""
        ours = ("AIRFLOW", "PYTHON", "VIRTUAL_ENV", "WR_")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        done = subprocess.run(
            [self.program(program), *arguments],
            cwd=self.folder,
            env={**inherited, "AIRFLOW_HOME": str(self.folder / "airflow"), "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The wheel and the sdist, both made from the checkout."""
    folder = tmp_path_factory.mktemp("dist")
    uv("build", "--quiet", "--wheel", "--sdist", "--out-dir", folder, ROOT)
    return Built(*folder.glob("*.whl"), *folder.glob("*.tar.gz"))


@pytest.fixture(scope="session")
def alone(built: Built, tmp_path_factory: pytest.TempPathFactory) -> CleanEnvironment:
    """An environment with the wheel alone."""
    return CleanEnvironment.make(tmp_path_factory.mktemp("alone"), str(built.wheel))
