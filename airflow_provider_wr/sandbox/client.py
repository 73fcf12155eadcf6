"""A client of the control API, for a sandbox in this process or another."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, TypedDict
from urllib.parse import quote

import requests

from airflow_provider_wr.sandbox.faults import Fault

TIMEOUT = 10
"""Seconds the sandbox may take to answer."""


class RunSummary(TypedDict):
    id: str
    status: str
    workflowId: str
    createdAt: str


class ExecutionSummary(TypedDict):
    id: str
    module: str
    status: str
    input: dict[str, Any]
    config: dict[str, Any]
    attempts: int
    """Number of attempts so far."""
    createdAt: str


class ReceivedRequest(TypedDict):
    endpoint: str
    """One of `faults.ENDPOINTS`, or unknown."""
    method: str
    path: str
    status: int | None
    """The status of the answer; None if the connection was reset."""


class ComponentState(TypedDict):
    id: str
    name: str
    module: str
    position: list[float]
    config: dict[str, Any]


class SandboxControl:
    """Controls the sandbox at `url`. Rejected requests raise `requests.HTTPError`."""

    def __init__(self, url: str) -> None:
        self._base = f"{url}/_sandbox"
        self._session = requests.Session()
        self._session.trust_env = False  # do not send requests to the sandbox through a proxy
        self._session.headers["Connection"] = "close"  # an idle connection may be closed just as it is used again

    def fault(self, endpoint: str, **settings: Any) -> None:
        """Add a fault; see `Fault` for the settings."""
        self._call("POST", "/faults", asdict(Fault(endpoint, **settings)))

    def faults(self) -> list[Fault]:
        """The active faults; `times` is the number of calls left."""
        return [Fault(**fault) for fault in self._call("GET", "/faults")]

    def clear_faults(self) -> None:
        self._call("DELETE", "/faults")

    def runs(self) -> list[RunSummary]:
        """Every run since the last reset, oldest first."""
        runs: list[RunSummary] = self._call("GET", "/runs")
        return runs

    def executions(self) -> list[ExecutionSummary]:
        """Every execution of a component without a workflow since the last reset, oldest first."""
        executions: list[ExecutionSummary] = self._call("GET", "/executions")
        return executions

    def steer(self, module: str, config: dict[str, Any]) -> None:
        """Merge `config` into the config of all executions of a module that start from now on.

        The keys are those of a workflow's components: `seconds`, `hold`, `failAttempts`, `failWith` and
        `answerWith`. The config replaces what was there before: `{}` ends it, also for those that are held.
        """
        self._call("POST", f"/modules/{quote(module, safe='')}", config)

    def requests(self) -> list[ReceivedRequest]:
        """The API requests answered since the last reset, in the order of their answers."""
        received: list[ReceivedRequest] = self._call("GET", "/requests")
        return received

    def components(self) -> list[ComponentState]:
        components: list[ComponentState] = self._call("GET", "/components")
        return components

    def reset_components(self) -> None:
        """Undo all updates of components: configs, names and positions. Nothing else changes."""
        self._call("POST", "/components/reset")

    def rotate_key(self, api_key: str) -> None:
        """Accept `api_key` from now on, and reject the previous key."""
        self._call("POST", "/key", {"apiKey": api_key})

    def reset(self) -> None:
        """Reset everything: runs, executions, faults, components, the API key and the request log."""
        self._call("POST", "/reset")

    def close(self) -> None:
        self._session.close()

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        response = self._session.request(method, self._base + path, json=body, timeout=TIMEOUT)
        response.raise_for_status()
        return response.json() if response.content else None
