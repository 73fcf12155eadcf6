"""The page about the sandbox is complete and up to date."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from airflow_provider_wr.sandbox import callbacks, components
from airflow_provider_wr.sandbox.client import SandboxControl
from airflow_provider_wr.sandbox.components import CATALOGUE
from airflow_provider_wr.sandbox.control import ROUTES, STEERING
from airflow_provider_wr.sandbox.faults import ENDPOINTS, Fault

PAGE = (Path(__file__).parents[2] / "docs/sandbox.md").read_text()


def section(title: str) -> str:
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """Return the cells of the tables in a text, without headers."""
    lines = [line.strip("| \n").split("|") for line in re.findall(r"^\|.*$", text, re.MULTILINE)]
    return [[cell.strip() for cell in cells] for cells in lines if not set(cells[0]) <= {"-"}][1:]


def names(text: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", text))


def test_every_setting_of_a_fault_has_a_row() -> None:
    assert {row[0].strip("`") for row in rows(section("Faults"))} == {field.name for field in fields(Fault)} - {
        "endpoint"
    }


def test_every_endpoint_of_a_fault_is_named() -> None:
    assert names(section("Faults").partition("\n```")[0]) == set(ENDPOINTS)


def test_the_catalogue_is_the_table() -> None:
    table = {row[0].strip("`"): row[1:] for row in rows(section("Components without a workflow"))}
    assert table.keys() == CATALOGUE.keys()
    for module in CATALOGUE.values():
        if module.runs_alone:
            inputs, configs, outputs, credits = table[module.module]
            assert names(inputs) == module.inputs.keys()
            assert names(configs) == set(module.required_configs)
            assert names(outputs) == module.outputs.keys()
            assert int(credits) == module.credits
        else:
            assert "workflows only" in table[module.module][2]


def test_the_keys_that_steer_are_named() -> None:
    text = section("Components without a workflow")
    sentence = re.search(r"The config of an execution understands the keys (.*?) from above", text, re.DOTALL)
    assert sentence
    assert names(sentence[1]) == STEERING
    assert {row[0].strip("`") for row in rows(section("The workflow"))} > STEERING


def test_the_headers_and_numbers_of_callbacks_are_named() -> None:
    text = section("Components without a workflow")
    assert set(re.findall(r"`(x-[a-z-]+)`", text)) == {
        name for name in callbacks.RESERVED_HEADERS if name.startswith("x-")
    }
    assert callbacks.ATTEMPTS == 3
    assert "tried three times" in text
    assert f"after {components.BACKOFF} and {components.BACKOFF * 2} s" in text


def test_every_control_has_a_row() -> None:
    shown = {row[0].strip("`").split(" ", 1)[1] for row in rows(section("The other controls"))}
    assert shown | {"/_sandbox/faults"} == {route.path for route in ROUTES}


def test_every_method_of_the_control_is_named() -> None:
    sentence = re.search(r"`control` has (.*?)\. To", PAGE, re.DOTALL)
    assert sentence
    methods = {name for name in vars(SandboxControl) if not name.startswith("_")} - {"close"}
    assert names(sentence[1]) == methods
