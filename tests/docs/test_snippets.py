"""Every code block of the README and the docs is run, or checked if it cannot run."""

from __future__ import annotations

import importlib.metadata
import inspect
import itertools
import json
import re
import runpy
import shlex
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from airflow.providers.common.compat.sdk import BaseHook
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS, AIRFLOW_V_3_3_PLUS
from packaging.requirements import Requirement

from airflow_provider_wr.connection import WRSettings
from airflow_provider_wr.models import Run, RunEvent
from airflow_provider_wr.sandbox.server import Sandbox
from airflow_provider_wr.waiting.progress import progress_line

from . import sayings
from .blocks import PAGES, ROOT, Block, Command, blocks, commands, portable, tokens

if TYPE_CHECKING:
    from airflow_provider_wr.sandbox.pytest_plugin import wr_sandbox  # noqa: F401

#: The URL of the sandbox in the docs.
SHOWN = "127.0.0.1:8787"

#: Languages that cannot run here, and the one page that may have them.
EXEMPT = {"typescript": ROOT / "docs" / "sdk.md"}


@pytest.fixture(scope="module")
def _server() -> Iterator[Sandbox]:
    with Sandbox(heartbeat=0.2, speed=20) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(_server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """A fresh sandbox as ``wr_default``, 20 times as fast as usual."""
    _server.control.reset()
    monkeypatch.setenv("AIRFLOW_CONN_WR_DEFAULT", json.dumps(_server.connection))
    plain = {"conn_type": "http", "host": _server.url, "password": _server.api_key}
    monkeypatch.setenv("AIRFLOW_CONN_WHITE_RABBIT_HTTP", json.dumps(plain))
    return _server


@pytest.mark.parametrize("block", [block for page in PAGES for block in blocks(page)], ids=str)
def test_block(
    block: Block, sandbox: Sandbox, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    if block.language in EXEMPT:
        assert block.path == EXEMPT[block.language]
    elif block.language == "python":
        check_python(block, request, monkeypatch)
    elif block.language == "console":
        for command in commands(block):
            check_command(command, block, sandbox, request, monkeypatch)
    elif block.language == "json":
        check_json(block.code, monkeypatch)
    elif block.language == "yaml":
        assert yaml.safe_load(block.code)
    elif block.language == "text":
        check_text(block.code, sandbox)
    elif block.language == "dockerfile":
        check_dockerfile(block.code)
    elif block.language == "requirements":
        check_packages(block.code.split())
    else:
        pytest.fail(f"nothing here can check a block in {block.language!r}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    targets = [
        target.partition("#")[0]
        for token in tokens(page)
        for child in token.children or ()
        if child.type in ("link_open", "image")
        and "://" not in (target := str(child.attrGet("href") or child.attrGet("src")))
    ]
    assert [target for target in targets if not (page.parent / target).exists()] == []


# --- Python -----------------------------------------------------------------------------------------------


def check_python(block: Block, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a block as a DAG file, a test, or a script."""
    compile(block.code, str(block), "exec")
    if "airflow.providers.http" in block.code:
        pytest.importorskip("airflow.providers.http")
    if is_dag(block):
        request.getfixturevalue("airflow_db")
        run_dags(block, monkeypatch)
        return
    file = Path("snippet.py")
    file.write_text(portable(block.code))
    names = runpy.run_path(str(file))
    if tests := {name: test for name, test in names.items() if name.startswith("test_")}:
        if "DagBag" in block.code:
            request.getfixturevalue("airflow_db")
            copy_dags(block.path, request)
        for test in tests.values():
            arguments = list(map(request.getfixturevalue, inspect.signature(test).parameters))
            for sandbox in arguments:
                sandbox.control.reset()  # as the fixture does for each test
            test(*arguments)


def is_dag(block: Block) -> bool:
    return bool(re.search(r"^with DAG\(|^@dag\b", block.code, re.MULTILINE))


def copy_dags(page: Path, request: pytest.FixtureRequest) -> None:
    """Put the DAGs of a page into Airflow's DAGs folder, for its tests."""
    folder = dags_folder()
    for number, block in enumerate(filter(is_dag, blocks(page))):
        file = folder / f"of_the_page_{number}.py"
        file.write_text(portable(block.code))
        request.addfinalizer(file.unlink)


def dags_folder() -> Path:
    from airflow.configuration import conf

    folder = Path(conf.get("core", "dags_folder"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def run_dags(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Airflow load the block from its DAGs folder, and run each DAG; every task succeeds or is skipped."""
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:
        from airflow.models.dagbag import DagBag

    folder = dags_folder()
    file = folder / f"{re.sub(r'[^a-z0-9]+', '_', str(block))}.py"
    file.write_text(portable(block.code))
    monkeypatch.syspath_prepend(str(folder))
    try:
        with warnings.catch_warnings():
            if AIRFLOW_V_3_3_PLUS:
                warnings.filterwarnings("error", message=".* in the triggerer, and does so in a worker")
            warnings.filterwarnings("error", message=".* updates may overlap")  # the docs show only safe settings
            warnings.filterwarnings("error", message=".* does not wait for its run")
            bag = DagBag(str(file))
        assert bag.import_errors == {}
        assert bag.dags
        for dag in bag.dags.values():
            run = dag.test()
            states = {(ti.task_id, ti.map_index): str(ti.state) for ti in run.get_task_instances()}
            assert str(run.state) == "success", states
            assert set(states.values()) <= {"success", "skipped"}, states
            assert "success" in states.values(), states
    finally:
        file.unlink()


# --- console ----------------------------------------------------------------------------------------------


def check_command(
    command: Command,
    block: Block,
    sandbox: Sandbox,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Run a command. If it would install something or keep running, check that its targets exist."""
    first, *rest = command.words
    match first, *rest:
        case "make", *arguments:
            check_make(arguments)
        case "pip", "install", *packages:
            check_packages(packages)
        case "export", *_:
            check_export(command.text, monkeypatch)
        case ("python", "-m", "airflow_provider_wr.sandbox", *options):
            check_sandbox(options, command.output, sandbox)
        case (".venv/bin/python", "-m", "pytest", *paths):
            assert all((ROOT / path).exists() for path in paths)
        case "pytest", folder:  # what is in it is a block of its own
            assert f"`{folder}/test_" in block.path.read_text()
        case "curl", *_:
            check_curl(command.text, sandbox)
        case "airflow", *arguments:
            request.getfixturevalue("airflow_db")
            check_airflow(arguments, block, monkeypatch)
        case ("ulimit", *_):
            run(command.text)
        case (("docker" | "helm" | "kubectl"), *arguments):
            check_files(arguments)
        case _:
            pytest.fail(f"nothing here can check the command {command.text!r}")


def run(script: str) -> str:
    """Run a command in a shell, and return its output."""
    shell = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, timeout=30)
    assert shell.returncode == 0, f"{script}\n{shell.stdout}{shell.stderr}"
    return shell.stdout


def check_make(arguments: list[str]) -> None:
    """The targets exist, and something reads the variables."""
    makefile = (ROOT / "Makefile").read_text()
    code = makefile + "".join(path.read_text() for path in (ROOT / "dev").glob("*.py"))
    for argument in arguments:
        name, is_variable, _ = argument.partition("=")
        if is_variable:
            assert re.search(rf"\b{name}\b", code), argument
        else:
            assert re.search(rf"^{name}:", makefile, re.MULTILINE), argument


def check_files(arguments: list[str]) -> None:
    """The files that a command of another program names are there."""
    for option, value in itertools.pairwise(arguments):
        if option in ("--file", "--values"):
            assert (ROOT / value).is_file(), value


def check_packages(packages: list[str]) -> None:
    """What is installed is this package, with extras it has, and perhaps pytest or Airflow."""
    wanted_packages = [Requirement(package) for package in packages if not package.startswith("-")]
    ours = [each for each in wanted_packages if each.name not in ("apache-airflow", "pytest")]
    assert ours
    for wanted in ours:
        assert wanted.name == "airflow-provider-wr"
        extras = importlib.metadata.metadata(wanted.name).get_all("Provides-Extra") or []
        assert wanted.extras <= set(extras), wanted


def check_dockerfile(text: str) -> None:
    """It begins from Airflow's image, and installs this package."""
    first, *others = text.splitlines()
    assert re.fullmatch(r"FROM apache/airflow:3\.\d+\.\d+", first)
    for line in others:
        run, pip, install, *arguments = shlex.split(line)
        assert (run, pip, install) == ("RUN", "pip", "install")
        check_packages([each.replace("${AIRFLOW_VERSION}", "3.3.2") for each in arguments])


def check_export(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection can be read, and is one that the provider takes; an option is one that Airflow has."""
    match = re.match(r"export (\w+)=", text)
    assert match
    name = match[1]
    value = run(f'{text}\nprintf %s "${name}"')
    if name.startswith("AIRFLOW_CONN_"):
        read_connection(name, value, monkeypatch)
    elif name.startswith("AIRFLOW__"):
        from airflow.configuration import conf

        section, option = name.removeprefix("AIRFLOW__").lower().split("__")
        assert not AIRFLOW_V_3_0_PLUS or conf.get(section, option, fallback=None) is not None, name
    elif name.startswith("OTEL_"):
        from opentelemetry import environment_variables as api
        from opentelemetry.sdk import environment_variables as sdk

        assert hasattr(api, name) or hasattr(sdk, name), name
    else:
        assert name in ("AIRFLOW_HOME", "HTTPS_PROXY", "NO_PROXY"), name
        assert value


def check_sandbox(options: list[str], output: str, sandbox: Sandbox) -> None:
    """The sandbox knows the options, and its output is the one on the page, which is abbreviated with …."""
    shown_help = subprocess.run(
        [sys.executable, "-m", "airflow_provider_wr.sandbox", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert [option for option in options if option.startswith("-") and option not in shown_help] == []
    if output:
        facts = {
            "url": f"http://{SHOWN}",
            "api_key": sandbox.api_key,
            "workflow_id": sandbox.workflow_id,
            "components": sandbox.components,
        }
        assert re.fullmatch(re.escape(output.strip()).replace("…", ".*"), json.dumps(facts))


def check_curl(text: str, sandbox: Sandbox) -> None:
    """The sandbox answers the request successfully, with JSON or an empty body."""
    address = sandbox.url.removeprefix("http://")
    script = text.replace(SHOWN, address).replace("localhost:8787", address).replace("curl ", "curl -sSf ", 1)
    assert script.count(address) == 1
    if answer := run(script):
        json.loads(answer)


def check_airflow(arguments: list[str], block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow accepts the command, and runs it if that is quick; a DAG that it runs is on the page."""
    from airflow.cli.cli_parser import get_parser

    if arguments[0] == "wr" and not AIRFLOW_V_3_3_PLUS:
        return  # Airflow takes no command of a provider there
    parsed = get_parser().parse_args(arguments)
    if arguments[:2] == ["dags", "test"]:
        assert any(f'with DAG("{arguments[2]}"' in other.code for other in blocks(block.path))
    elif arguments[:2] == ["connections", "add"]:
        parsed.func(parsed)
        check_stored_connection(arguments[2], monkeypatch)
    elif arguments[:2] == ["connections", "test"]:
        monkeypatch.setenv("AIRFLOW__CORE__TEST_CONNECTION", "Enabled")
        with redirect_stdout(StringIO()) as output:
            parsed.func(parsed)
        assert "Connection success" in output.getvalue()
    elif arguments[0] not in ("db", "triggerer"):
        parsed.func(parsed)


def check_stored_connection(conn_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider takes a connection in Airflow's database, from which this removes it."""
    from airflow.models import Connection
    from airflow.utils.session import create_session

    with create_session() as session:
        stored = session.query(Connection).filter(Connection.conn_id == conn_id).one()
        read_connection("AIRFLOW_CONN_SHOWN", stored.as_json(), monkeypatch)
        session.delete(stored)


# --- JSON and output --------------------------------------------------------------------------------------


def check_json(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The block parses, and is a connection or a run where it looks like one."""
    value = json.loads(text)
    if "conn_type" in value:
        read_connection("AIRFLOW_CONN_SHOWN", text, monkeypatch)
    if "runStages" in value:
        assert Run.from_json(value).stages


def read_connection(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read a connection like Airflow and the provider."""
    monkeypatch.setenv(name, value)
    conn_id = name.removeprefix("AIRFLOW_CONN_").lower()
    assert BaseHook.get_connection(conn_id).conn_type == "wr"
    WRSettings.load(conn_id)


PROGRESS = re.compile(
    r"(?P<status>[A-Z]+)( \| (?P<pending>\d+) stages? pending)?( \| (?P<credits>[\d.]+) credits?)?"
    r"( \| running: (?P<running>.+))?"
)


def check_text(text: str, sandbox: Sandbox) -> None:
    """Each line is a progress line as the code makes it, or the whole is what a real call says."""
    lines = text.splitlines()
    if all(PROGRESS.fullmatch(line) for line in lines):
        assert [progress_line(event_of(line)) for line in lines] == lines
        return
    say: Callable[[Sandbox], str] | None = next(
        (say for start, say in sayings.SAYINGS.items() if text.startswith(start)), None
    )
    assert say is not None, "nothing here knows who says this"
    assert sayings.generalize(text) == sayings.generalize(say(sandbox))


def event_of(line: str) -> RunEvent:
    """Return an event that has the progress line ``line``."""
    match = PROGRESS.fullmatch(line)
    assert match
    output: dict[str, Any] = {}
    if match["pending"]:
        output["pendingStageCount"] = int(match["pending"])
    if match["credits"]:
        output["totalUsage"] = float(match["credits"])
    stages = []
    for stage in match["running"].split(", ") if match["running"] else ():
        if more := re.fullmatch(r"and (\d+) more", stage):
            stages += [("X", 1)] * int(more[1])
        else:
            named = re.fullmatch(r"(\w+)(?: ×(\d+))?(?: \(attempt (\d+)\))?", stage)
            assert named
            stages += [(named[1], int(named[3] or 1))] * int(named[2] or 1)
    output["nonTerminalStages"] = [
        {"id": str(number), "module": module, "status": "RUNNING", "executionAttempt": attempt}
        for number, (module, attempt) in enumerate(stages)
    ]
    return RunEvent.from_json({"id": "run", "status": match["status"], "output": output})
