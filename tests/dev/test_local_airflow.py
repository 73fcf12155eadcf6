"""The processes, ports and environment of a local Airflow. The demo starts a complete one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from typing import TYPE_CHECKING

import psutil  # type: ignore[import-untyped]
import pytest

from dev.local_airflow import LocalAirflow, children, free_port
from dev.processes import MARK, Processes, marked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]

# Prints its pid, and starts a child in another session that ignores SIGTERM and prints its pid, too.
FAMILY = [
    sys.executable,
    "-c",
    textwrap.dedent("""
        import os, signal, time
        if os.fork() == 0:
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print(os.getpid(), flush=True)
        time.sleep(60)
    """),
]


def wait_until(predicate: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not predicate():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def printed_pids(processes: Processes, name: str) -> list[int]:
    wait_until(lambda: len(processes.log(name).read_text().splitlines()) == 2)
    return [int(line) for line in processes.log(name).read_text().splitlines()]


def is_alive(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout
    return bool(state) and not state.startswith("Z")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dev.processes.GRACE", 0.3)


@pytest.fixture
def processes(tmp_path: Path, quick: None) -> Iterator[Processes]:
    with Processes(tmp_path) as processes:
        yield processes


def test_the_end_takes_a_grandchild_in_another_session(tmp_path: Path, quick: None) -> None:
    with Processes(tmp_path) as processes:
        processes.start("family", FAMILY, os.environ)
        pids = printed_pids(processes, "family")
        assert all(map(is_alive, pids))

    assert not any(map(is_alive, pids))


def test_a_process_can_be_ended_as_soon_as_it_is_started(processes: Processes) -> None:
    for count in range(400):
        processes.start(f"sleep-{count}", SLEEP, os.environ)
        assert MARK in processes.main(f"sleep-{count}").environ()
        processes.kill(f"sleep-{count}", signal.SIGKILL)


def test_kill_ends_one_name_and_leaves_the_others(processes: Processes) -> None:
    processes.start("family", FAMILY, os.environ)
    processes.start("family-2", SLEEP, os.environ)
    pids = printed_pids(processes, "family")

    processes.kill("family", signal.SIGKILL)

    assert not any(map(is_alive, pids))
    assert processes.names() == ["family-2"]
    processes.check()


def test_a_killed_owner_leaves_nothing_behind(tmp_path: Path) -> None:
    owner = textwrap.dedent(f"""
        import os, pathlib, time
        from dev import processes
        with processes.Processes(pathlib.Path({str(tmp_path)!r})) as owned:
            owned.start("sleep", {SLEEP!r}, os.environ)
            print(owned.main("sleep").environ()[{MARK!r}], flush=True)
            time.sleep(60)
    """)
    with subprocess.Popen([sys.executable, "-c", owner], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        mark = process.stdout.readline().strip()
        assert len(marked(mark)) == 1
        process.kill()

    wait_until(lambda: not marked(mark))


def test_a_process_that_ends_by_itself_is_reported_with_its_last_output(processes: Processes) -> None:
    processes.start("short", [sys.executable, "-c", "raise SystemExit('no such luck')"], os.environ)
    short = processes.main("short")
    wait_until(lambda: not is_alive(short.pid))

    with pytest.raises(RuntimeError, match=r"short ended with status 1:\nno such luck"):
        processes.check()


def test_what_ended_on_its_own_is_known_and_can_be_started_again(processes: Processes) -> None:
    processes.start("short", [sys.executable, "-c", ""], os.environ)
    processes.start("sleep", SLEEP, os.environ)
    wait_until(lambda: processes.ended() == ["short"])

    processes.kill("short")
    processes.start("short", SLEEP, os.environ)

    assert processes.ended() == []


def test_a_process_can_be_stopped_where_it_is(processes: Processes) -> None:
    processes.start("family", FAMILY, os.environ)
    family = [psutil.Process(pid) for pid in printed_pids(processes, "family")]

    processes.send("family", signal.SIGSTOP)
    wait_until(lambda: all(each.status() == psutil.STATUS_STOPPED for each in family))
    processes.send("family", signal.SIGCONT)

    wait_until(lambda: all(each.status() == psutil.STATUS_SLEEPING for each in family))


def test_a_failed_command_is_reported_with_its_last_output(processes: Processes) -> None:
    with pytest.raises(RuntimeError, match="no such luck"):
        processes.run("short", [sys.executable, "-c", "raise SystemExit('no such luck')"], os.environ, 10)

    assert processes.names() == []


def test_an_ended_process_has_no_children(processes: Processes) -> None:
    processes.start("sleep", SLEEP, os.environ)
    main = processes.main("sleep")
    processes.kill("sleep")

    assert children(main) == []


def test_the_environment_is_free_of_other_airflows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", "http://other")
    monkeypatch.setenv("NO_PROXY", "intranet")

    env = LocalAirflow(tmp_path, tmp_path, env={"AIRFLOW__CORE__PARALLELISM": "3"}).env

    assert env["AIRFLOW__CORE__EXECUTOR"] == "LocalExecutor"
    assert env["AIRFLOW__CORE__PARALLELISM"] == "3"
    assert "AIRFLOW_CONN_OTHER" not in env
    assert env["NO_PROXY"] == "127.0.0.1,localhost,intranet"


def test_two_airflows_share_neither_ports_nor_secrets(tmp_path: Path) -> None:
    one, other = (LocalAirflow(tmp_path / name, tmp_path).env for name in ("one", "other"))

    for name in ("API__PORT", "API__SECRET_KEY", "API_AUTH__JWT_SECRET", "CORE__FERNET_KEY"):
        assert one[f"AIRFLOW__{name}"] != other[f"AIRFLOW__{name}"]


def test_a_free_port_can_be_listened_on() -> None:
    with socket.create_server(("127.0.0.1", free_port())):
        pass
