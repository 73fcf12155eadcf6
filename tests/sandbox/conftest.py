from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

# Imported, so that the tests also run if the package is not installed.
from airflow_provider_wr.sandbox.pytest_plugin import _wr_sandbox_server, wr_sandbox  # noqa: F401

from .api import Api

if TYPE_CHECKING:
    from airflow_provider_wr.sandbox.server import Sandbox


@pytest.fixture
def api(wr_sandbox: Sandbox) -> Api:  # noqa: F811
    return Api(wr_sandbox)
