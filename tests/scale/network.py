"""Ways to cut off a White Rabbit: it refuses everybody, or all packets are lost."""

from __future__ import annotations

import itertools
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from dev.processes import Processes

NETWORK = "198.18.{0}.{1}"
"""Addresses for tests of networks (RFC 2544), which nobody has. Those of ours lead into a namespace of our own."""

_ISLANDS = itertools.count()


class Gate:
    """
    A TCP proxy, in a thread, before a server on this machine.

    While it is open it passes everything on. ``refuse`` resets each connection and lets nobody in, like a server
    that is down. While it is cut off, nothing passes, and nobody is told.
    """

    def __init__(self, url: str) -> None:
        self._target = ("127.0.0.1", int(url.rpartition(":")[2]))
        self._listener: socket.socket | None = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._port = self._listener.getsockname()[1]
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._turn = threading.Lock()
        self._ended, self._cut_off = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def refuse(self) -> None:
        """Reset all connections, and refuse new ones."""
        with self._turn:
            if self._listener:
                self._listener.close()
                self._listener = None
            for end in list(self._pairs):
                # A reset, not an orderly end.
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                end.close()
            self._pairs.clear()

    def open(self) -> None:
        """Let everybody in again."""
        with self._turn:
            self._listener = socket.create_server(("127.0.0.1", self._port), backlog=512)

    def cut_off(self) -> None:
        """Pass nothing on from now on."""
        self._cut_off.set()

    def connect(self) -> None:
        """Pass on what was held back, and what comes."""
        self._cut_off.clear()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self.refuse()

    def __enter__(self) -> Gate:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self) -> None:
        while not self._ended.is_set():
            if not self._cut_off.is_set():
                with self._turn:
                    self._turn_once()
            time.sleep(0.002)  # for others to take their turn

    def _turn_once(self) -> None:
        poll = select.poll()
        ends = {end.fileno(): end for end in (*self._pairs, *filter(None, [self._listener]))}
        for number in ends:
            poll.register(number, select.POLLIN)
        for number, _ in poll.poll(20):
            end = ends[number]
            if end is self._listener:
                self._accept()
            elif end in self._pairs:
                self._pass_on(end)

    def _accept(self) -> None:
        assert self._listener is not None
        near, _ = self._listener.accept()
        far = socket.create_connection(self._target)
        for end, other in ((near, far), (far, near)):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._pairs[end] = other

    def _pass_on(self, end: socket.socket) -> None:
        data = b""
        with suppress(OSError):
            data = end.recv(65536)
            if data:
                self._pairs[end].sendall(data)
                return
        for each in (end, self._pairs[end]):
            self._pairs.pop(each, None)
            each.close()


class Island:
    """
    A sandbox in a network namespace of its own.

    The only way there is a pair of virtual network devices. Without a carrier all packets are lost, those of open
    connections too, and nobody is told.
    """

    def __init__(self, host: str, pid: int, device: str) -> None:
        self._host, self._pid, self._device = host, pid, device

    @property
    def url(self) -> str:
        return f"http://{self._host}:8787"

    def cut_off(self) -> None:
        """Lose all packets from now on."""
        self._set("down")

    def connect(self) -> None:
        """Lose none any more, and return when the sandbox can be reached."""
        self._set("up")
        _wait_until("the sandbox to be reached", lambda: _answers(self._host))

    def _set(self, state: str) -> None:
        _run("nsenter", f"--net=/proc/{self._pid}/ns/net", "ip", "link", "set", self._device, state)


def why_no_namespaces() -> str | None:
    """Return why there can be no network namespaces here; None where there can."""
    try:
        _run("unshare", "--net", "ip", "link", "add", "wr-try", "type", "veth", "peer", "name", "wr-try-2")
        # One end of the pair is to be here.
        _run("ip", "link", "add", "wr-try", "type", "veth", "peer", "name", "wr-try-2")
        _run("ip", "link", "delete", "wr-try")
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", b"") or b""
        return f"this machine allows no network namespaces: {said.decode().strip() or error}"
    return None


@contextmanager
def island(home: Path, *options: str) -> Iterator[Island]:
    """
    Run a sandbox that can be cut off.

    :param home: for its log
    :param options: of the sandbox's command
    """
    count = next(_ISLANDS)
    number = (os.getpid() + count) % 250
    here, there, device = NETWORK.format(number, 1), NETWORK.format(number, 2), f"wr{os.getpid()}i{count}"
    # The namespace lasts as long as the process, and the devices as long as the namespace.
    script = f'until ip address show dev {device}b 2>/dev/null | grep -q inet; do sleep 0.1; done; exec "$@"'
    sandbox = [sys.executable, "-m", "airflow_provider_wr.sandbox", "--host", there, "--port", "8787", *options]
    with ExitStack() as stack:
        processes = stack.enter_context(Processes(home))
        processes.start("island", ["unshare", "--net", "sh", "-c", script, "sh", *sandbox], os.environ)
        pid = processes.main("island").pid
        inside = ("nsenter", f"--net=/proc/{pid}/ns/net", "ip")
        ours = os.readlink("/proc/self/ns/net")
        _wait_until("a network namespace", lambda: os.readlink(f"/proc/{pid}/ns/net") != ours)
        # Where the devices are gone, nothing may leave the machine.
        nowhere = ("blackhole", f"{NETWORK.format(number, 0)}/30", "metric", "1000")
        _run("ip", "route", "replace", *nowhere)
        stack.callback(_run, "ip", "route", "del", *nowhere)
        _run("ip", "link", "add", device, "type", "veth", "peer", "name", f"{device}b", "netns", str(pid))
        _run("ip", "address", "add", f"{here}/30", "dev", device)
        _run("ip", "link", "set", device, "up")
        _run(*inside, "link", "set", "lo", "up")
        _run(*inside, "link", "set", f"{device}b", "up")
        _run(*inside, "address", "add", f"{there}/30", "dev", f"{device}b")
        _wait_until("the sandbox in its namespace", lambda: _answers(there))
        yield Island(there, pid, f"{device}b")


def _wait_until(what: str, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited 30 s for {what}")
        time.sleep(0.05)


def _answers(host: str) -> bool:
    with suppress(OSError), socket.create_connection((host, 8787), timeout=1):
        return True
    return False


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
