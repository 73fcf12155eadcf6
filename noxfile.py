"""
The tests on other versions of Airflow and Python: ``make test-matrix``.

All versions are pinned in ``dev/``, so that no new release breaks a test.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import nox

LEGS = [  # Airflow, Python, which of the allowed versions, where they are pinned
    ("2.11", "3.10", "lowest-direct", "constraints-lowest.txt"),
    ("3.0", "3.11", "highest", "constraints-3.0.txt"),
    ("3.1", "3.13", "highest", "constraints-3.1.txt"),
    ("3.2", "3.12", "highest", "constraints-3.2.txt"),
    ("3.3", "3.13", "highest", "constraints.txt"),
]

RESULTS = Path(".nox")

nox.options.default_venv_backend = "uv"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False  # nor where CI is set: the table names them
nox.options.report = str(RESULTS / "report.json")

# pyenv runs only activated versions.
PYENV = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
if PYENV.is_dir():
    os.environ["PYENV_VERSION"] = ":".join(sorted(each.name for each in PYENV.iterdir()))


@nox.session
@nox.parametrize(
    ("airflow", "python", "resolution", "constraints"),
    [nox.param(*leg, id=leg[0], tags=[leg[0]]) for leg in LEGS],
)
def airflow(session: nox.Session, airflow: str, resolution: str, constraints: str) -> None:
    """Run all tests except those with a running Airflow, which need the newest version."""
    counts = RESULTS / f"{airflow}.xml"
    counts.unlink(missing_ok=True)
    session.install(
        "--system-certs",
        f"--resolution={resolution}",
        f"--constraint=dev/{constraints}",
        f"apache-airflow=={airflow}.*",
        "--editable=.[sandbox]",
        "--group=test",
    )
    session.run("python", "-m", "pytest", f"--junit-xml={counts}", *session.posargs)


def print_table(sessions: list[dict[str, Any]]) -> None:
    """Print how each leg ended."""
    rows = [("Airflow", "Python", "versions", "result", "tests")]
    for session in sessions:
        airflow, python, resolution, _ = next(leg for leg in LEGS if leg[0] == session["args"]["airflow"])
        counts = RESULTS / f"{airflow}.xml"
        match session["result"]:
            case "success":
                rows.append((airflow, python, resolution, "passed", counted(counts)))
            case "skipped":  # by nox alone, and for this reason alone
                rows.append((airflow, python, resolution, "no interpreter", ""))
            case _:
                rows.append((airflow, python, resolution, "failed", counted(counts)))
    print()
    for row in rows:
        print("{:9}{:8}{:15}{:16}{}".format(*row))


def counted(junit: Path) -> str:
    """Return the numbers of passed, failed and skipped tests; empty if none was run."""
    if not junit.exists():
        return ""
    (suite,) = ElementTree.parse(junit).getroot()  # noqa: S314 - pytest wrote it just now
    counts = {name: int(suite.attrib[name]) for name in ("failures", "errors", "skipped")}
    counts = {"passed": int(suite.attrib["tests"]) - sum(counts.values()), **counts}
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


if __name__ == "__main__":
    report = Path(nox.options.report)
    report.unlink(missing_ok=True)
    try:
        nox.main()
    finally:
        if report.exists():
            print_table(json.loads(report.read_text())["sessions"])
