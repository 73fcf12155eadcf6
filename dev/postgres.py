"""A PostgreSQL of its own, for an Airflow with more processes than SQLite bears."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dev.local_airflow import free_port
from dev.processes import Processes

if TYPE_CHECKING:
    from collections.abc import Iterator

USER = "postgres"
"""Who runs the server where we are root, whom it refuses to run for. Debian's package makes this user."""

PATIENCE = 60.0
"""Seconds after which a server that is not up is taken to never be."""


def find_programs() -> Path | None:
    """Return the folder with the programs of Debian's newest server here; None where none is installed."""
    servers = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    return max((server.parent for server in servers), key=lambda folder: int(folder.parent.name), default=None)


@contextmanager
def postgres(programs: Path) -> Iterator[str]:
    """Run a new PostgreSQL on the loopback interface, and yield the URL of an empty database for SQLAlchemy.

    On exit the server ends, whoever is connected, and its folder goes. When its owner is killed, the server
    ends too, and the folder stays.

    :param programs: what ``find_programs`` returns
    :raise RuntimeError: when the server does not start
    """
    home = Path(tempfile.mkdtemp(prefix="wr-postgres-"))
    try:
        with Processes(home / "logs") as processes:
            url = _start(processes, programs, home)
            try:
                yield url
            finally:
                processes.kill("postgres", signal.SIGINT)  # at a SIGTERM it would wait for its clients
    finally:
        shutil.rmtree(home)


def _start(processes: Processes, programs: Path, home: Path) -> str:
    port, password = free_port(), secrets.token_hex(16)
    (home / "password").write_text(password)
    as_user = []
    if os.getuid() == 0:
        shutil.chown(home, USER, USER)
        as_user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
    initdb = [f"{programs}/initdb", f"--pgdata={home}/data", "--no-sync", "--encoding=UTF8", "--no-locale"]
    access = ["--username=airflow", "--auth=scram-sha-256", f"--pwfile={home}/password"]
    processes.run("initdb", [*as_user, *initdb, *access], os.environ, PATIENCE)

    settings = {
        "port": port,
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "fsync": "off",  # what it holds need not survive a crash of the machine
    }
    options = [f"--{name}={value}" for name, value in settings.items()]
    processes.start("postgres", [*as_user, f"{programs}/postgres", "-D", f"{home}/data", *options], os.environ)
    is_ready = [f"{programs}/pg_isready", "--quiet", "--host=127.0.0.1", f"--port={port}"]
    deadline = time.monotonic() + PATIENCE
    while subprocess.run(is_ready).returncode != 0:  # noqa: S603 - the server's own program
        processes.check()
        if time.monotonic() >= deadline:
            raise TimeoutError(f"waited {PATIENCE:.0f} s for PostgreSQL to be ready")
        time.sleep(0.05)
    return f"postgresql+psycopg://airflow:{password}@127.0.0.1:{port}/postgres"
