"""A PostgreSQL that leaves nothing behind."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from dev.postgres import postgres

OWNER = """
import sys, time
from pathlib import Path
from dev.postgres import postgres

with postgres(Path(sys.argv[1])) as server:
    print(server.url, flush=True)
    time.sleep(60)
"""


def connect(url: str) -> psycopg.Connection:
    return psycopg.connect(url.replace("+psycopg", ""), connect_timeout=5)


def folder(connection: psycopg.Connection) -> Path:
    (data,) = connection.execute("SHOW data_directory").fetchone() or ("",)
    return Path(data).parent


def test_a_server_is_removed_with_its_folder_despite_connected_clients(postgres_programs: Path) -> None:
    with postgres(postgres_programs) as server:
        connection = connect(server.url)
        home = folder(connection)
        assert home.is_dir()
        started = time.monotonic()

    assert time.monotonic() - started < 4  # it ended at the signal, and was not killed
    assert not home.exists()
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="refused"):
        connect(server.url)


def test_an_error_ends_the_server_too(postgres_programs: Path) -> None:
    homes = []

    def fail() -> None:
        with postgres(postgres_programs) as server, connect(server.url) as connection:
            homes.append(folder(connection))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert [home.exists() for home in homes] == [False]


def test_the_password_is_required(postgres_programs: Path) -> None:
    with postgres(postgres_programs) as server, pytest.raises(psycopg.OperationalError, match="password"):
        connect(re.sub(":[^:]+@", ":guess@", server.url))


def test_a_killed_owner_leaves_no_server(postgres_programs: Path) -> None:
    command = [sys.executable, "-c", OWNER, str(postgres_programs)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        url = owner.stdout.readline().strip()
        with connect(url) as connection:
            home = folder(connection)
        owner.kill()

    deadline = time.monotonic() + 10
    while (home / "data" / "postmaster.pid").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    shutil.rmtree(home)
