"""The server starts at once, stops at once, and leaves nothing behind."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import requests

from airflow_provider_wr.sandbox.client import SandboxControl
from airflow_provider_wr.sandbox.server import Sandbox
from airflow_provider_wr.sandbox.workflow import COMPONENTS, WORKFLOW_ID

from .api import Api, events

if TYPE_CHECKING:
    from pathlib import Path


def start_command(*options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "airflow_provider_wr.sandbox", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_close_leaves_no_thread_and_no_socket_even_with_an_open_stream() -> None:
    threads = set(threading.enumerate())
    sandbox = Sandbox()
    api = Api(sandbox)
    sandbox.control.fault("trigger", finish_first=True)
    with api.stream(api.trigger()) as stream:
        before = time.monotonic()
        sandbox.close()
        assert time.monotonic() - before < 1
        assert list(events(stream)) == []
    assert set(threading.enumerate()) == threads
    with socket.create_server(("127.0.0.1", urlsplit(sandbox.url).port or 0)):
        pass
    sandbox.close()


def test_close_does_not_wait_for_a_delayed_answer() -> None:
    with Sandbox() as sandbox:
        sandbox.control.fault("trigger", delay=60)
        caller = threading.Thread(target=lambda: Api(sandbox).call("POST", Api(sandbox).workflow, json={}))
        caller.start()
        while sandbox.control.faults():
            pass
        before = time.monotonic()
    assert time.monotonic() - before < 1
    caller.join()


def test_several_sandboxes_one_after_the_other_and_at_once() -> None:
    for _ in range(2):
        with Sandbox() as one, Sandbox(speed=100) as other:
            assert one.url != other.url
            for sandbox in (one, other):
                api = Api(sandbox)
                api.configure({})
                assert api.finish(api.trigger())["status"] == "COMPLETED"


def test_speed_divides_the_time_of_stages() -> None:
    with Sandbox(speed=1000) as sandbox:
        api = Api(sandbox)
        api.configure({"Quote": {"seconds": 60}})
        before = time.monotonic()
        assert api.finish(api.trigger())["status"] == "COMPLETED"
        assert 0.06 <= time.monotonic() - before < 10


def test_a_kept_connection_answers_without_the_40_ms_of_a_delayed_ack(wr_sandbox: Sandbox) -> None:
    before = time.monotonic()
    for _ in range(25):
        wr_sandbox.control.runs()
    assert time.monotonic() - before < 25 * 0.04


@pytest.mark.parametrize("options", [{"speed": 0}, {"heartbeat": 0}])
def test_numbers_must_be_above_zero(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        Sandbox(**options)  # type: ignore[arg-type]


def test_a_taken_port_is_refused_at_once() -> None:
    with Sandbox() as sandbox, pytest.raises(OSError, match="in use"):
        Sandbox(port=urlsplit(sandbox.url).port or 0)


def test_the_airflow_connection_leads_to_the_sandbox(wr_sandbox: Sandbox) -> None:
    connection = wr_sandbox.connection
    assert json.loads(json.dumps(connection)) == {
        "conn_type": "wr",
        "host": wr_sandbox.url,
        "password": "ws_sandbox",
        "extra": {
            "workflow_id": WORKFLOW_ID,
            "run_url": wr_sandbox.url + "/runs/{run_id}",
            "execution_url": wr_sandbox.url + "/executions/{execution_id}",
        },
    }


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_prints_its_url_and_stops_on_a_signal(number: signal.Signals) -> None:
    with start_command("--port", "0", "--api-key", "ws_mine") as process:
        assert process.stdout
        assert process.stderr
        facts = json.loads(process.stdout.readline())
        assert facts["api_key"] == "ws_mine"
        assert facts["workflow_id"] == WORKFLOW_ID
        assert facts["components"] == COMPONENTS
        control = SandboxControl(facts["url"])
        assert control.runs() == []
        control.close()
        before = time.monotonic()
        process.send_signal(number)
        assert process.wait(timeout=10) == 0
        assert time.monotonic() - before < 1.5
        assert (process.stdout.read(), process.stderr.read()) == ("", "")


def test_the_command_can_drift() -> None:
    with start_command("--port", "0", "--drift") as process:
        assert process.stdout
        facts = json.loads(process.stdout.readline())
        refused = requests.get(f"{facts['url']}/v1/sdk/workflows/executions/x", timeout=10)
        process.terminate()
    assert refused.json()["statusCode"] == 401


def test_the_command_explains_a_taken_port() -> None:
    with Sandbox() as sandbox, start_command("--port", str(urlsplit(sandbox.url).port)) as process:
        _, complaint = process.communicate(timeout=10)
        assert process.returncode == 2
        assert "Address already in use" in complaint.splitlines()[-1]


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("airflow_provider_wr.sandbox", ["starlette", "uvicorn", "requests", "airflow", "cryptography"]),
        (
            "airflow_provider_wr.sandbox.pytest_plugin",
            ["starlette", "uvicorn", "requests", "airflow", "cryptography"],
        ),
        ("airflow_provider_wr.sandbox.server", ["airflow", "airflow_provider_wr.protocol", "aiohttp"]),
    ],
)
def test_what_an_import_does_not_bring_along(module: str, unwanted: list[str]) -> None:
    code = f"import sys, {module}; print(sorted(set({unwanted}) & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


FIXTURES = "from airflow_provider_wr.sandbox.pytest_plugin import _wr_sandbox_server, wr_sandbox\n"
WITHOUT_EXTRA = "import sys\nsys.modules['uvicorn'] = None\n"
USE = """
import json, os, requests

def test_one(wr_sandbox):
    connection = json.loads(os.environ["AIRFLOW_CONN_WR_DEFAULT"])
    workflow = f"{connection['host']}/v1/sdk/workflows/{connection['extra']['workflow_id']}"
    requests.post(workflow, headers={"X-Api-Key": connection["password"]}).raise_for_status()
    assert len(wr_sandbox.control.runs()) == 1

def test_other(wr_sandbox):
    assert wr_sandbox.control.runs() == []
"""


@pytest.mark.parametrize(
    ("conftest", "outcome", "words"),
    [(FIXTURES, 0, "2 passed"), (WITHOUT_EXTRA + FIXTURES, 1, "pip install 'airflow-provider-wr[sandbox]'")],
    ids=["with the extra", "without"],
)
def test_the_fixture(tmp_path: Path, conftest: str, outcome: int, words: str) -> None:
    (tmp_path / "conftest.py").write_text(conftest)
    (tmp_path / "test_use.py").write_text(USE)
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == outcome, result.stdout
    assert words in result.stdout


def test_the_command_names_its_missing_extra() -> None:
    as_good_as_missing = "import sys; sys.modules['sse_starlette'] = None"
    run = "import runpy; runpy.run_module('airflow_provider_wr.sandbox', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", f"{as_good_as_missing}; {run}"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr.startswith("the sandbox needs its extra: pip install 'airflow-provider-wr[sandbox]' (")
