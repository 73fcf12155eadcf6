"""The provider info that Airflow reads, and the cost of importing the package."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path

import airflow
import jsonschema
import pytest
import yaml

import airflow_provider_wr
from airflow_provider_wr import connection

ROOT = Path(__file__).parents[1]
INFO = airflow_provider_wr.get_provider_info()

HEAVY = ("aiohttp", "requests", "sseclient", "cryptography", "tenacity", "airflow_provider_wr.hooks.wr")


def test_it_keeps_to_airflows_schema() -> None:
    jsonschema.validate(INFO, json.loads((files(airflow) / "provider_info.schema.json").read_text()))


def test_its_guides_and_its_logo_are_in_the_repository() -> None:
    (integration,) = INFO["integrations"]
    assert integration["external-doc-url"].startswith("https://")
    paths = [*integration["how-to-guide"], integration["logo"]]
    assert [path for path in paths if not (ROOT / path.removeprefix("/")).is_file()] == []


@pytest.mark.parametrize("kind", ["hooks", "operators", "sensors", "triggers"])
def test_astronomers_registry_lists_every_class(kind: str) -> None:
    registry = yaml.safe_load((ROOT / ".astro-registry.yaml").read_text())
    module = import_module(f"airflow_provider_wr.{kind}.wr")
    ours = {
        f"{module.__name__}.{name}"
        for name, value in vars(module).items()
        if name.startswith("WR") and getattr(value, "__module__", "").startswith(f"airflow_provider_wr.{kind}.")
    }
    assert {each["module"] for each in registry[kind]} == ours
    assert registry["package-name"] == INFO["package-name"]


def test_airflow_finds_it() -> None:
    (entry,) = entry_points(group="apache_airflow_provider", name="provider_info").select(
        module="airflow_provider_wr"
    )
    assert entry.load()() == INFO


def test_the_version_is_the_packages() -> None:
    assert INFO["versions"] == [airflow_provider_wr.__version__]


@pytest.mark.parametrize("kind", ["operators", "sensors", "hooks", "triggers"])
def test_its_modules_import(kind: str) -> None:
    (group,) = INFO[kind]
    assert [import_module(name).__name__ for name in group["python-modules"]] == [f"airflow_provider_wr.{kind}.wr"]


def load(name: str) -> object:
    module, _, attribute = name.rpartition(".")
    return getattr(import_module(module), attribute)


def test_its_classes_import() -> None:
    from airflow_provider_wr.hooks.wr import WRHook
    from airflow_provider_wr.links.wr import WRExecutionLink, WRRunLink

    (connection_type,) = INFO["connection-types"]
    assert load(connection_type["hook-class-name"]) is WRHook
    assert [load(name) for name in INFO["extra-links"]] == [WRRunLink, WRExecutionLink]
    assert (connection_type["connection-type"], connection_type["hook-name"]) == (
        WRHook.conn_type,
        WRHook.hook_name,
    )


def test_the_form_of_a_connection_has_every_extra() -> None:
    (connection_type,) = INFO["connection-types"]
    assert connection_type["conn-fields"].keys() == connection._EXTRAS


def test_the_form_hides_the_secret() -> None:
    (connection_type,) = INFO["connection-types"]
    schemas = {name: field["schema"] for name, field in connection_type["conn-fields"].items()}
    assert [name for name, schema in schemas.items() if schema.get("format") == "password"] == ["api_secret"]


# --- what it costs to import ------------------------------------------------------------------------------

MEASURE = """
import sys
{before}
before = set(sys.modules)
import airflow_provider_wr.operators.wr, airflow_provider_wr.sensors.wr
import airflow_provider_wr.triggers.wr, airflow_provider_wr.links.wr
print(sorted(set({heavy}) & (set(sys.modules) - before)))
"""


def test_a_dag_file_loads_nothing_heavy() -> None:
    # Airflow parses DAG files again and again. Modules that Airflow itself has loaded cost nothing.
    own = "import airflow.sdk" if (files(airflow) / "sdk").is_dir() else "import airflow.models.baseoperator"
    names = "AirflowException, BaseOperator, BaseSensorOperator, conf"
    before = f"{own}\nfrom airflow.providers.common.compat.sdk import {names}"
    code = MEASURE.format(before=before, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_operators_and_sensors_do_not_import_what_the_hooks_import() -> None:
    late = [
        f"airflow_provider_wr.{each}"
        for each in ("api.calls", "api.models", "connection", "triggers.wr", "waiting")
    ]
    code = (
        "import sys; import airflow_provider_wr.operators.wr, airflow_provider_wr.sensors.wr; "
        f"print([name for name in {late!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_sensor_that_starts_in_a_worker_loads_no_trigger() -> None:
    code = (
        "import sys; from airflow_provider_wr.sensors.wr import WRRunSensor; "
        "WRRunSensor(task_id='wait', run_id='x', deferrable=True); "
        "print('airflow_provider_wr.triggers.wr' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_the_package_itself_loads_nothing_but_itself() -> None:
    code = (
        "import sys, typing, __future__; before = set(sys.modules); import airflow_provider_wr; "
        "print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['airflow_provider_wr']"


def test_a_process_of_airflow_loads_the_policy_and_no_operator() -> None:
    code = (
        "import sys, airflow.settings; airflow.settings.initialize(); "
        "print(*(name for name in sys.modules if name.startswith('airflow_provider_wr')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.splitlines()[-1].split()
    assert "airflow_provider_wr.policy" in loaded
    assert not [name for name in loaded if "operators" in name]
