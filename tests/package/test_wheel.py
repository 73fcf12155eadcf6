"""The wheel and the sdist, as published."""

from __future__ import annotations

import json
import textwrap
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from environments import ROOT, CleanEnvironment, pyproject, uv
from markdown_it import MarkdownIt
from markdown_it.token import Token

import airflow_provider_wr
from airflow_provider_wr import connection_form as form
from airflow_provider_wr.sandbox import WITHOUT_EXTRA

from .conftest import Built

TARGETED = ("link_open", "image")  # what Markdown calls what has a target

PACKAGE = "airflow_provider_wr"
VERSION = airflow_provider_wr.__version__
INFO_FOLDER = f"{PACKAGE}-{VERSION}.dist-info"


@pytest.fixture(scope="module")
def metadata(built: Built) -> Message:
    with ZipFile(built.wheel) as wheel:
        return Parser().parsestr(wheel.read(f"{INFO_FOLDER}/METADATA").decode())


# --- what is in them --------------------------------------------------------------------------------------


def test_the_wheel_holds_the_package_its_examples_its_licence_and_no_more(built: Built) -> None:
    with ZipFile(built.wheel) as wheel:
        names = set(wheel.namelist())
        licence = wheel.read(f"{INFO_FOLDER}/licenses/LICENSE")
    info = {name for name in names if name.startswith(f"{INFO_FOLDER}/")}
    sources = {path for path in (ROOT / PACKAGE).rglob("*") if path.is_file() and path.suffix != ".pyc"}
    examples = {f"{PACKAGE}/{path.relative_to(ROOT)}" for path in (ROOT / "example_dags").glob("*.py")}
    assert examples
    assert names - info == {str(path.relative_to(ROOT)) for path in sources} | examples
    assert f"{PACKAGE}/py.typed" in names
    assert licence == (ROOT / "LICENSE").read_bytes()


def test_the_sdist_makes_the_same_wheel(built: Built, tmp_path: Path) -> None:
    uv("build", "--quiet", "--wheel", "--out-dir", tmp_path, built.sdist)
    (again,) = tmp_path.glob("*.whl")
    assert (again.name, again.read_bytes()) == (built.wheel.name, built.wheel.read_bytes())


def test_the_metadata_is_complete(metadata: Message) -> None:
    facts = ("Name", "Version", "Author", "License-Expression", "License-File", "Description-Content-Type")
    assert [metadata[fact] for fact in facts] == [
        "airflow-provider-wr",
        VERSION,
        "The airflow-provider-wr authors",
        "Apache-2.0",
        "LICENSE",
        "text/markdown",
    ]
    assert [fact for fact in ("Summary", "Keywords", "Project-URL", "Requires-Python") if not metadata[fact]] == []
    assert "Framework :: Apache Airflow :: Provider" in metadata.get_all("Classifier", [])


def test_what_only_developers_need_is_no_extra(metadata: Message) -> None:
    extras = pyproject()["project"]["optional-dependencies"]
    assert set(metadata.get_all("Provides-Extra", [])) == set(extras)
    assert set(extras).isdisjoint({"bench", "dev", "test"})
    assert not [
        each for each in metadata.get_all("Requires-Dist", []) if each.startswith(("pytest", "mypy", "ruff"))
    ]


def test_an_index_page_shows_the_whole_readme_without_links_into_the_checkout(metadata: Message) -> None:
    page, readme = tokens(metadata.get_payload()), tokens((ROOT / "README.md").read_text())
    targets = [str(token.attrGet("href") or token.attrGet("src")) for token in page if token.type in TARGETED]
    assert targets
    assert [target for target in targets if not target.startswith("https://")] == []
    assert text(page) == text(readme)


def tokens(markdown: str) -> list[Token]:
    blocks = MarkdownIt().enable("table").parse(markdown)
    return [token for block in blocks for token in (block.children or [block])]


def text(page: list[Token]) -> str:
    return "".join(token.content for token in page if token.type not in TARGETED)


# --- the examples -----------------------------------------------------------------------------------------


