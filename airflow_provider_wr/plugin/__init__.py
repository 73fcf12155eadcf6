"""The run's page inside Airflow, as a plugin (entry point ``airflow.plugins``)."""

from __future__ import annotations

import logging
from functools import cached_property
from typing import Any

from airflow.providers.common.compat.sdk import AirflowPlugin
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_1_PLUS, AIRFLOW_V_3_3_PLUS

from airflow_provider_wr.links.page import PREFIX, ROUTE

log = logging.getLogger(__name__)


class WhiteRabbitPlugin(AirflowPlugin):
    """
    Adds the page to Airflow's API server.

    Every Airflow process loads this class, but only the API server asks for its apps and views. They are
    properties, so no other process imports FastAPI.
    """

    name = "white_rabbit"

    @property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The app that serves the page; none below Airflow 3.1, or if Airflow's access check is missing."""
        return [] if self._app is None else [{"app": self._app, "url_prefix": PREFIX, "name": "White Rabbit"}]

    @property
    def external_views(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The page inside a task's page (Airflow 3.3). It has no tab, which Airflow would show on every task."""
        if self._app is None or not AIRFLOW_V_3_3_PLUS:
            return []
        place = "dags/{DAG_ID}/runs/{RUN_ID}/tasks/{TASK_ID}/{MAP_INDEX}/"
        return [
            {
                "name": "White Rabbit run",
                "href": f"{PREFIX[1:]}/{place}",
                "destination": "base",
                "url_route": ROUTE,
            }
        ]

    @cached_property
    def _app(self) -> Any:
        if not AIRFLOW_V_3_1_PLUS:  # 3.0 does not accept the browser's cookie on a plugin's page
            return None
        try:
            from airflow_provider_wr.plugin.app import make_app

            return make_app()
        except Exception:
            # Nothing is shown without Airflow's access check, and the API server must start in any case.
            log.exception("The White Rabbit run page is off")
            return None
