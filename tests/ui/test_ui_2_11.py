"""The connection form of Airflow 2.11, which differs from that of Airflow 3."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from environments import ROOT, CleanEnvironment, uv
from playwright.sync_api import Page, expect

from airflow_provider_wr import connection_form as form
from airflow_provider_wr.sandbox.server import Sandbox
from dev.local_airflow import free_port
from dev.processes import Processes

from .pages_2_11 import ConnectionForm, Connections

CONSTRAINTS = ROOT / "dev" / "constraints-2.11.txt"
PYTHONS = ">=3.10,<3.13"
"""Those that both Airflow 2.11 and we run on."""

EXTRA: dict[str, Any] = {
    "workflow_id": Sandbox.workflow_id,
    "api_secret": "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g",
    "run_url": "https://example.com/{run_id}",
    "execution_url": "https://example.com/{execution_id}",
    "connect_timeout": "5",
    "read_timeout": "7.5",
    "verify": "false",
    "harmless_modules": "SIGN, API_CALL",
    "allow_http": True,
    "allow_concurrent_updates": True,
}

READ = """
import dataclasses, json, sys
from airflow.hooks.base import BaseHook
from airflow_provider_wr.connection import WRSettings

connection = BaseHook.get_connection(sys.argv[1])
settings = dataclasses.replace(WRSettings.from_connection(connection), signer=None)
print(json.dumps([connection.extra_dejson, dataclasses.asdict(settings)]))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> CleanEnvironment:
    """An environment with an Airflow 2.11 and the checkout."""
    try:
        python = uv("python", "find", "--no-python-downloads", PYTHONS).strip()
    except subprocess.CalledProcessError:
        pytest.skip(f"there is no Python {PYTHONS}, which Airflow 2.11 needs")
    folder = tmp_path_factory.mktemp("airflow-2.11")
    requirements = ("apache-airflow==2.11.*", "--editable", str(ROOT))
    return CleanEnvironment.make(folder, *requirements, python=python, constraints=CONSTRAINTS)


