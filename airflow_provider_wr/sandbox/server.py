"""The sandbox as an HTTP server in a thread of this process."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any, cast

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from airflow_provider_wr.sandbox import api, control, page
from airflow_provider_wr.sandbox.answers import ApiError
from airflow_provider_wr.sandbox.client import SandboxControl
from airflow_provider_wr.sandbox.engine import Settings, World
from airflow_provider_wr.sandbox.workflow import API_KEY, COMPONENTS, WORKFLOW_ID

if TYPE_CHECKING:
    import asyncio
    from types import TracebackType

    from starlette.requests import Request
    from starlette.responses import Response
    from typing_extensions import Self

STARTUP_TIMEOUT = 10
"""Maximum seconds for the server's thread to start."""


class Sandbox:
    """A local White Rabbit, which listens from its creation until `close`. Also a context manager.

    Port 0 lets the system choose. `heartbeat` is the time in seconds between two heartbeats of a stream; `speed`
    divides the duration of every stage. With `public_key` (an Ed25519 key as base64 DER SubjectPublicKeyInfo)
    every request must be signed. `drift` answers like a slightly different server. Raises OSError if it cannot
    listen, ValueError if the key is invalid or a number is not positive.
    """

    workflow_id = WORKFLOW_ID
    components = COMPONENTS

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        api_key: str = API_KEY,
        public_key: str | None = None,
        heartbeat: float = 15.0,
        speed: float = 1.0,
        drift: bool = False,
    ) -> None:
        key = api.load_public_key(public_key) if public_key else None
        settings = Settings(api_key, key, heartbeat, speed, drift)
        listener = socket.create_server((host, port))
        self.api_key = api_key
        self.url = f"http://{host}:{listener.getsockname()[1]}"
        self.control = SandboxControl(self.url)
        self._server = _Server(create_app(settings))
        self._thread = threading.Thread(
            target=self._server.run, args=([listener],), name="wr-sandbox", daemon=True
        )
        self._thread.start()
        if not self._server.ready.wait(STARTUP_TIMEOUT):
            raise RuntimeError("the sandbox did not start")

    @property
    def connection(self) -> dict[str, Any]:
        """The Airflow connection to this sandbox, in Airflow's JSON form."""
        return {
            "conn_type": "wr",
            "host": self.url,
            "password": self.api_key,
            "extra": {
                "workflow_id": self.workflow_id,
                "run_url": f"{self.url}/runs/{{run_id}}",
                "execution_url": f"{self.url}/executions/{{execution_id}}",
            },
        }

    def close(self) -> None:
        """Stop all runs, close all streams and stop listening; a second call does nothing."""
        self._server.should_exit = True
        self._thread.join()
        self.control.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def create_app(settings: Settings) -> Starlette:
    """Build the application; its current `World` is `app.state.world`."""
    app = Starlette(
        routes=[*api.ROUTES, *control.ROUTES, *page.ROUTES],
        exception_handlers={ApiError: _refuse},
    )
    app.state.world = World(settings)
    return app


async def _refuse(request: Request, error: Exception) -> Response:
    return cast("ApiError", error).response()


class _Server(uvicorn.Server):
    """Sets `ready` once it listens, and closes its streams on shutdown, which uvicorn would wait for."""

    def __init__(self, app: Starlette) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="asyncio",
                http=_Protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                timeout_graceful_shutdown=1,
            )
        )
        self.ready = threading.Event()
        self._app = app

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.state.world.close()
        await super().shutdown(sockets)


class _Protocol(H11Protocol):
    """Exposes the connection of a request as `request.state.transport`, for faults that break it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # asyncio does this only for its own sockets. Otherwise each answer on a reused connection takes 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.app_state = {**self.app_state, "transport": transport}
