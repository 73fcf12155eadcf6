"""The cluster, which all tests here share, sandboxes for them, and the table of what became of their payments."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from e2e.rabbit import Rabbit

from airflow_provider_wr.sandbox.client import SandboxControl
from airflow_provider_wr.sandbox.server import Sandbox
from airflow_provider_wr.sandbox.workflow import API_KEY, WORKFLOW_ID
from dev.postgres import postgres
from dev.redis import find_program, redis

from . import results
from .cluster import HEADS, Cluster, Row
from .network import Gate, Island, island, why_no_namespaces

DAGS = Path(__file__).parent / "dags"

#: How many sandboxes there are; each has a connection of its own.
RABBITS = 30

ROWS = pytest.StashKey[list[Row]]()


class Gated(Rabbit):
    """A sandbox behind a gate."""

    def __init__(self, conn_id: str) -> None:
        super().__init__(conn_id)
        self.gate = Gate(self.url)

    @property
    def connection(self) -> dict[str, Any]:
        return {**super().connection, "host": self.gate.url}

    def close(self) -> None:
        self.gate.close()
        super().close()


class Distant:
    """A sandbox on an island, or behind a gate where there can be no island."""

    conn_id = "wr_distant"

    def __init__(self, way: Island | Gate) -> None:
        self.way = way
        self.connection = {
            "conn_type": "wr",
            "host": way.url,
            "password": API_KEY,
            "extra": {"workflow_id": WORKFLOW_ID, "connect_timeout": 5, "allow_http": True},
        }

    @property
    def control(self) -> SandboxControl:
        """The controls, on a new connection: one that was open during a split is not to be trusted."""
        return SandboxControl(self.way.url)


@pytest.fixture(scope="session")
def distant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Distant]:
    """A sandbox that a network lies before."""
    with ExitStack() as stack:
        why_not = why_no_namespaces()
        if why_not is None:
            way: Island | Gate = stack.enter_context(island(tmp_path_factory.mktemp("island")))
        else:
            print(f"{why_not}: a proxy stands in for the network", file=sys.stderr)
            way = stack.enter_context(Gate(stack.enter_context(Sandbox()).url))
        yield Distant(way)


@pytest.fixture(scope="session")
def herd(distant: Distant) -> Iterator[list[Rabbit]]:
    """All sandboxes, the first behind a gate. Their connections are in the environment of this process, too."""
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        herd = [stack.enter_context(Gated("wr_gated"))]
        herd += [stack.enter_context(Rabbit(f"wr_{number}")) for number in range(RABBITS)]
        for rabbit in (*herd, distant):
            patch.setenv(f"AIRFLOW_CONN_{rabbit.conn_id.upper()}", json.dumps(rabbit.connection))
        yield herd


@pytest.fixture(scope="session")
def gated(herd: list[Rabbit]) -> Gated:
    """The sandbox behind a gate."""
    assert isinstance(herd[0], Gated)
    return herd[0]


@pytest.fixture(scope="session")
def take(herd: list[Rabbit]) -> Callable[[], Rabbit]:
    """Return a sandbox that no other test has."""
    return iter(herd[1:]).__next__


@pytest.fixture(scope="session")
def cluster(herd: list[Rabbit], postgres_programs: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The cluster, up."""
    program = find_program()
    if program is None:
        pytest.skip("there is no Redis: install Debian's with `apt-get install redis-server`")
    if find_spec("celery") is None:
        pytest.skip("there is no Celery: install it with `pip install --group scale`")
    connections = {name: value for name, value in os.environ.items() if name.startswith("AIRFLOW_CONN_WR_")}
    home = Path(tempfile.mkdtemp(prefix="wr-scale-"))
    with (
        postgres(postgres_programs) as database,
        redis(program) as broker,
        Cluster(home, DAGS, database, broker, connections) as cluster,
    ):
        cluster.start_more()
        cluster.wait_ready()
        yield cluster
    if request.session.testsfailed:
        print(f"All of Airflow's files: {home}", file=sys.stderr)
    else:
        shutil.rmtree(home)


@pytest.fixture(scope="session")
def keep(pytestconfig: pytest.Config) -> Callable[[Row], None]:
    """Keep a row for the table."""
    return pytestconfig.stash.setdefault(ROWS, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = config.stash.get(ROWS, [])
    if not rows:
        return
    texts = [HEADS, *(row.cells for row in rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    terminalreporter.section("Payments on Celery, with two workers, triggerers and schedulers")
    for line in texts:
        terminalreporter.write_line("  ".join(map(str.ljust, line, widths)).rstrip())
    if os.environ.get("WR_RESULTS"):
        results.write("disasters", [dict(zip(HEADS, row.cells, strict=True)) for row in rows], add=True)
