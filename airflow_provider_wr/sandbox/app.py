"""The sandbox as an ASGI application."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from starlette.applications import Starlette

from airflow_provider_wr.sandbox import api, control, page
from airflow_provider_wr.sandbox.answers import ApiError
from airflow_provider_wr.sandbox.world import World

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from airflow_provider_wr.sandbox.world import Settings


def create_app(settings: Settings) -> Starlette:
    """Build the application; its present `World` is `app.state.world`."""
    app = Starlette(
        routes=[*api.ROUTES, *control.ROUTES, *page.ROUTES],
        exception_handlers={ApiError: _refuse},
    )
    app.state.world = World(settings)
    return app


async def _refuse(request: Request, error: Exception) -> Response:
    return cast("ApiError", error).response()
