"""The calls of the API: path, exact body, headers, and whether a call may be repeated."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from airflow_provider_wr import __version__
from airflow_provider_wr.api import js_json
from airflow_provider_wr.api.ids import check_run_id, check_uuid
from airflow_provider_wr.api.models import Run, TriggeredRun
from airflow_provider_wr.api.text import printable
from airflow_provider_wr.exceptions import WRProtocolError, WRValidationError

if TYPE_CHECKING:
    from airflow_provider_wr.api.signing import Signer

T = TypeVar("T")

EVENT_STREAM = "text/event-stream"


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """
    One call of the API.

    :param path: starts with ``/v1``.
    :param body: the exact bytes to send; None for none.
    :param read: turns the answer's JSON into the result; raises :class:`WRProtocolError`. None to ignore the body.
    :param accept: the ``Accept`` header.
    :param repeatable: whether the call is idempotent, so that it may be retried.
    :param subject: what the call acts on, for the error if its outcome is unknown.
    """

    method: str
    path: str
    body: bytes | None
    read: Callable[[Any], T] | None
    accept: str = "application/json"
    repeatable: bool = True
    subject: str = ""

    def headers(self, *, api_key: str, signer: Signer | None, now: float) -> dict[str, str]:
        """
        Return the headers for one attempt.

        :param signer: signs the request; None sends no signature.
        :param now: Unix seconds, part of the signature.
        """
        headers = {
            "Accept": self.accept,
            "User-Agent": f"airflow-provider-wr/{__version__}",
            "X-Api-Key": api_key,
        }
        if self.body is not None:
            headers["Content-Type"] = "application/json"
        if self.accept == EVENT_STREAM:
            headers["Accept-Encoding"] = "identity"  # compression on the way could delay events
        if signer is not None:
            headers |= signer.headers(self.method, self.path, self.body, int(now))
        return headers


def trigger_run(workflow_id: str) -> Call[TriggeredRun]:
    """Start a run."""
    check_uuid(workflow_id, "workflow_id")
    return Call(
        "POST",
        f"/v1/sdk/workflows/{workflow_id}",
        b"{}",
        TriggeredRun.from_json,
        repeatable=False,
        subject=f"workflow {workflow_id}",
    )


def get_run(run_id: str) -> Call[Run]:
    """Read the current state of a run."""

    def read(body: Any) -> Run:
        run = Run.from_json(body)
        if run.id.lower() != run_id.lower():
            raise WRProtocolError(f"the API answered with another run: {printable(run.id)}")
        return run

    check_run_id(run_id)
    return Call("GET", f"/v1/sdk/workflows/executions/{run_id}", None, read)


def stream_run(run_id: str) -> Call[None]:
    """Open the stream of a run's events."""
    check_run_id(run_id)
    path = f"/v1/sdk/workflows/executions/{run_id}/stream"
    return Call("GET", path, None, None, accept=EVENT_STREAM)


def update_component(
    workflow_id: str,
    component_id: str,
    *,
    config: Mapping[str, Any] | None = None,
    name: str | None = None,
    position: Sequence[float] | None = None,
) -> Call[None]:
    """Update a component. None leaves a value unchanged; the server merges ``config``."""
    check_uuid(workflow_id, "workflow_id")
    check_uuid(component_id, "component_id")
    body: dict[str, Any] = {}
    if config is not None:
        if not isinstance(config, Mapping):
            raise WRValidationError(f"config should be an object (a dict), not a {type(config).__name__}")
        body["config"] = config
    if name is not None:
        if not isinstance(name, str) or not name.strip():
            raise WRValidationError("name should be a string that is not empty")
        body["name"] = name
    if position is not None:
        body["position"] = _position(position)
    if not body:
        raise WRValidationError("nothing to update: give at least one of config, name and position")
    path = f"/v1/sdk/workflows/{workflow_id}/components/{component_id}"
    return Call("POST", path, js_json.dumps(body).encode(), None)


def _position(position: Any) -> list[float]:
    def is_number(value: Any) -> bool:
        return type(value) in (int, float) and abs(value) <= sys.float_info.max

    if isinstance(position, (list, tuple)) and len(position) == 2 and all(map(is_number, position)):
        return list(position)
    raise WRValidationError(f"position should be two finite numbers [x, y], not {printable(repr(position))}")
