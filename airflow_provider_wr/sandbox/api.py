"""The White Rabbit API: four endpoints under /v1."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from airflow_provider_wr.sandbox.answers import ApiError, faulty_response
from airflow_provider_wr.sandbox.bodies import json_object, update_problems
from airflow_provider_wr.sandbox.signature import is_signed
from airflow_provider_wr.sandbox.stream import event_stream
from airflow_provider_wr.sandbox.workflow import SCOPED_API_KEY

if TYPE_CHECKING:
    from starlette.requests import Request

    from airflow_provider_wr.sandbox.engine import Execution
    from airflow_provider_wr.sandbox.faults import Fault
    from airflow_provider_wr.sandbox.workflow import Workflow
    from airflow_provider_wr.sandbox.world import World

Handler = Callable[["World", "Request", "Fault | None"], Awaitable[Response]]


async def trigger(world: World, request: Request, fault: Fault | None) -> Response:
    workflow = _workflow(world, request)
    if unknown := await json_object(request):
        raise ApiError(422, *(f"property {name} should not exist" for name in unknown))
    finish_first = fault is not None and fault.finish_first
    execution = world.engine.start(workflow, instantly=finish_first)
    if finish_first:
        await asyncio.wait({execution.task})
    return JSONResponse({"runId": execution.run.id, "jobId": execution.run.job_id}, 201)


async def get_run(world: World, request: Request, fault: Fault | None) -> Response:
    return JSONResponse(_execution(world, request).run.detail())


async def stream(world: World, request: Request, fault: Fault | None) -> Response:
    # Subscribed before the answer begins: whoever sees the answer misses nothing from then on.
    subscription = _execution(world, request).feed.subscribe()
    return event_stream(subscription, world.settings.heartbeat, request.state.transport, fault)


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


async def nothing_there(world: World, request: Request, fault: Fault | None) -> Response:
    raise ApiError(404, f"Cannot {request.method} {request.url.path}")


def _endpoint(name: str, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """Wrap a handler in what all share: the fault it may meet, the key, errors and the log."""

    async def obey(world: World, request: Request, fault: Fault | None) -> Response:
        try:
            await _authenticate(world, request)
            return await handler(world, request, fault)
        except ApiError as error:
            return error.response()

    async def answer(world: World, request: Request, fault: Fault | None) -> Response:
        if fault is None:
            return await obey(world, request, None)
        obeyed = await obey(world, request, fault) if fault.obey else None
        await world.pause(fault.delay)
        return faulty_response(fault) or obeyed or await obey(world, request, fault)

    async def endpoint(request: Request) -> Response:
        world: World = request.app.state.world
        await request.body()  # a fault may break the connection, but never while the client still sends
        response = await answer(world, request, world.faults.take(name))
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


_WORKFLOW = "/v1/sdk/workflows/{workflow_id}"
_RUN = "/v1/sdk/workflows/executions/{run_id}"

ROUTES = [
    Route(_WORKFLOW, _endpoint("trigger", trigger), methods=["POST"]),
    Route(_WORKFLOW + "/components/{component_id}", _endpoint("update", update), methods=["POST"]),
    Route(_RUN, _endpoint("get_run", get_run), methods=["GET"]),
    Route(_RUN + "/stream", _endpoint("stream", stream), methods=["GET"]),
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


def _execution(world: World, request: Request) -> Execution:
    run_id = request.path_params["run_id"]
    execution = world.engine.executions.get(run_id)
    if execution is None:
        raise ApiError(404, f"Run {run_id} not found")
    _check_scope(request)
    return execution


def _check_scope(request: Request) -> None:
    if request.headers["X-Api-Key"] == SCOPED_API_KEY:
        raise ApiError(403, "API key has no access to this workflow")
