"""The control API under /_sandbox: faults, runs, executions and the request log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from airflow_provider_wr.sandbox.answers import ApiError, json_object
from airflow_provider_wr.sandbox.components import CATALOGUE
from airflow_provider_wr.sandbox.engine import World
from airflow_provider_wr.sandbox.faults import Fault
from airflow_provider_wr.sandbox.workflow import Behaviour

if TYPE_CHECKING:
    from starlette.requests import Request


STEERING = {"seconds", "hold", "failAttempts", "failWith", "answerWith"}
"""The config keys that control executions of a module."""


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
    runs = _world(request).engine.runs.values()
    return JSONResponse([moving.subject.summary() for moving in runs])


async def list_executions(request: Request) -> Response:
    return JSONResponse([execution.summary() for execution in _world(request).executions])


async def list_requests(request: Request) -> Response:
    return JSONResponse(list(_world(request).requests))


async def list_components(request: Request) -> Response:
    components = _world(request).workflow.components.values()
    return JSONResponse([component.as_json() for component in components])


async def reset_components(request: Request) -> Response:
    _world(request).workflow.reset_components()
    return Response(status_code=204)


async def steer(request: Request) -> Response:
    module = request.path_params["module"]
    if module not in CATALOGUE:
        raise ApiError(404, f"Module {module} not found")
    config = await json_object(request)
    if unknown := config.keys() - STEERING:
        raise ApiError(422, *(f"property {name} should not exist" for name in sorted(unknown)))
    try:
        Behaviour.from_config(config)
    except ValueError as error:
        raise ApiError(422, str(error)) from error
    _world(request).executions.steer(module, config)
    return Response(status_code=204)


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
    Route("/_sandbox/executions", list_executions, methods=["GET"]),
    Route("/_sandbox/modules/{module}", steer, methods=["POST"]),
    Route("/_sandbox/requests", list_requests, methods=["GET"]),
    Route("/_sandbox/components", list_components, methods=["GET"]),
    Route("/_sandbox/components/reset", reset_components, methods=["POST"]),
    Route("/_sandbox/key", rotate_key, methods=["POST"]),
    Route("/_sandbox/reset", reset, methods=["POST"]),
]
