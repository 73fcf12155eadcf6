"""The fixture `wr_sandbox`. Nothing heavy is imported until a test uses it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from airflow_provider_wr.sandbox import WITHOUT_EXTRA

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_wr.sandbox.server import Sandbox


@pytest.fixture(scope="session")
def _wr_sandbox_server() -> Iterator[Sandbox]:
    try:
        from airflow_provider_wr.sandbox.server import Sandbox
    except ImportError as error:
        pytest.fail(f"{WITHOUT_EXTRA} ({error})")
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def wr_sandbox(_wr_sandbox_server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """A fresh local White Rabbit, with the Airflow connection `wr_default` for it."""
    _wr_sandbox_server.control.reset()
    monkeypatch.setenv("AIRFLOW_CONN_WR_DEFAULT", json.dumps(_wr_sandbox_server.connection))
    return _wr_sandbox_server
