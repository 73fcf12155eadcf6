"""Check the pinned versions for known vulnerabilities: ``make audit``."""

from __future__ import annotations

import json
import subprocess
import sys

PIP_AUDIT = "pip_audit --requirement dev/constraints.txt --no-deps --disable-pip --format json"

#: In the last line of pip-audit's output if the index does not answer.
NO_ANSWER = ("requests.exceptions.", "pip_audit._service.interface.ServiceError", "your network may be blocking")


def verdict(code: int, report: str, log: str) -> tuple[int, str]:
    """
    Evaluate the result of pip-audit, which accepts an index without any vulnerability data.

    :param code: its exit status.
    :param report: its JSON output; empty if it failed.
    :param log: its other output.

    Returns our exit status and a message: 0 without known vulnerabilities, or if the index does not answer.
    """
    if not report:
        last = log.rstrip().rpartition("\n")[2]
        if any(each in last for each in NO_ANSWER):
            return 0, f"Not audited: the index does not answer. {last}"
        return code or 1, log
    packages = json.loads(report)["dependencies"]
    faults = [
        f"{package['name']} {package['version']}: {fault['id']}, fixed in {fault['fix_versions']}"
        for package in packages
        for fault in package.get("vulns", ())
    ]
    if faults:
        return 1, "\n".join(faults)
    told = sum("vulns" in package for package in packages)
    if not told:
        return code, f"Not audited: the index tells nothing about any of the {len(packages)} versions."
    return code, f"No fault is known of {told} versions. The index tells nothing about {len(packages) - told}."


def main() -> int:
    """Run pip-audit, and return the exit status."""
    command = [sys.executable, "-m", *PIP_AUDIT.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - a constant
    code, says = verdict(done.returncode, done.stdout.strip(), done.stderr)
    print(says)
    return code


if __name__ == "__main__":
    sys.exit(main())
