"""Clean virtual environments, to test the package as users install it."""

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
    """Return the content of ``pyproject.toml``."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def uv(*arguments: str | Path) -> str:
    """Run uv and return its output; pytest shows its errors."""
    command = [find_uv_bin(), "--system-certs", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=300).stdout


@dataclass(frozen=True)
class CleanEnvironment:
    """A virtual environment with some requirements, at the pinned versions."""

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
        Create an environment in a new folder.

        :param requirements: what to install, as pip takes it.
        :param python: the Python to use.
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
        """``AIRFLOW_HOME`` for its programs."""
        return self.folder / "airflow"

    @property
    def env(self) -> dict[str, str]:
        """The environment variables for its programs: ours, without those for another Airflow or Python."""
        ours = ("AIRFLOW", "PYTHON", "VIRTUAL_ENV", "WR_")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return {**inherited, "AIRFLOW_HOME": str(self.airflow_home), "COLUMNS": "200"}

    def run(self, program: str, *arguments: str, status: int = 0) -> str:
        """Run a program of the environment, outside the checkout, and return its output."""
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
