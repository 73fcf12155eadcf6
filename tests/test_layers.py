"""Imports between packages go one way only; the api package needs neither I/O nor Airflow."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

import airflow_provider_wr

PACKAGE = Path(airflow_provider_wr.__file__).parent
NAME = "airflow_provider_wr"

#: The packages that each package or module may import from. The sandbox is independent.
ROOMS: dict[str, set[str]] = {
    "__init__": {"connection_form"},
    "exceptions": {"api"},  # for the type of a run
    "api": {"__init__", "exceptions"},
    "late_import": set(),
    "models": {"api"},
    "arguments": {"exceptions"},
    "connection_form": set(),
    "masking": {"api"},
    "connection": {"api", "connection_form", "exceptions", "masking"},
    "transport": {"api", "connection", "exceptions"},
    "waiting": {"api", "exceptions"},
    "hooks": {
        *("__init__", "api", "connection", "connection_form", "exceptions", "late_import", "masking"),
        *("observability", "transport", "waiting"),
    },
    "links": {"api", "connection"},
    "openlineage_facet": {"__init__", "api"},
    "asset_events": {"api"},
    "observability": {"__init__", "api", "exceptions"},
    "openlineage": {"api", "openlineage_facet"},
    "triggers": {"api", "exceptions", "hooks", "late_import", "links", "observability", "waiting"},
    "operators": {
        *("api", "arguments", "asset_events", "connection", "exceptions", "hooks", "links", "masking"),
        *("observability", "openlineage", "triggers", "waiting"),
    },
    "sensors": {
        *("api", "arguments", "asset_events", "connection", "exceptions", "hooks", "links", "openlineage"),
        *("observability", "triggers", "waiting"),
    },
    "policy": {"operators"},
    "cli": {"api"},
    "plugin": {"__init__", "api", "connection", "exceptions", "links", "transport"},
    "sandbox": {"__init__"},
}


def room(module: str) -> str:
    """Return the package or top-level module of one of our modules."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] else "__init__"


def imports(path: Path) -> Iterator[str]:
    """Yield our modules that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == NAME:
            for alias in node.names:
                module = f"{node.module}.{alias.name}"
                is_room = node.module == NAME and room(module) in ROOMS
                yield module if is_room else str(node.module)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] == NAME)


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_knows_only_those_below(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert {room(module) for module in imports(path)} - {own} <= ROOMS[own]


def test_the_rooms_make_no_circle() -> None:
    left = {name: {each for each in below if each != "__init__"} for name, below in ROOMS.items()}
    left["exceptions"] = set()  # only for a type
    while left:
        ground = {name for name, below in left.items() if not below & left.keys()}
        assert ground, left
        left = {name: below for name, below in left.items() if name not in ground}


def test_the_protocol_needs_no_io_and_no_airflow() -> None:
    modules = [f"{NAME}.api.{path.stem}" for path in (PACKAGE / "api").glob("*.py") if path.stem != "__init__"]
    blocked = ["airflow", "requests", "urllib3", "aiohttp", "asyncio", "ssl", "sseclient.requests"]
    code = f"import sys; sys.modules.update(dict.fromkeys({blocked!r})); import {', '.join(modules)}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("own", "other"), [("requests", "aiohttp"), ("aiohttp", "requests")])
def test_each_half_imports_its_own_client_alone(own: str, other: str) -> None:
    code = f"""
        import sys
        from airflow.providers.common.compat.sdk import BaseHook, BaseOperator
        before = set(sys.modules)  # Airflow 2.11 itself imports requests and cryptography
        import {NAME}.hooks.wr, {NAME}.transport.{own}
        imported = set(sys.modules) - before
        unwanted = imported & {{{other!r}, "cryptography.hazmat.primitives.serialization"}}
        assert {own!r} in sys.modules and not unwanted, unwanted
    """
    done = subprocess.run([sys.executable, "-c", dedent(code)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
