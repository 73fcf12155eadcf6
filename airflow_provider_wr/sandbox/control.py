"""The control API under /_sandbox: faults, and what the sandbox has seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from airflow_provider_wr.sandbox.answers import ApiError, json_object
from airflow_provider_wr.sandbox.engine import World
from airflow_provider_wr.sandbox.faults import Fault

if TYPE_CHECKING:
    from starlette.requests import Request


def _world(request: Request) -> World:
    world: World = request.app.state.world
    return world


async def list_faults(request: Request) -> Response:
    return JSONResponse(_world(request).faults.as_json())


async def add_fault(request: Request) -> Response:
    try:
        fault = Fault(**await json_object(request))
    except (TypeError, ValueError) as error:
        raise ApiError(422, str(error)) from error
    _world(request).faults.add(fault)
    return Response(status_code=204)


async def clear_faults(request: Request) -> Response:
    _world(request).faults.clear()
    return Response(status_code=204)


async def list_runs(request: Request) -> Response:
    executions = _world(request).engine.executions.values()
    return JSONResponse([execution.run.summary() for execution in executions])


async def list_requests(request: Request) -> Response:
    return JSONResponse(list(_world(request).requests))


async def list_components(request: Request) -> Response:
    components = _world(request).workflow.components.values()
    return JSONResponse([component.as_json() for component in components])


async def rotate_key(request: Request) -> Response:
    match await json_object(request):
        case {"apiKey": str(api_key)}:
            _world(request).api_key = api_key
            return Response(status_code=204)
        case _:
            raise ApiError(422, "apiKey must be a string")


async def reset(request: Request) -> Response:
    world = _world(request)
    request.app.state.world = World(world.settings)
    world.close()
    return Response(status_code=204)


ROUTES = [
    Route("/_sandbox/faults", list_faults, methods=["GET"]),
    Route("/_sandbox/faults", add_fault, methods=["POST"]),
    Route("/_sandbox/faults", clear_faults, methods=["DELETE"]),
    Route("/_sandbox/runs", list_runs, methods=["GET"]),
    Route("/_sandbox/requests", list_requests, methods=["GET"]),
    Route("/_sandbox/components", list_components, methods=["GET"]),
    Route("/_sandbox/key", rotate_key, methods=["POST"]),
    Route("/_sandbox/reset", reset, methods=["POST"]),
]
