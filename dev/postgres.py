"""Run a PostgreSQL server, for an Airflow with more processes than SQLite can handle."""

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
    """Return the folder with the programs of the newest server that Debian has installed; None without one."""
    servers = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    return max((server.parent for server in servers), key=lambda folder: int(folder.parent.name), default=None)


class Postgres:
    """A server on the loopback interface, with an empty database: see :func:`postgres`."""

    def __init__(self, programs: Path, home: Path, processes: Processes) -> None:
        self._programs, self._home, self._processes = programs, home, processes
        self._port, self._password = free_port(), secrets.token_hex(16)
        self._as_user: list[str] = []
        (home / "password").write_text(self._password)
        if os.getuid() == 0:
            shutil.chown(home, USER, USER)
            self._as_user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
        initdb = [f"{programs}/initdb", f"--pgdata={home}/data", "--no-sync", "--encoding=UTF8", "--no-locale"]
        access = ["--username=airflow", "--auth=scram-sha-256", f"--pwfile={home}/password"]
        processes.run("initdb", [*self._as_user, *initdb, *access], os.environ, PATIENCE)
        self.start()

    @property
    def url(self) -> str:
        """The URL of the database for SQLAlchemy, with the password."""
        return f"postgresql+psycopg://airflow:{self._password}@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        """Start the server, and return when it answers."""
        settings = {
            "port": self._port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": 200,
            "fsync": "off",  # the data need not survive a crash of the machine
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        server = [f"{self._programs}/postgres", "-D", f"{self._home}/data", *options]
        self._processes.start("postgres", [*self._as_user, *server], os.environ)
        is_ready = [f"{self._programs}/pg_isready", "--quiet", "--host=127.0.0.1", f"--port={self._port}"]
        deadline = time.monotonic() + PATIENCE
        while subprocess.run(is_ready).returncode != 0:  # noqa: S603 - the server's own program
            self._processes.check()
            if time.monotonic() >= deadline:
                raise TimeoutError(f"waited {PATIENCE:.0f} s for PostgreSQL to be ready")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop the server, despite connected clients. Its data is kept."""
        self._processes.kill("postgres", signal.SIGINT)  # SIGTERM would wait for its clients


@contextmanager
def postgres(programs: Path) -> Iterator[Postgres]:
    """Run a new PostgreSQL on a port of the system's choice.

    On exit the server ends, even with clients connected, and its folder is removed. When its owner is
    killed, the server ends too, and the folder stays.

    :param programs: what ``find_programs`` returns
    :raise RuntimeError: when the server does not start
    """
    home = Path(tempfile.mkdtemp(prefix="wr-postgres-"))
    try:
        with Processes(home / "logs") as processes:
            server = Postgres(programs, home, processes)
            try:
                yield server
            finally:
                if processes.names():
                    server.stop()
    finally:
        shutil.rmtree(home)