def test_an_installed_package_has_the_examples(alone: CleanEnvironment) -> None:
    where = "import airflow_provider_wr as package; print(package.__path__[0])"
    folder = Path(alone.run("python", "-c", where).splitlines()[-1]) / "example_dags"
    alone.run("airflow", "db", "migrate")
    alone.run("python", "-W", "error::UserWarning:airflow_provider_wr", str(folder / "example_wr_workflow.py"))


# --- what Airflow sees ------------------------------------------------------------------------------------


def airflow(environment: CleanEnvironment, *command: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(environment.run("airflow", *command, "--output", "json"))
    return rows


def of_ours(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["package_name"] == "airflow-provider-wr"]


def test_airflow_lists_the_provider(alone: CleanEnvironment) -> None:
    assert [(row["version"], row["description"]) for row in of_ours(airflow(alone, "providers", "list"))] == [
        (VERSION, "Update components, trigger workflow runs and wait for them without a worker slot")
    ]


def test_airflow_lists_the_connection_type_and_its_hook(alone: CleanEnvironment) -> None:
    (hook,) = of_ours(airflow(alone, "providers", "hooks"))
    assert (hook["connection_type"], hook["class"]) == ("wr", "airflow_provider_wr.hooks.wr.WRHook")
    assert (hook["hook_name"], hook["conn_id_attribute_name"]) == ("White Rabbit", "wr_conn_id")


@pytest.mark.parametrize("link", ["WRRunLink", "WRExecutionLink"])
def test_airflow_lists_the_extra_links(alone: CleanEnvironment, link: str) -> None:
    links = airflow(alone, "providers", "links")
    assert {"extra_link_class_name": f"airflow_provider_wr.links.wr.{link}"} in links


def test_airflow_lists_the_fields_of_the_form(alone: CleanEnvironment) -> None:
    fields = of_ours(airflow(alone, "providers", "widgets"))
    assert {row["connection_parameter_name"] for row in fields} == {f"extra__wr__{name}" for name in form.FIELDS}


# --- what it needs ----------------------------------------------------------------------------------------

IMPORT_ALL = """
import importlib, pkgutil, sys

import airflow_provider_wr.plugin.app  # with FastAPI, which Airflow brings

sys.modules.update(dict.fromkeys(["sse_starlette", "starlette", "uvicorn"]))  # as good as not installed

import airflow_provider_wr

for module in pkgutil.walk_packages(airflow_provider_wr.__path__, "airflow_provider_wr."):
    if not module.name.startswith(("airflow_provider_wr.openlineage_facet", "airflow_provider_wr.sandbox.")):
        importlib.import_module(module.name)
        print(module.name)
print(airflow_provider_wr.__file__)
"""


def test_all_else_works_without_what_the_extras_bring(alone: CleanEnvironment) -> None:
    *names, file = alone.run("python", "-c", IMPORT_ALL).splitlines()
    assert {f"{PACKAGE}.hooks.wr", f"{PACKAGE}.operators.wr", f"{PACKAGE}.sensors.wr"} <= set(names)
    assert Path(file).is_relative_to(alone.folder)


TESTS = """
def test_of_somebody_else():
    pass

def test_of_a_dag(wr_sandbox):
    assert wr_sandbox.control.runs() == []
"""


@pytest.mark.parametrize(
    ("extra", "status", "says"),
    [
        ("", 1, WITHOUT_EXTRA),
        ("[sandbox]", 0, "2 passed"),
    ],
    ids=["without the extra", "with it"],
)
def test_pytest_has_the_sandbox_where_its_extra_is_installed(
    built: Built, tmp_path: Path, extra: str, status: int, says: str
) -> None:
    environment = CleanEnvironment.make(tmp_path, f"{built.wheel}{extra}", "pytest")
    (tmp_path / "test_dags.py").write_text(textwrap.dedent(TESTS))
    output = environment.run("pytest", "-q", "test_dags.py", status=status)
    assert says in output
    assert ("1 passed, 1 error" in output) is (status == 1)
