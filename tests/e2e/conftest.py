"""One Airflow for most end-to-end tests, and sandboxes for all of them."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from dev.local_airflow import LocalAirflow, free_port

from .rabbit import LITERAL, LITERAL_CONN, Rabbit, rabbits

DAGS = Path(__file__).parent / "dags"
EXAMPLES = Path(__file__).parents[2] / "example_dags"

SETTINGS = {
    "AIRFLOW__CORE__PARALLELISM": "16",
    # Dozens of tasks start at once, and each of them uses the API server.
    "AIRFLOW__DATABASE__SQL_ALCHEMY_POOL_SIZE": "50",
    "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "2",
    # By default, Airflow takes minutes to notice that a worker or a triggerer died.
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "6",
}

PrintTable = Callable[[str, Sequence[object], Iterable[Sequence[object]]], None]
TABLES = pytest.StashKey[list[tuple[str, list[str]]]]()


@pytest.fixture(scope="session")
def herd() -> Iterator[list[Rabbit]]:
    """All sandboxes. Their connections are in the environment of this process, too."""
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        herd = [stack.enter_context(rabbit) for rabbit in rabbits()]
        for rabbit in herd:
            patch.setenv(f"AIRFLOW_CONN_{rabbit.conn_id.upper()}", json.dumps(rabbit.connection))
        yield herd


@pytest.fixture(scope="session")
def take_rabbit(herd: list[Rabbit]) -> Callable[[], Rabbit]:
    """Return a sandbox that no other test uses."""
    return iter(herd[1:]).__next__


@pytest.fixture
def default_rabbit(herd: list[Rabbit]) -> Rabbit:
    """The sandbox of the example DAGs, after a reset."""
    herd[0].control.reset()
    return herd[0]


@contextmanager
def new_home(session: pytest.Session) -> Iterator[Path]:
    """Create a folder for an Airflow, which is kept after a failure."""
    home = Path(tempfile.mkdtemp(prefix="wr-e2e-"))
    yield home
    if session.testsfailed:
        print(f"All of Airflow's files: {home}", file=sys.stderr)
    else:
        shutil.rmtree(home)


@pytest.fixture(scope="session")
def settings(herd: list[Rabbit]) -> dict[str, str]:
    """The environment of an Airflow: its settings, and its connections to all sandboxes."""
    connections = {name: value for name, value in os.environ.items() if name.startswith("AIRFLOW_CONN_WR_")}
    return {**SETTINGS, **connections}


@pytest.fixture(scope="session")
def airflow(
    herd: list[Rabbit], settings: dict[str, str], request: pytest.FixtureRequest
) -> Iterator[LocalAirflow]:
    """A running Airflow with our DAGs and the examples."""
    port = str(free_port())
    with new_home(request.session) as home:
        for folder in (DAGS, EXAMPLES):
            shutil.copytree(folder, home / "dags", dirs_exist_ok=True)
        others = {
            LITERAL: herd[-1].start_run(),
            LITERAL_CONN: herd[-1].conn_id,
            f"AIRFLOW_VAR_{LITERAL_CONN}": herd[-1].conn_id,
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db?timeout=30",
        }
        with LocalAirflow(home, home / "dags", env={**settings, **others}) as airflow:
            # The tasks have their own API server. On SQLite, a server for both may deadlock:
            # its event loop waits to log our request, while a task's transaction waits for the event loop to
            # commit.
            airflow.start("api-server", "execution-api", "--apps", "execution", "--port", port)
            airflow.wait_ready(240)
            yield airflow


@pytest.fixture(scope="session")
def print_table(pytestconfig: pytest.Config) -> PrintTable:
    """Print a table at the end of the session: title, column headers, rows."""

    def keep(title: str, heads: Sequence[object], rows: Iterable[Sequence[object]]) -> None:
        texts = [[str(cell) for cell in row] for row in (heads, *rows)]
        widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in texts]
        pytestconfig.stash.setdefault(TABLES, []).append((title, lines))

    return keep


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for title, lines in config.stash.get(TABLES, []):
        terminalreporter.section(title)
        for line in lines:
            terminalreporter.write_line(line)