@pytest.fixture(scope="module")
def url(environment: CleanEnvironment) -> Iterator[str]:
    """The URL of that Airflow's webserver, which treats everyone as an admin."""
    environment.airflow_home.mkdir()
    (environment.airflow_home / "webserver_config.py").write_text("AUTH_ROLE_PUBLIC = 'Admin'\n")
    environment.run("airflow", "db", "migrate")
    port = free_port()
    command = [str(environment.program("airflow")), "webserver"]
    options = ["--hostname", "127.0.0.1", "--port", str(port), "--workers", "1"]
    env = {
        **environment.env,
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        "AIRFLOW__WEBSERVER__WEB_SERVER_MASTER_TIMEOUT": "300",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
    with Processes(environment.airflow_home / "logs") as processes:
        processes.start("webserver", [*command, *options], env)
        wait_for_answer(f"http://127.0.0.1:{port}", processes)
        yield f"http://127.0.0.1:{port}"


def wait_for_answer(url: str, processes: Processes) -> None:
    """Wait until the webserver answers: it listens before it is ready."""
    deadline = time.monotonic() + 240
    with requests.Session() as session:
        session.trust_env = False
        while True:
            try:
                session.get(f"{url}/health", timeout=240).raise_for_status()
            except requests.ConnectionError:
                processes.check()
                assert time.monotonic() < deadline
                time.sleep(0.25)
            else:
                return


@pytest.fixture
def dialog(page: Page, url: str) -> ConnectionForm:
    """The form for a new connection."""
    return Connections(page, url).add("wr_new")


def fill_in(dialog: ConnectionForm, sandbox: Sandbox) -> None:
    """Fill in all fields of this package."""
    dialog.input("Base URL").fill(sandbox.url)
    dialog.input("API key").fill(sandbox.api_key)
    for name, value in EXTRA.items():
        field = dialog.input(form.FIELDS[name]["label"])
        field.check() if value is True else field.fill(value)


def test_the_form_names_and_describes_every_field(dialog: ConnectionForm) -> None:
    standard_labels = {"port": "Port", "schema": "Schema", **form.BEHAVIOUR["relabeling"]}
    labels = {**standard_labels, **{name: extra["label"] for name, extra in form.FIELDS.items()}}
    standard = ["Description", "Base URL", "Schema", "API key", "Port", "Extra"]
    assert dialog.labels()[2:] == [*standard, *(labels[name] for name in form.FIELDS)]
    for name, placeholder in form.BEHAVIOUR["placeholders"].items():
        expect(dialog.input(labels[name])).to_have_attribute("placeholder", placeholder)
    for name, extra in form.FIELDS.items():
        expect(dialog.row(labels[name])).to_contain_text(extra["description"])


def test_the_form_hides_what_is_secret(dialog: ConnectionForm) -> None:
    hidden = [label for label in dialog.labels()[2:] if dialog.input(label).get_attribute("type") == "password"]
    assert hidden == ["API key", "API secret"]


def test_the_test_button_checks_the_key(dialog: ConnectionForm, sandbox: Sandbox) -> None:
    fill_in(dialog, sandbox)
    dialog.input("API key").fill("ws_of_somebody_else")
    answer = dialog.test()
    expect(answer).to_contain_text(f"The API at {sandbox.url} refuses the key")
    expect(answer).to_contain_text("Invalid API key")

    dialog.input("API key").fill(sandbox.api_key)
    expect(dialog.test()).to_contain_text(f"The API at {sandbox.url} accepts the key")


def test_what_was_saved_is_kept_when_the_form_is_saved_again(
    page: Page, url: str, environment: CleanEnvironment, sandbox: Sandbox
) -> None:
    connections = Connections(page, url)
    dialog = connections.add("wr_saved")
    fill_in(dialog, sandbox)
    expect(dialog.save()).to_contain_text("Added Row")

    dialog = connections.edit("wr_saved")
    shown = {name: dialog.value(form.FIELDS[name]["label"]) for name in EXTRA}
    assert shown == {**EXTRA, "api_secret": form.STORED_SECRET}
    assert (dialog.value("Base URL"), dialog.value("API key")) == (sandbox.url, "")
    dialog.input("Description").fill("saved again")
    expect(dialog.save()).to_contain_text("Changed Row")

    extra, settings = json.loads(environment.run("python", "-c", READ, "wr_saved").splitlines()[-1])
    assert extra == EXTRA
    assert settings == {
        "base_url": sandbox.url,
        "api_key": sandbox.api_key,
        "signer": None,
        "workflow_id": sandbox.workflow_id,
        "connect_timeout": 5.0,
        "read_timeout": 7.5,
        "verify": False,
        "run_url": "https://example.com/{run_id}",
        "execution_url": "https://example.com/{execution_id}",
        "allow_concurrent_updates": True,
        "harmless_modules": ["SIGN", "API_CALL"],
        "conn_id": "wr_saved",
    }


@pytest.mark.parametrize(("text", "ticked"), [("true", True), ("false", False)])
def test_a_checkbox_reads_a_string(page: Page, url: str, text: str, ticked: bool) -> None:
    extra = json.dumps({"allow_http": text})
    stored = {"connection_id": f"wr_{text}", "conn_type": "wr", "extra": extra}
    expect(page.request.post(f"{url}/api/v1/connections", data=stored)).to_be_ok()
    assert Connections(page, url).edit(f"wr_{text}").value("Allow plain http") is ticked


def test_what_is_secret_must_be_typed_again_to_be_tested(page: Page, url: str, sandbox: Sandbox) -> None:
    connections = Connections(page, url)
    dialog = connections.add("wr_tested")
    fill_in(dialog, sandbox)
    expect(dialog.save()).to_contain_text("Added Row")

    dialog = connections.edit("wr_tested")
    expect(dialog.test()).to_contain_text("enter the API key and secret again to test them")
    dialog.input("API key").fill(sandbox.api_key)
    dialog.input("API secret").fill(EXTRA["api_secret"])
    expect(dialog.test()).to_contain_text("accepts the key")


def test_a_form_that_comes_back_has_no_secret_that_was_typed(page: Page, url: str, sandbox: Sandbox) -> None:
    connections = Connections(page, url)
    dialog = connections.add("wr_came_back")
    fill_in(dialog, sandbox)
    dialog.input("Port").fill("the usual one")
    dialog.save()
    assert [dialog.value(label) for label in ("Port", "API key", "API secret")] == ["the usual one", "", ""]

    fill_in(dialog, sandbox)
    dialog.input("Port").fill("")
    expect(dialog.save()).to_contain_text("Added Row")
    dialog = connections.edit("wr_came_back")
    dialog.input("Port").fill("the usual one")
    dialog.save()
    assert [dialog.value(label) for label in ("Port", "API secret")] == ["the usual one", form.STORED_SECRET]
