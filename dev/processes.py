"""Run processes that cannot outlive their owner.

A descendant may leave its ancestor's process group (a task of Airflow does) or session (a command of
the BashOperator does), and has no traceable ancestor left once its parent died. What every descendant
keeps is the environment it was born with: so each process gets a mark there, and a process with the
mark belongs to us. ``SPT_NOENV`` stops ``setproctitle``, which Airflow uses, from overwriting it.

The owner itself may be killed without a chance to tidy up. A guard process holds one end of a pipe,
which the system closes when the owner dies, however it dies; the guard then ends whatever is left.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from typing import IO, TYPE_CHECKING

import psutil  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

MARK = "DEV_PROCESSES_MARK"
GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL."""


def marked(mark: str) -> list[psutil.Process]:
    """Return the living processes whose mark starts with ``mark``."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK, "").startswith(mark):
                found.append(process)
        except (psutil.Error, OSError):  # ended, a zombie, or of another user
            continue
    return found


def signal_marked(mark: str, sig: signal.Signals) -> None:
    """Send ``sig`` to every process with this mark."""
    for process in marked(mark):
        with suppress(psutil.NoSuchProcess):
            process.send_signal(sig)


def end_marked(mark: str, first: signal.Signals = signal.SIGTERM) -> None:
    """Send ``first`` to every process with this mark, and SIGKILL to the rest after ``GRACE`` seconds."""
    deadline = time.monotonic() + GRACE
    signal_marked(mark, first)
    while marked(mark):
        if time.monotonic() >= deadline:
            signal_marked(mark, signal.SIGKILL)
        time.sleep(0.05)


class Processes:
    """A context manager for named processes, each of which ends with all of its descendants.

    :param logs: folder for their output, one ``<name>.log`` each; created if missing
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._mark = uuid.uuid4().hex
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._guard: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Processes:
        self._logs.mkdir(parents=True, exist_ok=True)
        self._guard = subprocess.Popen(  # noqa: S603 - our own file
            [sys.executable, __file__, self._mark], stdin=subprocess.PIPE, start_new_session=True
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        end_marked(self._mark)
        for process in self._running.values():
            process.wait()
        self._running.clear()
        if self._guard is not None:
            self._guard.communicate()

    def start(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> None:
        """Start ``command`` in a new session, so that Ctrl-C in the terminal reaches only us."""
        if name in self._running:
            raise ValueError(f"{name} is running already")
        with self.log(name).open("ab") as output:
            self._running[name] = subprocess.Popen(  # noqa: S603 - a developer's own command
                command,
                env={**env, MARK: self._mark_of(name), "SPT_NOENV": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        # The system shows a process without its environment for a moment, and what has no mark cannot be ended.
        while not marked(self._mark_of(name)) and self._running[name].poll() is None:
            time.sleep(0.001)

    def run(self, name: str, command: Sequence[str], env: Mapping[str, str], timeout: float) -> None:
        """Start ``command`` and wait for its end, for at most ``timeout`` seconds."""
        self.start(name, command, env)
        status = self._running[name].wait(timeout)
        del self._running[name]
        if status:
            raise RuntimeError(f"{name} ended with status {status}:\n{self.last_lines(name)}")

    def kill(self, name: str, sig: signal.Signals = signal.SIGKILL) -> None:
        """Send ``sig`` to the process of this name and to all its descendants, and wait for their end."""
        process = self._running.pop(name)
        end_marked(self._mark_of(name), sig)
        process.wait()

    def send(self, name: str, sig: signal.Signals) -> None:
        """Send ``sig`` to the process of this name and to all its descendants, which it does not end."""
        signal_marked(self._mark_of(name), sig)

    def ended(self) -> list[str]:
        """Return the names of the processes that have ended on their own."""
        return [name for name, process in self._running.items() if process.poll() is not None]

    def check(self) -> None:
        """Raise if a process that we started has ended on its own."""
        for name, process in self._running.items():
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended with status {process.returncode}:\n{self.last_lines(name)}")

    def main(self, name: str) -> psutil.Process:
        """Return the process that ``start`` started under this name."""
        return psutil.Process(self._running[name].pid)

    def names(self) -> list[str]:
        """Return the names of the processes that should be running."""
        return list(self._running)

    def log(self, name: str) -> Path:
        """Return the file with the output of a process."""
        return self._logs / f"{name}.log"

    def last_lines(self, name: str) -> str:
        """Return the last 15 lines of a process's output, each truncated to 200 characters."""
        lines = self.log(name).read_text(errors="replace").splitlines()
        return "\n".join(line[:200] for line in lines[-15:])

    def _mark_of(self, name: str) -> str:
        return f"{self._mark}:{name}:"


def guard(mark: str, owner: IO[str]) -> None:
    """Wait until ``owner``, a pipe to our owner, is closed, then end every process with this mark."""
    for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, signal.SIG_IGN)
    owner.read()
    end_marked(mark)


if __name__ == "__main__":
    guard(sys.argv[1], sys.stdin)
