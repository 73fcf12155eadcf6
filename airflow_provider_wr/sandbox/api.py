"""The White Rabbit API: the endpoints under /v1, their API key and signature."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from airflow_provider_wr.sandbox import drift
from airflow_provider_wr.sandbox.answers import ApiError, faulty_response, json_object
from airflow_provider_wr.sandbox.components import CATALOGUE, request_problems
from airflow_provider_wr.sandbox.stream import DriftingWriter, ExecutionWriter, RunWriter, event_stream
from airflow_provider_wr.sandbox.workflow import SCOPED_API_KEY, update_problems

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from airflow_provider_wr.sandbox.components import ComponentExecution
    from airflow_provider_wr.sandbox.engine import World
    from airflow_provider_wr.sandbox.faults import Fault
    from airflow_provider_wr.sandbox.runs import Run
    from airflow_provider_wr.sandbox.stream import Moving
    from airflow_provider_wr.sandbox.workflow import Workflow

MAX_SKEW = 30
"""Maximum difference in seconds between a request's timestamp and the server's clock."""

Handler = Callable[["World", "Request", "Fault | None"], Awaitable[Response]]


async def trigger(world: World, request: Request, fault: Fault | None) -> Response:
    workflow = _workflow(world, request)
    if unknown := await json_object(request):
        raise ApiError(422, *(f"property {name} should not exist" for name in unknown))
    finish_first = fault is not None and fault.finish_first
    moving = world.engine.start(workflow, instantly=finish_first)
    if finish_first:
        await asyncio.wait({moving.task})
    return JSONResponse({"runId": moving.subject.id, "jobId": moving.subject.job_id}, 201)


async def get_run(world: World, request: Request, fault: Fault | None) -> Response:
    run = _run(world, request).subject.detail()
    if fault is not None and fault.stages_by_id:
        run["runStages"] = {stage["id"]: stage for stage in run["runStages"]}
    return JSONResponse(run)


async def stream(world: World, request: Request, fault: Fault | None) -> Response:
    return _stream(world, request, fault, _run(world, request), RunWriter())


def _stream(
    world: World,
    request: Request,
    fault: Fault | None,
    moving: Moving[Run] | Moving[ComponentExecution],
    writer: RunWriter,
) -> Response:
    if world.drifts(fault):
        writer = DriftingWriter()
        if moving.subject.is_terminal:
            raise ApiError(drift.REFUSED_STREAMS[moving.subject.status], "Execution already finished")
    # Subscribe before the answer starts, so that the client misses no event after it.
    subscription = moving.feed.subscribe()
    return event_stream(subscription, world.settings.heartbeat, request.state.transport, fault, writer)


async def update(world: World, request: Request, fault: Fault | None) -> Response:
    component_id = request.path_params["component_id"]
    component = _workflow(world, request).components.get(component_id)
    if component is None:
        raise ApiError(404, f"Component {component_id} not found")
    changes = await json_object(request)
    if problems := list(update_problems(changes)):
        raise ApiError(422, *problems)
    component.update(**changes)
    return JSONResponse({}, 201)


async def execute_component(world: World, request: Request, fault: Fault | None) -> Response:
    body = await json_object(request)
    if problems := list(request_problems(body)):
        raise ApiError(422, *problems)
    finish_first = fault is not None and fault.finish_first
    moving = world.executions.start(body, instantly=finish_first)
    if finish_first:
        await asyncio.wait({moving.task})
    elif wait := body.get("waitForMs"):
        await asyncio.wait({moving.task}, timeout=wait / 1000)
    return JSONResponse(moving.subject.record(), 201)


async def get_execution(world: World, request: Request, fault: Fault | None) -> Response:
    return JSONResponse(_execution(world, request).subject.record())


async def stream_execution(world: World, request: Request, fault: Fault | None) -> Response:
    return _stream(world, request, fault, _execution(world, request), ExecutionWriter())


async def replay_callback(world: World, request: Request, fault: Fault | None) -> Response:
    execution = _execution(world, request).subject
    if execution.callback.url is None:
        raise ApiError(409, "no callback url", code="NO_CALLBACK")
    if not execution.is_terminal:
        raise ApiError(409, "the execution has not ended")
    world.executions.deliver(execution)
    return JSONResponse({}, 201)


async def list_components(world: World, request: Request, fault: Fault | None) -> Response:
    return JSONResponse([module.as_json() for module in CATALOGUE.values()])


async def nothing_there(world: World, request: Request, fault: Fault | None) -> Response:
    raise ApiError(404, f"Cannot {request.method} {request.url.path}")


def _endpoint(name: str, handler: Handler, *, needs_key: bool = True) -> Callable[[Request], Awaitable[Response]]:
    """Wrap a handler with what all endpoints share: faults, the API key, errors and the request log."""

    async def obey(world: World, request: Request, fault: Fault | None) -> Response:
        try:
            if needs_key:
                await _authenticate(world, request)
            return await handler(world, request, fault)
        except ApiError as error:
            return error.response()

    async def answer(world: World, request: Request, fault: Fault | None) -> Response:
        if fault is None:
            return await obey(world, request, None)
        obeyed = await obey(world, request, fault) if fault.obey else None
        await world.pause(fault.delay)
        return faulty_response(fault, request) or obeyed or await obey(world, request, fault)

    async def endpoint(request: Request) -> Response:
        world: World = request.app.state.world
        await request.body()  # a fault may break the connection, but not while the client is sending
        fault = world.faults.take(name)
        response = await answer(world, request, fault)
        if world.drifts(fault) and isinstance(response, JSONResponse):
            response = _drifted(name, response)
        world.requests.append(
            {
                "endpoint": name,
                "method": request.method,
                "path": request.url.path,
                "status": response.status_code or None,
            }
        )
        return response

    return endpoint


def _drifted(name: str, response: JSONResponse) -> Response:
    """Return the answer of a slightly different server."""
    status, body = drift.answer(name, response.status_code, json.loads(bytes(response.body)))
    headers = {key: value for key, value in response.headers.items() if key != "content-length"}
    return Response(drift.text(body), status, headers)


_WORKFLOW = "/v1/sdk/workflows/{workflow_id}"
_RUN = "/v1/sdk/workflows/executions/{run_id}"
_COMPONENTS = "/v1/sdk/components"
_EXECUTION = _COMPONENTS + "/executions/{execution_id}"

ROUTES = [
    Route(_WORKFLOW, _endpoint("trigger", trigger), methods=["POST"]),
    Route(_WORKFLOW + "/components/{component_id}", _endpoint("update", update), methods=["POST"]),
    Route(_RUN, _endpoint("get_run", get_run), methods=["GET"]),
    Route(_RUN + "/stream", _endpoint("stream", stream), methods=["GET"]),
    Route(_COMPONENTS, _endpoint("execute_component", execute_component), methods=["POST"]),
    Route(_EXECUTION, _endpoint("get_execution", get_execution), methods=["GET"]),
    Route(_EXECUTION + "/stream", _endpoint("stream_execution", stream_execution), methods=["GET"]),
    Route(_EXECUTION + "/replay-callback", _endpoint("replay_callback", replay_callback), methods=["POST"]),
    Route(
        "/v1/system/components",
        _endpoint("list_components", list_components, needs_key=False),
        methods=["GET"],
    ),
    Route(
        "/v1/{path:path}",
        _endpoint("unknown", nothing_there),
        methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
    ),
]


async def _authenticate(world: World, request: Request) -> None:
    if request.headers.get("X-Api-Key") not in (world.api_key, SCOPED_API_KEY):
        raise ApiError(401, "Invalid API key")
    key = world.settings.public_key
    if key and not is_signed(key, request.method, request.url.path, request.headers, await request.body()):
        raise ApiError(401, "Invalid signature")


def _workflow(world: World, request: Request) -> Workflow:
    workflow_id = request.path_params["workflow_id"]
    _check_scope(request)
    if workflow_id != world.workflow.id:
        raise ApiError(404, f"Workflow {workflow_id} not found")
    return world.workflow


def _run(world: World, request: Request) -> Moving[Run]:
    run_id = request.path_params["run_id"]
    moving = world.engine.runs.get(run_id)
    if moving is None:
        raise ApiError(404, f"Run {run_id} not found")
    _check_scope(request)
    return moving


def _execution(world: World, request: Request) -> Moving[ComponentExecution]:
    execution_id = request.path_params["execution_id"]
    moving = world.executions.get(execution_id)
    if moving is None:
        raise ApiError(404, f"Execution {execution_id} not found")
    return moving


def _check_scope(request: Request) -> None:
    if request.headers["X-Api-Key"] == SCOPED_API_KEY:
        raise ApiError(403, "API key has no access to this workflow")


def load_public_key(text: str) -> Ed25519PublicKey:
    """Read a base64 DER SubjectPublicKeyInfo; ValueError if it is not an Ed25519 key."""
    key = load_der_public_key(base64.b64decode(text, validate=True))
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("the public key is not an Ed25519 key")
    return key


def is_signed(key: Ed25519PublicKey, method: str, path: str, headers: Mapping[str, str], body: bytes) -> bool:
    """Return whether the signature of `METHOD|PATH|TIMESTAMP|BODY` is valid; without a body, it is `{}`."""
    timestamp = headers.get("X-Sdk-Timestamp", "")
    if not (timestamp.isascii() and timestamp.isdigit() and abs(time.time() - int(timestamp)) <= MAX_SKEW):
        return False
    try:
        signature = base64.b64decode(headers.get("X-Sdk-Signature", ""), validate=True)
        key.verify(signature, f"{method}|{path}|{timestamp}|".encode() + (body or b"{}"))
    except (ValueError, InvalidSignature):
        return False
    return True
