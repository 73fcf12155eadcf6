"""The ways to cut off a White Rabbit do so, and take it back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from airflow_provider_wr.sandbox.server import Sandbox

from .network import Gate, Island, island, why_no_namespaces

pytestmark = pytest.mark.quick


@pytest.fixture
def gate() -> Iterator[Gate]:
    with Sandbox() as sandbox, Gate(sandbox.url) as gate:
        yield gate


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Island]:
    if why_not := why_no_namespaces():
        pytest.skip(why_not)
    with island(tmp_path) as there:
        yield there


def ask(session: requests.Session, url: str) -> int:
    session.trust_env = False
    return session.get(f"{url}/_sandbox/runs", timeout=3).status_code


def test_a_gate_refuses(gate: Gate) -> None:
    with requests.Session() as session:
        assert ask(session, gate.url) == 200
        gate.refuse()
        with pytest.raises(requests.ConnectionError):
            ask(session, gate.url)
        gate.open()
        assert ask(session, gate.url) == 200


def test_nothing_passes_a_gate_that_is_cut_off(gate: Gate) -> None:
    with requests.Session() as session:
        assert ask(session, gate.url) == 200
        gate.cut_off()
        with pytest.raises(requests.Timeout):
            ask(session, gate.url)
        gate.connect()
        assert ask(session, gate.url) == 200


def test_packets_to_an_island_are_lost(there: Island) -> None:
    with requests.Session() as session:
        assert ask(session, there.url) == 200
        there.cut_off()
        with pytest.raises(requests.Timeout):
            ask(session, there.url)
        there.connect()
    with requests.Session() as session:
        assert ask(session, there.url) == 200
