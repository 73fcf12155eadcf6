"""No secrets in the files and the database of all other tests. Its name makes it run last."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from dev.local_airflow import LocalAirflow

from .rabbit import API_KEY, API_SECRET


@pytest.fixture(scope="module")
def texts(airflow: LocalAirflow) -> dict[str, str]:
    """All files in the home of this Airflow, by name; the database as SQL."""
    texts = {str(path): path.read_text(errors="replace") for path in airflow.home.rglob("*") if path.is_file()}
    with closing(sqlite3.connect(airflow.home / "airflow.db", timeout=60)) as database:
        texts["database"] = "\n".join(database.iterdump())
    return texts


@pytest.mark.parametrize("secret", [API_KEY, API_SECRET], ids=["API key", "API secret"])
def test_no_log_and_no_database_holds_a_secret(texts: dict[str, str], secret: str) -> None:
    assert 'INSERT INTO "task_instance"' in texts["database"]
    assert any(name.endswith("attempt=1.log") for name in texts)
    assert [name for name, text in texts.items() if secret in text] == []
