from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from certificates import Authority, self_signed
from servers import WORKFLOW_ID, RawServer, Script

from airflow_provider_wr.sandbox.server import Sandbox
from airflow_provider_wr.waiting import backoff, rules

from .both import HOOKS, AnyHook, connection

if TYPE_CHECKING:
    from airflow_provider_wr.sandbox.pytest_plugin import wr_sandbox  # noqa: F401

Connect = Callable[..., None]
Serve = Callable[..., RawServer]


@pytest.fixture(autouse=True)
def _no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "MAX_PAUSE", 0.02)
    monkeypatch.setattr(rules, "BURST", math.inf)
    monkeypatch.setattr(rules, "FINAL_READ_TIMEOUT", 0.5)


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Connect:
    """A function that sets the URL of the Airflow connection ``wr_default``, or of another."""

    def connect(url: str, *, conn_id: str = "wr_default", **fields: Any) -> None:
        fields.setdefault("workflow_id", WORKFLOW_ID)
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", connection(url, **fields))

    return connect


@pytest.fixture
def serve(connect: Connect) -> Iterator[Serve]:
    """A function that starts a raw server and points ``wr_default`` to it; it takes options of the connection."""
    with ExitStack() as stack:

        def serve(script: Script, **fields: Any) -> RawServer:
            server = stack.enter_context(RawServer(script))
            connect(server.url, **fields)
            return server

        yield serve


@pytest.fixture(scope="session", params=["plain", pytest.param("drifted", marks=pytest.mark.drifted)])
def _quick_server(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with Sandbox(heartbeat=0.05, speed=20, drift=request.param == "drifted") as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(_quick_server: Sandbox, connect: Connect) -> Sandbox:
    """
    A fresh sandbox as ``wr_default``, whose runs take 50 ms and whose heartbeats come every 50 ms.

    Each test runs twice: with documented answers, and under drift.
    """
    _quick_server.control.reset()
    connect(_quick_server.url, api_key=_quick_server.api_key)
    return _quick_server


@pytest.fixture(params=HOOKS)
def new_hook(request: pytest.FixtureRequest) -> Iterator[Callable[..., AnyHook]]:
    """A function that creates a hook; each test runs with both kinds."""
    with ExitStack() as stack:

        def new_hook(*args: Any, **options: Any) -> AnyHook:
            hook = HOOKS[request.param](*args, **options)
            stack.callback(hook.close)
            return hook

        yield new_hook


@pytest.fixture
def hook(new_hook: Callable[..., AnyHook]) -> AnyHook:
    """A hook of ``wr_default``; it reads the connection at its first call."""
    return new_hook()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return self_signed(tmp_path_factory.mktemp("tls"))
