"""Shared fixtures: an Airflow home for the tests, and databases."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

# Before anything imports Airflow, which reads these once.
_home = tempfile.mkdtemp(prefix="airflow-provider-wr-")
atexit.register(shutil.rmtree, _home, ignore_errors=True)
os.environ.update(
    AIRFLOW_HOME=_home,
    AIRFLOW__CORE__DAGS_FOLDER=os.path.join(_home, "dags"),
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__CORE__UNIT_TEST_MODE="False",
)


@pytest.fixture(scope="session")
def airflow_db() -> None:
    """An Airflow database, for the tests that run DAGs."""
    from airflow.utils.db import initdb

    initdb()
    with suppress(ImportError):  # Airflow 2.11 has no such thing
        from airflow.sdk.execution_time import supervisor

        # Below Airflow 3.3 dag.test() builds Airflow's API anew for each task, which takes seconds.
        supervisor.in_process_api_server = functools.cache(supervisor.in_process_api_server)

    from dags.running import run_tasks

    # Load what Airflow imports at its first task, so that no test has to pay for it.
    assert run_tasks("@task\ndef first(): ...\n\nfirst()").state == "success"


@pytest.fixture(scope="session")
def postgres_programs() -> Path:
    """The folder with the programs of a PostgreSQL server, for ``dev.postgres``."""
    from dev.postgres import find_programs

    programs = find_programs()
    if programs is None:
        pytest.skip("there is no PostgreSQL: install Debian's with `apt-get install postgresql`")
    return programs
