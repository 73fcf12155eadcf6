"""Reads a run from White Rabbit in the API server, with the task's connection."""

from __future__ import annotations

import threading
import time
from typing import Any, TypeVar

from airflow.models.connection import Connection

from airflow_provider_wr.api.watched import Watched
from airflow_provider_wr.connection import WRSettings
from airflow_provider_wr.exceptions import WRAuthError
from airflow_provider_wr.transport.requests import RequestsTransport

#: Maximum seconds for a read, since somebody is looking at the page.
PATIENCE = 8.0

#: Seconds for which a connection is reused, so that a secrets backend is not asked every second.
FRESH = 60.0

T = TypeVar("T")


class NoConnection(Exception):
    """The API server has no such connection, or cannot use it; the message says why."""


class _PerThread(threading.local):
    def __init__(self) -> None:
        self.transport = RequestsTransport()


_own = _PerThread()
_known: dict[tuple[str, str | None], tuple[float, WRSettings]] = {}


def read(watched: Watched[Any], conn_id: str, team: str | None) -> Any:
    """
    Read a run, once. Blocks.

    :param team: the team that owns the connection; None if it has none.

    Raises :class:`NoConnection`, or the same errors as the hook.
    """
    settings = _settings(conn_id, team)
    try:
        return _own.transport.send(watched.read, settings, within=PATIENCE)
    except WRAuthError:
        _known.pop((conn_id, team), None)  # the key may have been rotated
        raise


def _settings(conn_id: str, team: str | None) -> WRSettings:
    looked_up_at, settings = _known.get((conn_id, team), (float("-inf"), None))
    if settings is None or time.monotonic() > looked_up_at + FRESH:
        try:
            # Airflow's model, since the SDK finds no connection of the database outside a task.
            named = {} if team is None else {"team_name": team}
            settings = WRSettings.from_connection(Connection.get_connection_from_secrets(conn_id, **named))
        except Exception as error:
            raise NoConnection(str(error)) from error
        _known[conn_id, team] = (time.monotonic(), settings)
    return settings
