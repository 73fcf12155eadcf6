"""What Airflow's processes load of the plugin, and what each version of Airflow gets."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pytest
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_1_PLUS, AIRFLOW_V_3_3_PLUS

from airflow_provider_wr.plugin import WhiteRabbitPlugin


def test_airflow_finds_it() -> None:
    (entry,) = entry_points(group="airflow.plugins", name="white_rabbit")
    assert entry.load() is WhiteRabbitPlugin


def test_each_airflow_gets_what_it_can_show() -> None:
    plugin = WhiteRabbitPlugin()
    assert [each["url_prefix"] for each in plugin.fastapi_apps] == (["/wr"] if AIRFLOW_V_3_1_PLUS else [])
    views = [(each["destination"], each["url_route"]) for each in plugin.external_views]
    assert views == ([("base", "wr-run")] if AIRFLOW_V_3_3_PLUS else [])


def test_airflow_loads_it_without_an_error() -> None:
    code = "import logging; logging.basicConfig(); from airflow import plugins_manager as m; m.get_plugin_info()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for words in ("Failed to", "run page is off"):
        assert words not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "load",
    [
        "import airflow_provider_wr.plugin",
        "from airflow import plugins_manager; plugins_manager.ensure_plugins_loaded()",
        "from airflow import plugins_manager; plugins_manager.integrate_macros_plugins()",
    ],
    ids=["alone", "as any process", "as a parser"],
)
def test_no_process_but_the_api_server_loads_the_page(load: str) -> None:
    code = (
        f"import sys; from airflow.providers.common.compat.sdk import AirflowPlugin; "
        f"before = set(sys.modules); {load}; new = set(sys.modules) - before; "
        "print(sorted(name for name in new if name.startswith('airflow_provider_wr') or name == 'fastapi'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours = {"airflow_provider_wr", "airflow_provider_wr.links", "airflow_provider_wr.links.page"}
    loaded = set(eval(done.stdout.splitlines()[-1]))  # noqa: S307 - a list that we printed
    assert "airflow_provider_wr.plugin" in loaded
    assert loaded <= {*ours, "airflow_provider_wr.plugin", "airflow_provider_wr.policy"}
