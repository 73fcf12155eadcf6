"""A minimal client of the API, so that the tests see the sandbox's raw answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import requests

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_wr.sandbox.server import Sandbox

TIMEOUT = 10


class Api:
    """Calls the API of one sandbox with its key."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.workflow = f"/v1/sdk/workflows/{sandbox.workflow_id}"
        self._session = requests.Session()
        self._session.headers["X-Api-Key"] = sandbox.api_key

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        options.setdefault("timeout", TIMEOUT)
        return self._session.request(method, self.sandbox.url + path, **options)

    def trigger(self) -> str:
        """Start a run and return its id."""
        response = self.call("POST", self.workflow, json={})
        response.raise_for_status()
        run_id: str = response.json()["runId"]
        return run_id

    def run(self, run_id: str) -> dict[str, Any]:
        response = self.call("GET", f"/v1/sdk/workflows/executions/{run_id}")
        response.raise_for_status()
        run: dict[str, Any] = response.json()
        return run

    def update(self, component: str, /, **changes: Any) -> requests.Response:
        """Update the component with the initial name `component`."""
        component_id = self.sandbox.components[component]
        return self.call("POST", f"{self.workflow}/components/{component_id}", json=changes)

    def configure(self, configs: dict[str, dict[str, Any]]) -> None:
        """Set the config of components; stages take no time by default."""
        for name in self.sandbox.components:
            self.update(name, config={"seconds": 0, **configs.get(name, {})}).raise_for_status()

    def stream(self, run_id: str) -> requests.Response:
        """Open the run's stream; the subscription is active once this returns."""
        return self.call("GET", f"/v1/sdk/workflows/executions/{run_id}/stream", stream=True)

    def execute(
        self,
        module: str = "RANDOM_UUID",
        input: dict[str, Any] | None = None,
        config: dict[str, Any] | None = None,
        **options: Any,
    ) -> requests.Response:
        """Execute a component without a workflow; it takes no time by default."""
        config = {"seconds": 0, **(config or {})}
        body = {"module": module, "input": input or {}, "config": config, **options}
        return self.call("POST", "/v1/sdk/components", json=body)

    def execution(self, execution_id: str) -> dict[str, Any]:
        response = self.call("GET", f"/v1/sdk/components/executions/{execution_id}")
        response.raise_for_status()
        record: dict[str, Any] = response.json()
        return record

    def stream_execution(self, execution_id: str) -> requests.Response:
        """Open the execution's stream; the subscription is active once this returns."""
        return self.call("GET", f"/v1/sdk/components/executions/{execution_id}/stream", stream=True)

    def replay(self, execution_id: str) -> requests.Response:
        return self.call("POST", f"/v1/sdk/components/executions/{execution_id}/replay-callback", json={})

    def finish(self, run_id: str) -> dict[str, Any]:
        """Wait for the run's end and return the run."""
        with self.stream(run_id) as stream:
            run = self.run(run_id)
            if run["status"] in ("COMPLETED", "FAILED", "CANCELED"):
                return run
            list(events(stream))
        return self.run(run_id)


def events(stream: requests.Response) -> Iterator[dict[str, Any]]:
    """Yield the events of a stream until it ends, without its heartbeats."""
    return _events(stream.iter_lines(chunk_size=1))


def events_of(text: str) -> Iterator[Any]:
    """Yield the events of a stream that has ended, without its heartbeats."""
    return _events(iter(text.encode().split(b"\n")))


def _events(lines: Iterator[bytes]) -> Iterator[Any]:
    for line in lines:
        if line.startswith(b"data: ") and line != b"data: :ping":
            yield json.loads(line.removeprefix(b"data: "))
