"""Airflow's UI from a user's perspective: tests find elements by their labels."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from airflow_provider_wr import connection_form as form
from airflow_provider_wr.hooks.wr import WRHook
from airflow_provider_wr.sandbox.server import Sandbox
from dev.local_airflow import LocalAirflow

from .conftest import TakePicture
from .pages import Connections, DagPage, DagRunPage

DAG_ID = "example_wr_workflow"
SENSOR = "wait_for_run"
SECONDS = 10
"""How long the run's first stage takes."""


@pytest.fixture(scope="module")
def connection(page: Page, airflow: LocalAirflow, sandbox: Sandbox, take_picture: TakePicture) -> str:
    """The connection to the sandbox, made in the form."""
    dialog = Connections(page, airflow.url).add("wr_default")
    dialog.input("Base URL").fill(sandbox.url)
    dialog.input("API key").fill(sandbox.api_key)
    # Airflow 3.3.2 cannot test a connection without a port: its UI sends port 0, which its API takes for another
    # server (https://github.com/apache/airflow/pull/73298). The port of the base URL goes first.
    dialog.input("Port").fill(sandbox.url.rpartition(":")[2])
    take_picture(dialog.title, "connection-form", dialog.input("Schema"))
    dialog.open_section("Extra Fields")
    dialog.input("Workflow ID").fill(sandbox.workflow_id)
    dialog.input("Run URL").fill(sandbox.connection["extra"]["run_url"])
    take_picture(dialog.section("Extra Fields"), "connection-extra", dialog.field("Run URL"))
    dialog.submit("Save")
    return "wr_default"


@pytest.fixture(scope="module")
def hook(sandbox: Sandbox) -> Iterator[WRHook]:
    """A hook to prepare the sandbox."""
    with pytest.MonkeyPatch.context() as patch, WRHook("wr_sandbox") as hook:
        patch.setenv("AIRFLOW_CONN_WR_SANDBOX", json.dumps(sandbox.connection))
        yield hook


@pytest.fixture(scope="module")
def completed(
    page: Page, airflow: LocalAirflow, hook: WRHook, connection: str, take_picture: TakePicture
) -> DagRunPage:
    """A run of the example, triggered in the form, which waits and then succeeds."""
    # With SECONDS this makes 20 s, in which to see the sensor deferred and to have something told by its log.
    hook.update_component(Sandbox.components["Balance"], config={"seconds": 4})
    hook.update_component(Sandbox.components["Payment"], config={"seconds": 3, "failAttempts": 1})
    dag_run = DagPage(page, airflow.url, DAG_ID).trigger(apiUrl="https://api.example.com/rates", seconds=SECONDS)
    expect(dag_run.row(SENSOR)).to_contain_text("Deferred")
    take_picture(dag_run.heading, "grid-deferred", dag_run.tasks, width=1000)
    dag_run.expect_in_grid(SENSOR, "Deferred")
    expect(dag_run.row("inspect_stages")).to_contain_text("Success")
    return dag_run


def test_the_form_names_and_describes_every_field(page: Page, airflow: LocalAirflow) -> None:
    dialog = Connections(page, airflow.url).add("wr_described")
    labels = {"port": "Port", "schema": "Schema", **form.BEHAVIOUR["relabeling"]}
    for field, label in labels.items():
        expect(dialog.input(label)).to_have_attribute("placeholder", form.BEHAVIOUR["placeholders"][field])
    expect(dialog.input("API key")).to_have_attribute("type", "password")
    expect(dialog.field("Login")).to_have_count(0)

    dialog.open_section("Extra Fields")
    for extra in form.FIELDS.values():
        expect(dialog.field(extra["label"])).to_be_visible()
        expect(dialog.field(extra["label"])).to_contain_text(extra["description"])
    expect(dialog.input("API secret")).to_have_attribute("type", "password")


def test_the_test_button_accepts_a_valid_key(
    page: Page, airflow: LocalAirflow, sandbox: Sandbox, connection: str
) -> None:
    notification = Connections(page, airflow.url).test(connection)
    expect(notification).to_contain_text("Test Connection Successful")
    expect(notification).to_contain_text(f"The API at {sandbox.url} accepts the key")


