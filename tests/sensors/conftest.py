from __future__ import annotations

from collections.abc import Callable

import pytest
from hooks.conftest import Connect, _no_long_pauses, _quick_server, connect, sandbox, serve  # noqa: F401

from airflow_provider_wr.hooks.wr import WRHook
from airflow_provider_wr.sandbox.server import Sandbox

Start = Callable[..., str]


@pytest.fixture
def start(sandbox: Sandbox, connect: Connect) -> Start:  # noqa: F811
    """A function that starts a run, with this config for its first component, and returns its id."""
    connect(sandbox.url, api_key=sandbox.api_key, run_url=f"{sandbox.url}/runs/{{run_id}}")

    def start(**config: object) -> str:
        with WRHook() as hook:
            hook.update_component(sandbox.components["Quote"], config=config)
            return hook.trigger_run().run_id

    return start
