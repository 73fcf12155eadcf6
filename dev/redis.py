"""Run a Redis server, for an Airflow with Celery."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dev.local_airflow import free_port
from dev.processes import Processes

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 30.0
"""Seconds after which a server that is not up is taken to never be."""


def find_program() -> str | None:
    """Return the path of Debian's server; None if it is not installed."""
    return shutil.which("redis-server")


class Redis:
    """A server on the loopback interface, of which nothing is on disk: see :func:`redis`."""

    def __init__(self, program: str, home: Path, processes: Processes) -> None:
        self._port, self._password = free_port(), secrets.token_hex(16)
        self._processes = processes
        self._command = [program, f"{home}/redis.conf"]
        settings = {
            "bind": "127.0.0.1",
            "port": self._port,
            "requirepass": self._password,
            "save": '""',
            "dir": home,
            "set-proc-title": "no",  # it would overwrite the mark that the process is known by
        }
        (home / "redis.conf").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        self.start()

    @property
    def url(self) -> str:
        """The URL of database 0, with the password."""
        return f"redis://:{self._password}@127.0.0.1:{self._port}/0"

    def start(self) -> None:
        """Start the server, empty, and return when it answers."""
        self._processes.start("redis", self._command, os.environ)
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            self._processes.check()
            if time.monotonic() >= deadline:
                raise TimeoutError(f"waited {PATIENCE:.0f} s for Redis to be ready")
            time.sleep(0.05)

    def kill(self) -> None:
        """Kill the server; its data is lost."""
        self._processes.kill("redis")

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1) as client:
            client.sendall(f"AUTH {self._password}\r\nPING\r\n".encode())
            return client.recv(64).startswith(b"+OK")
        return False


@contextmanager
def redis(program: str) -> Iterator[Redis]:
    """
    Run a new Redis on a port of the system's choice.

    On exit the server ends and its folder goes. When its owner is killed, the server ends too, and the folder
    stays.

    :param program: what ``find_program`` returns
    :raise RuntimeError: when the server does not start
    """
    home = Path(tempfile.mkdtemp(prefix="wr-redis-"))
    try:
        with Processes(home / "logs") as processes:
            yield Redis(program, home, processes)
    finally:
        shutil.rmtree(home)
