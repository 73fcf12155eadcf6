"""The button that links a task to its run."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_1_PLUS, AIRFLOW_V_3_3_PLUS
from dags.running import run_tasks
from hooks.conftest import Serve
from servers import RUN_ID, WORKFLOW_ID, Peer, Request, run

from airflow_provider_wr.links.wr import WRRunLink
from airflow_provider_wr.operators.wr import WRGetRunOperator, WRTriggerRunOperator
from airflow_provider_wr.sensors.wr import WRRunSensor

pytestmark = pytest.mark.usefixtures("airflow_db")

TASKS = """
WRTriggerRunOperator(task_id="trigger")
WRGetRunOperator(task_id="get", run_id=RUN_ID)
WRRunSensor(task_id="poke", run_id=RUN_ID)
WRRunSensor(task_id="defer", run_id=RUN_ID, deferrable=True)
"""


def script(request: Request, peer: Peer) -> None:
    if request.is_trigger:
        peer.answer(201, {"runId": RUN_ID, "jobId": "bull-1"})
    else:
        peer.answer(200, run("COMPLETED"))


@pytest.mark.parametrize(
    ("run_url", "link"),
    [
        ("https://wr.example/runs/{run_id}", f"https://wr.example/runs/{RUN_ID}"),
        ("https://wr.example/{workflow_id}/{run_id}", f"https://wr.example/{WORKFLOW_ID}/{RUN_ID}"),
    ],
)
def test_each_task_leaves_the_link_of_its_run(serve: Serve, run_url: str, link: str) -> None:
    serve(script, run_url=run_url)
    xcoms = run_tasks(TASKS).xcoms
    links = {task_id: each.get("wr_run_url", "") for task_id, each in xcoms.items()}
    assert links == dict.fromkeys(("trigger", "get", "poke", "defer"), link)


def test_without_a_run_url_it_leads_to_the_page_inside_airflow(serve: Serve) -> None:
    serve(script)
    done = run_tasks(f"{TASKS}\nWRGetRunOperator.partial(task_id='mapped').expand(run_id=[RUN_ID])")
    run_id = quote(done.run_id, safe="")
    for task_id, xcoms in done.xcoms.items():
        place = f"dags/{done.dag_id}/runs/{run_id}/tasks/{task_id}"
        if AIRFLOW_V_3_3_PLUS:
            expected = f"{place}{'/mapped/0' if task_id == 'mapped' else ''}/plugin/wr-run"
        elif AIRFLOW_V_3_1_PLUS:
            expected = f"wr/{place}/{0 if task_id == 'mapped' else -1}/"
        else:
            expected = ""  # Airflow itself pushes what get_link() returned
        assert xcoms.get("wr_run_url", "") == expected


@pytest.mark.parametrize("operator", [WRGetRunOperator, WRTriggerRunOperator, WRRunSensor])
def test_each_operator_shows_the_button(operator: Any) -> None:
    assert [type(link) for link in operator.operator_extra_links] == [WRRunLink]


def test_the_button_has_a_name_and_a_place_for_its_url() -> None:
    link = WRRunLink()
    assert link.name == "White Rabbit run"
    assert link.xcom_key == "wr_run_url"
