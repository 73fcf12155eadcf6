"""What a call sends: path, exact bytes, headers, and whether it may be repeated."""

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

    :param path: from ``/v1`` on.
    :param body: the exact bytes to send; None for none.
    :param read: makes the result out of the answer's JSON; raises :class:`WRProtocolError`. None for a call
        whose answer says nothing.
    :param accept: the media type that is asked for.
    :param repeatable: whether sending the call twice does the same as sending it once.
    :param subject: what the call is about, in words; used where its outcome is unknown.
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
        Return the headers of one attempt.

        :param signer: signs the request; None sends no signature.
        :param now: Unix seconds; the signature of every attempt carries its own.
        """
        headers = {
            "Accept": self.accept,
            "User-Agent": f"airflow-provider-wr/{__version__}",
            "X-Api-Key": api_key,
        }
        if self.body is not None:
            headers["Content-Type"] = "application/json"
        if self.accept == EVENT_STREAM:
            headers["Accept-Encoding"] = "identity"  # a compressor on the way would hold events back
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
    """Read a run as it is now."""

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
    """Change a component; what is None is left as it is, and ``config`` is merged on the server."""
    check_uuid(workflow_id, "workflow_id")
    check_uuid(component_id, "component_id")
    body: dict[str, Any] = {}
    if config is not None:
        if not isinstance(config, Mapping):
            raise WRValidationError(f"config should be an object (a dict), and is a {type(config).__name__}")
        body["config"] = config
    if name is not None:
        if not isinstance(name, str) or not name.strip():
            raise WRValidationError("name should be a text that is not empty")
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
    raise WRValidationError(f"position should be two finite numbers [x, y], and is {printable(repr(position))}")
