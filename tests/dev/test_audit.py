"""The audit's verdict for all results of pip-audit that we have seen."""

from __future__ import annotations

import json

import pytest

from dev.audit import verdict

FAULT = {"id": "PYSEC-2024-230", "fix_versions": ["2024.7.5"], "aliases": ["CVE-2024-39689"], "description": "s"}
FAULTY = {"name": "certifi", "version": "2024.7.4", "vulns": [FAULT]}
SOUND = {"name": "idna", "version": "3.20", "vulns": []}
UNKNOWN = {"name": "zipp", "skip_reason": "Dependency not found on PyPI and could not be audited: zipp (4.1.2)"}


@pytest.mark.parametrize(
    ("code", "packages", "expected", "says"),
    [
        (1, [SOUND, FAULTY, UNKNOWN], 1, "certifi 2024.7.4: PYSEC-2024-230, fixed in ['2024.7.5']"),
        (0, [SOUND, SOUND, UNKNOWN], 0, "No fault is known of 2 versions. The index tells nothing about 1."),
        (0, [UNKNOWN, UNKNOWN], 0, "Not audited: the index tells nothing about any of the 2 versions."),
        (2, [SOUND], 2, "No fault is known of 1 versions. The index tells nothing about 0."),
    ],
    ids=["fault", "none", "all unknown", "ended otherwise"],
)
def test_a_report(code: int, packages: list[object], expected: int, says: str) -> None:
    assert verdict(code, json.dumps({"dependencies": packages, "fixes": []}), "WARNING:…") == (expected, says)


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        ("requests.exceptions.ConnectionError: HTTPSConnectionPool(host='localhost', port=9): …", 0),
        ("pip_audit._service.interface.ServiceError", 0),
        (
            "ERROR:pip_audit._cli:Tip: your network may be blocking this service. Try another",
            0,
        ),
        ("ERROR:pip_audit._cli:requirement file r.txt contains invalid specifier at line 1: …", 1),
        ("ModuleNotFoundError: No module named 'pip_audit'", 1),
    ],
)
def test_no_report(last: str, expected: int) -> None:
    code, says = verdict(1, "", f"WARNING:…\n{last}\n")
    assert code == expected
    assert last in says
