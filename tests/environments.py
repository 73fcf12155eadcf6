"""Clean environments, to see the package in as a user has it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uv import find_uv_bin

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest needs it there

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "dev" / "constraints.txt"


def pyproject() -> dict[str, Any]:
    """Return what ``pyproject.toml`` says."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def uv(*arguments: str | Path) -> str:
    """Run uv and return what it prints; pytest shows what it says when it fails."""
    command = [find_uv_bin(), "--system-certs", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=300).stdout


@dataclass(frozen=True)
class CleanEnvironment:
    """A Python with what was asked for and what that needs, at the pinned versions."""

    folder: Path

    @classmethod
    def make(
        cls,
        folder: Path,
        *requirements: str,
        python: str = sys.executable,
        constraints: Path = CONSTRAINTS,
    ) -> CleanEnvironment:
        """
        Make an environment in a folder that has none yet.

        :param requirements: what to install, as pip takes it.
        :param python: the Python to make it of.
        :param constraints: the file with the versions.
        """
        environment = cls(folder)
        uv("venv", "--quiet", "--python", python, folder / "venv")
        into = environment.program("python")
        uv("pip", "install", "--quiet", "--python", into, "--constraint", constraints, *requirements)
        return environment

    def program(self, name: str) -> Path:
        """Return the path of a program of the environment."""
        return self.folder / "venv" / "bin" / name

    @property
    def airflow_home(self) -> Path:
        """``AIRFLOW_HOME`` of what runs in it."""
        return self.folder / "airflow"

    @property
    def env(self) -> dict[str, str]:
        """The environment variables of what runs in it: ours, without what concerns another Airflow or Python."""
        ours = ("AIRFLOW", "PYTHON", "VIRTUAL_ENV", "WR_")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return {**inherited, "AIRFLOW_HOME": str(self.airflow_home), "COLUMNS": "200"}

    def run(self, program: str, *arguments: str, status: int = 0) -> str:
        """Run a program of the environment, outside the checkout, and return what it prints."""
        done = subprocess.run(
            [self.program(program), *arguments],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout
