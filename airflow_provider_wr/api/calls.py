"""The calls of the API: path, exact body, headers, and whether a call may be repeated."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import urlsplit

from airflow_provider_wr import __version__
from airflow_provider_wr.api import js_json
from airflow_provider_wr.api.catalogue import Component, read_catalogue
from airflow_provider_wr.api.executions import ComponentExecution
from airflow_provider_wr.api.ids import check_run_id, check_uuid
from airflow_provider_wr.api.limits import MAX_ATTEMPTS, MAX_WAIT_MS, check_whole
from airflow_provider_wr.api.models import Run, TriggeredRun
from airflow_provider_wr.api.text import is_utf8, printable
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
    :param later: fields of the answer that are decoded when asked for: they may be large.
    :param accept: the ``Accept`` header.
    :param repeatable: whether the call is idempotent, so that it may be retried.
    :param subject: what the call acts on, for the error if its outcome is unknown.
    :param starts: what a call starts that is not repeatable: a run or an execution.
    :param held_for: seconds for which the API may hold its answer at our request, on top of the read timeout.
    """

    method: str
    path: str
    body: bytes | None = field(repr=False)  # a config may hold secrets
    read: Callable[[Any], T] | None
    later: frozenset[str] = frozenset()
    accept: str = "application/json"
    repeatable: bool = True
    subject: str = ""
    starts: str = "run"
    held_for: float = 0.0

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
            headers["Cache-Control"] = "no-cache"
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
        _check_same("run", run.id, run_id)
        return run

    check_run_id(run_id)
    return Call("GET", f"/v1/sdk/workflows/executions/{run_id}", None, read, later=frozenset({"runStages"}))


def stream_run(run_id: str) -> Call[None]:
    """Open the stream of a run's events."""
    check_run_id(run_id)
    path = f"/v1/sdk/workflows/executions/{run_id}/stream"
    return Call("GET", path, None, None, accept=EVENT_STREAM)


def _check_same(noun: str, answered: str, asked: str) -> None:
    if answered.lower() != asked.lower():
        raise WRProtocolError(f"the API answered with another {noun}: {printable(answered)}")


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
        body["config"] = check_object(config, "config")
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


def execute_component(
    module: str,
    input: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    *,
    attempts: int = 1,
    wait_ms: int = 0,
    callback_url: str | None = None,
    callback_secret: str | None = None,
    callback_headers: Mapping[str, str] | None = None,
) -> Call[ComponentExecution]:
    """Run a component without a workflow. See :func:`callback_secrets` for what must be masked."""
    if not isinstance(module, str) or not module.strip():
        raise WRValidationError("module should be the name of a component, such as RANDOM_UUID, not empty")
    body: dict[str, Any] = {
        "module": module,
        "input": {} if input is None else check_object(input, "input"),
        "config": {} if config is None else check_object(config, "config"),
    }
    if check_whole(attempts, "attempts", 1, MAX_ATTEMPTS) != 1:
        body["attempts"] = attempts
    if check_whole(wait_ms, "wait_ms", 0, MAX_WAIT_MS) != 0:
        body["waitForMs"] = wait_ms
    body |= _callback(callback_url, callback_secret, callback_headers)
    return Call(
        "POST",
        "/v1/sdk/components",
        js_json.dumps(body).encode(),
        ComponentExecution.started,
        repeatable=False,
        subject=f"component {printable(module)}",
        starts="execution",
        held_for=wait_ms / 1000,
    )


def _callback(url: Any, secret: Any, headers: Any) -> dict[str, Any]:
    """Validate a callback, and return its fields of the request. Errors contain no secrets."""
    if url is None:
        if secret is not None or headers is not None:
            raise WRValidationError("callback_secret and callback_headers need a callback_url")
        return {}
    try:
        parts = urlsplit(url)
        is_https = isinstance(url, str) and parts.scheme == "https" and bool(parts.hostname) and " " not in url
    except (ValueError, TypeError, AttributeError):
        is_https = False
    if not is_https:
        raise WRValidationError(f"callback_url should be a URL that starts with https://, not {_shown(url)}")
    callback: dict[str, Any] = {"callbackUrl": url}
    if secret is not None:
        if not isinstance(secret, str) or not secret or not is_utf8(secret):
            raise WRValidationError("callback_secret should be a string that is not empty")
        callback["callbackSecret"] = secret
    if headers is not None:
        for name, value in check_object(headers, "callback_headers").items():
            if not isinstance(name, str) or not name.strip():
                raise WRValidationError("callback_headers should have names that are strings and not empty")
            if not isinstance(value, str) or not value.isprintable():
                raise WRValidationError(f"callback_headers: {printable(name)} should be a string of one line")
        callback["callbackHeaders"] = headers
    return callback


def _shown(value: Any) -> str:
    return repr(printable(value)) if isinstance(value, str) else f"a {type(value).__name__}"


def get_execution(execution_id: str) -> Call[ComponentExecution]:
    """Read the current state of an execution."""

    def read(body: Any) -> ComponentExecution:
        execution = ComponentExecution.from_json(body)
        _check_same("execution", execution.id, execution_id)
        return execution

    return Call("GET", _execution_path(execution_id), None, read)


def stream_execution(execution_id: str) -> Call[None]:
    """Open the stream of an execution's events."""
    return Call("GET", f"{_execution_path(execution_id)}/stream", None, None, accept=EVENT_STREAM)


def replay_callback(execution_id: str) -> Call[None]:
    """Have an execution's callback sent again. The SDK calls it safe to repeat."""
    return Call("POST", f"{_execution_path(execution_id)}/replay-callback", b"{}", None)


def _execution_path(execution_id: str) -> str:
    return f"/v1/sdk/components/executions/{check_run_id(execution_id, 'execution_id')}"


def list_components() -> Call[tuple[Component, ...]]:
    """
    Read the catalogue of components.

    With the key, as every call: the SDK sends none there, and a server that needs none ignores it.
    """
    return Call("GET", "/v1/system/components", None, read_catalogue)


def check_object(value: Any, name: str) -> Mapping[str, Any]:
    """Return a value if it is a dict or the like; raises :class:`WRValidationError`, which names it, if not."""
    if isinstance(value, Mapping):
        return value
    raise WRValidationError(f"{name} should be an object (a dict), not a {type(value).__name__}")
