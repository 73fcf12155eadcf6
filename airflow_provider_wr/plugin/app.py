"""The routes of the run's page. Each first asks Airflow whether the user may read the XComs of the DAG."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Annotated, Any

# Airflow's own access check. If it cannot be imported, there is no page.
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import requires_access_dag
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException as AnyHTTPException

from airflow_provider_wr import __version__
from airflow_provider_wr.plugin.cache import Cache
from airflow_provider_wr.plugin.snapshot import Snapshot, look
from airflow_provider_wr.plugin.task import Place

STATIC = files(__package__) / "static"

#: Nothing from other hosts, scripts and styles only from our own files, and framed only by Airflow.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

#: What a browser shows instead of the page.
REFUSALS = {
    401: "Log in to Airflow, then open this page again.",
    403: "Airflow does not let you read the XComs of this DAG, which this page shows.",
    404: "Airflow has no such task.",
}

#: The map index in the URL of a task that is not mapped. Airflow leaves its placeholder unreplaced.
UNMAPPED = ("-1", "{MAP_INDEX}")

router = APIRouter(prefix="/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/{map_index}")


def make_app() -> FastAPI:
    """Return the app, without FastAPI's documentation pages, which check no access."""
    app = FastAPI(
        title="White Rabbit",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(requires_access_dag("GET", DagAccessEntity.XCOM))],
        exception_handlers={AnyHTTPException: _refuse},
    )
    app.state.cache = Cache(look)
    app.include_router(router)
    app.middleware("http")(_add_headers)
    return app


def _place(dag_id: str, run_id: str, task_id: str, map_index: str) -> Place:
    if map_index in UNMAPPED:
        return Place(dag_id, run_id, task_id, -1)
    if map_index.isascii() and map_index.isdigit() and len(map_index) < 10:
        return Place(dag_id, run_id, task_id, int(map_index))
    raise HTTPException(404, REFUSALS[404])


async def _look(request: Request, place: Annotated[Place, Depends(_place)]) -> Snapshot:
    cache: Cache[Place, Snapshot] = request.app.state.cache
    found = await cache.get(place)
    if found is None:
        raise HTTPException(404, REFUSALS[404])
    return found


Found = Annotated[Snapshot, Depends(_look)]


@router.get("/")
async def show_page() -> HTMLResponse:
    """Return the page, which is the same for everyone; its script asks for the rest."""
    return HTMLResponse(STATIC.joinpath("page.html").read_text().replace("VERSION", __version__))


@router.get("/run")
async def show_run(
    found: Found,
    page: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
    status: Annotated[str, Query(max_length=200)] = "",
) -> JSONResponse:
    """Return the run, and one page of its stages."""
    return JSONResponse(await asyncio.to_thread(found.page, page, status))


@router.get("/stages/{number}")
async def show_stage(found: Found, number: int) -> JSONResponse:
    """Return the output and the error of one stage."""
    stage = await asyncio.to_thread(found.stage, number)
    if stage is None:
        raise HTTPException(404, "The run has no such stage.")
    return JSONResponse(stage)


@router.get("/page.css")
async def show_style() -> Response:
    return _file("page.css", "text/css")


@router.get("/page.js")
async def show_script() -> Response:
    return _file("page.js", "text/javascript")


def _file(name: str, media_type: str) -> Response:
    headers = {"Cache-Control": "private, max-age=300"}
    return Response(STATIC.joinpath(name).read_bytes(), media_type=media_type, headers=headers)


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, AnyHTTPException)  # noqa: S101 - registered for no other
    if request.url.path.endswith("/"):
        text = REFUSALS.get(error.status_code, "There is no page here.")
        return HTMLResponse(f"<!doctype html><title>White Rabbit</title><p>{text}", error.status_code)
    return JSONResponse({"detail": error.detail}, error.status_code, error.headers)


async def _add_headers(request: Request, send: Callable[[Request], Awaitable[Any]]) -> Any:
    response = await send(request)
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response
