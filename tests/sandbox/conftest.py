from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

# Imported, so that the tests also run if the package is not installed.
from airflow_provider_wr.sandbox.pytest_plugin import _wr_sandbox_server, wr_sandbox  # noqa: F401
from airflow_provider_wr.sandbox.server import Sandbox

from .api import Api

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def api(wr_sandbox: Sandbox) -> Api:  # noqa: F811
    return Api(wr_sandbox)


@pytest.fixture(scope="package")
def _drifting_server() -> Iterator[Sandbox]:
    with Sandbox(drift=True, heartbeat=0.1) as sandbox:
        yield sandbox


@pytest.fixture
def drifting(_drifting_server: Sandbox) -> Api:
    _drifting_server.control.reset()
    return Api(_drifting_server)
