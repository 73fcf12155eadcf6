"""The files of ``docs/deploy`` agree with each other, with this package and with Airflow."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.configuration import conf
from airflow.models import Connection

from airflow_provider_wr.connection import WRSettings
from airflow_provider_wr.sandbox.workflow import API_KEY, WORKFLOW_ID

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "docs" / "deploy"

COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
VALUES: dict[str, Any] = yaml.safe_load((DEPLOY / "values.yaml").read_text())
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()

#: Sections of other packages: Celery's provider, and Celery itself.
OF_OTHERS = {"celery", "celery_broker_transport_options"}

OURS = [name for name, service in COMPOSE["services"].items() if "build" in service]


def is_known(section: str, option: str) -> bool:
    """Return whether Airflow has the option, or other packages the section."""
    known = conf.configuration_description
    return section in OF_OTHERS or (section in known and option in known[section]["options"])


def test_all_name_the_version_of_airflow_that_is_tested() -> None:
    (tested,) = re.findall(r"^AIRFLOW := apache-airflow==(.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert f"ARG AIRFLOW_VERSION={tested}\n" in DOCKERFILE
    assert {VALUES["airflowVersion"], VALUES["images"]["airflow"]["tag"]} == {tested}
    assert {COMPOSE["services"][name]["image"] for name in OURS} == {f"airflow-wr:{tested}"}


def test_what_the_image_is_made_of_is_there() -> None:
    copied = re.findall(r"^COPY --chown=\S+ (.*) \S+$", DOCKERFILE, re.MULTILINE)

    assert [path for line in copied for path in line.split() if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("name", sorted(set(OURS) - {"sandbox"}))
def test_compose_settings_are_airflows(name: str) -> None:
    environment = COMPOSE["services"][name]["environment"]
    settings = [key.lower().split("__")[1:] for key in environment if key.startswith("AIRFLOW__")]

    assert {"executor", "sql_alchemy_conn", "broker_url"} <= {option for _, option in settings}
    assert [each for each in settings if not is_known(*each)] == []


def test_chart_settings_are_airflows() -> None:
    settings = [(section, option) for section, options in VALUES["config"].items() for option in options]

    assert [each for each in settings if not is_known(*each)] == []


@pytest.mark.parametrize("name", ["triggerer", "worker", "api-server"])
def test_compose_leads_to_the_sandbox(name: str) -> None:
    text = COMPOSE["services"][name]["environment"]["AIRFLOW_CONN_WR_DEFAULT"]
    settings = WRSettings.from_connection(Connection.from_json(text, conn_id="wr_default"))

    assert settings.base_url == "http://sandbox:8787"
    assert (settings.api_key, settings.workflow_id) == (API_KEY, WORKFLOW_ID)


def test_compose_mounts_the_example_dags() -> None:
    mounts = [volume.split(":")[0] for volume in COMPOSE["services"]["worker"]["volumes"]]

    assert (DEPLOY / mounts[0]).resolve() == ROOT / "example_dags"


def test_compose_has_two_of_what_may_be_several() -> None:
    replicas = {name: COMPOSE["services"][name]["deploy"]["replicas"] for name in ("worker", "triggerer")}

    assert replicas == {"worker": 2, "triggerer": 2}
