from __future__ import annotations

import pytest
from hooks.conftest import Connect, _no_long_pauses, _quick_server, connect, serve  # noqa: F401
from hooks.conftest import sandbox as quick_sandbox  # noqa: F401

from airflow_provider_wr.sandbox.server import Sandbox


@pytest.fixture
def sandbox(quick_sandbox: Sandbox, connect: Connect) -> Sandbox:  # noqa: F811
    """A fresh, fast sandbox, whose connection has its workflow, and the URLs of its runs and executions."""
    connect(
        quick_sandbox.url,
        api_key=quick_sandbox.api_key,
        run_url=f"{quick_sandbox.url}/runs/{{run_id}}",
        execution_url=f"{quick_sandbox.url}/executions/{{execution_id}}",
    )
    return quick_sandbox
