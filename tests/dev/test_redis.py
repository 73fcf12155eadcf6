"""A Redis that leaves nothing behind."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from dev.redis import Redis, find_program, redis


@pytest.fixture
def program() -> str:
    program = find_program()
    if program is None:
        pytest.skip("there is no Redis: install Debian's with `apt-get install redis-server`")
    return program


def ask(server: Redis, *commands: str) -> list[str]:
    """Return the first line of each answer."""
    password, port = re.findall(r"redis://:(.*)@127\.0\.0\.1:(\d+)/0", server.url)[0]
    with socket.create_connection(("127.0.0.1", int(port)), timeout=5) as client, client.makefile("rw") as file:
        answers = []
        for command in (f"AUTH {password}", *commands):
            file.write(f"{command}\r\n")
            file.flush()
            answers.append(file.readline().strip())
        return answers[1:]


def folder(server: Redis) -> Path:
    return Path(server._command[1]).parent


def test_a_server_goes_with_its_folder(program: str) -> None:
    with redis(program) as server:
        assert ask(server, "SET key value", "EXISTS key") == ["+OK", ":1"]
        home = folder(server)
        assert home.is_dir()

    assert not home.exists()
    with pytest.raises(ConnectionRefusedError):
        ask(server, "PING")


def test_a_killed_server_has_lost_what_it_held(program: str) -> None:
    with redis(program) as server:
        assert ask(server, "SET key value") == ["+OK"]
        server.kill()
        with pytest.raises(ConnectionRefusedError):
            ask(server, "PING")
        server.start()
        assert ask(server, "EXISTS key") == [":0"]


def test_the_password_is_required(program: str) -> None:
    with redis(program) as server:
        port = int(server.url.rpartition(":")[2].removesuffix("/0"))
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            client.sendall(b"PING\r\n")
            assert client.recv(64).startswith(b"-NOAUTH")