def test_the_test_button_rejects_an_invalid_key(page: Page, airflow: LocalAirflow, sandbox: Sandbox) -> None:
    dialog = Connections(page, airflow.url).add("wr_refused")
    dialog.input("Base URL").fill(sandbox.url)
    dialog.input("API key").fill("ws_of_somebody_else")
    dialog.input("Port").fill(sandbox.url.rpartition(":")[2])  # as above
    dialog.submit("Save")
    notification = Connections(page, airflow.url).test("wr_refused")
    expect(notification).to_contain_text("Test Connection Failed")
    expect(notification).to_contain_text(f"The API at {sandbox.url} refuses the key")
    expect(notification).to_contain_text("Invalid API key")


def test_the_params_of_the_form_reach_the_component(sandbox: Sandbox, completed: DagRunPage) -> None:
    (config,) = (each["config"] for each in sandbox.control.components() if each["name"] == "Quote")
    assert config == {"apiUrl": "https://api.example.com/rates", "seconds": SECONDS}


def test_the_log_shows_progress_run_and_credits(
    sandbox: Sandbox, completed: DagRunPage, take_picture: TakePicture
) -> None:
    task = completed.open_task(SENSOR)
    expect(task.log).to_contain_text(
        re.compile(r"EXECUTING \| \d stages pending \| \d credits? \| running: [A-Z]")
    )
    expect(task.log).to_contain_text(f"run {sandbox.control.runs()[0]['id']} ended COMPLETED, 14 credits used")
    task.wrap_log()
    take_picture(task.log, "task-log", width=1000)


def test_the_button_leads_to_the_run(sandbox: Sandbox, completed: DagRunPage, take_picture: TakePicture) -> None:
    task = completed.open_task(SENSOR)
    take_picture(task.first_tab, "task-details", task.link("White Rabbit run"), width=1000)
    run_page = task.follow_link("White Rabbit run")
    expect(run_page.get_by_role("heading")).to_have_text(f"Run {sandbox.control.runs()[0]['id']}")
    expect(run_page.get_by_role("strong")).to_have_text("COMPLETED")
    expect(run_page.get_by_role("row").filter(has_text="SEND_EVM_TRANSACTION")).to_have_count(5)
    take_picture(run_page.get_by_role("heading"), "run-page", run_page.get_by_role("table"))
    run_page.close()


def test_the_log_names_the_stage_that_failed(
    page: Page,
    airflow: LocalAirflow,
    sandbox: Sandbox,
    hook: WRHook,
    completed: DagRunPage,
    take_picture: TakePicture,
) -> None:
    config = {"seconds": 0.2, "failWith": "the node does not answer"}
    hook.update_component(sandbox.components["Balance"], config=config)
    dag_run = DagPage(page, airflow.url, DAG_ID).trigger(seconds=0)
    expect(dag_run.row(SENSOR)).to_contain_text("Failed")
    task = dag_run.open_task(SENSOR)
    log = task.log
    expect(log).to_contain_text(f"run {sandbox.control.runs()[-1]['id']} ended FAILED")
    expect(log).to_contain_text("GET_EVM_ACCOUNT_BALANCE")
    expect(log).to_contain_text("the node does not answer")
    expect(log).to_contain_text("WRRunFailedError")
    expect(log).not_to_contain_text("During handling")
    take_picture(task.first_tab, "task-failed", log.get_by_text("the node does not answer").first, width=1000)


def test_the_approver_sees_what_will_be_sent(page: Page, airflow: LocalAirflow, take_picture: TakePicture) -> None:
    dag_run = DagPage(page, airflow.url, "example_wr_approval").trigger(suppliers=4)
    expect(dag_run.row("approve")).to_contain_text("Awaiting Input")
    page.goto(f"{dag_run.url}/tasks/approve/required_actions")
    expect(page.get_by_text("Pay 4 suppliers?")).to_be_visible()
    expect(page.get_by_role("code").filter(has_text='"count": 4')).to_be_visible()
    take_picture(page, "approval", page.get_by_role("button", name="Approve", exact=True), width=1000)
    page.get_by_role("button", name="Reject", exact=True).click()
    page.goto(dag_run.url)
    expect(dag_run.row("approve")).to_contain_text("Success")
    expect(dag_run.row("pay")).to_contain_text("Skipped")
