"""The URL of the run's page in Airflow, and the XCom that a task keeps for it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_1_PLUS, AIRFLOW_V_3_3_PLUS

#: The path of the plugin's pages on Airflow's API server.
PREFIX = "/wr"

#: The page's name among the plugin pages inside a task's page.
ROUTE = "wr-run"

#: The XCom that says which run the page shows.
XCOM_KEY = "wr_page"


def page_url(ti: Any) -> str | None:
    """
    Return the URL of the page, relative to Airflow's base URL; None below Airflow 3.1.

    From Airflow 3.3 on, it is inside the task's page; before, it stands alone.

    :param ti: a task instance, or its key.
    """
    if not AIRFLOW_V_3_1_PLUS:
        return None
    dag_id, run_id, task_id = (quote(each, safe="") for each in (ti.dag_id, ti.run_id, ti.task_id))
    place = f"dags/{dag_id}/runs/{run_id}/tasks/{task_id}"
    if not AIRFLOW_V_3_3_PLUS:
        return f"{PREFIX[1:]}/{place}/{ti.map_index}/"
    mapped = f"/mapped/{ti.map_index}" if ti.map_index >= 0 else ""
    return f"{place}{mapped}/plugin/{ROUTE}"


def page_xcoms(ti: Any, *, outputs: bool, **watched: str) -> dict[str, Any]:
    """
    Return what a task keeps for its page; nothing below Airflow 3.1.

    :param outputs: whether the page may show the outputs of stages.
    :param watched: what the page shows: ``run_id``, or ``execution_id``.
    """
    return {} if page_url(ti) is None else {XCOM_KEY: {**watched, "outputs": outputs}}
