"""`make demo`: run two of the example DAGs in a real Airflow against the sandbox, and check what they did.

With ``KEEP=1`` in the environment everything stays up until Ctrl-C, for a look around and for the other examples.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
import uuid
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_wr.sandbox.client import SandboxControl
from dev.local_airflow import LocalAirflow
from dev.processes import Processes

ROOT = Path(__file__).resolve().parents[1]
PROGRESS = re.compile(r"(CREATED|EXECUTING|COMPLETED|FAILED|CANCELED) \| .*")


class DemoFailed(Exception):
    """The DAGs ran, but with wrong results."""


@dataclass(frozen=True)
class SandboxFacts:
    """The sandbox's output once it listens."""

    url: str
    api_key: str
    workflow_id: str
    components: dict[str, str]
    """Component ids by name."""

    def connection(self) -> dict[str, Any]:
        """Return the Airflow connection to the sandbox, as it would be filled in in Airflow's form."""
        return {
            "conn_type": "wr",
            "host": self.url,
            "port": urlsplit(self.url).port,
            "password": self.api_key,
            "extra": {
                "workflow_id": self.workflow_id,
                "run_url": self.run_url("{run_id}"),
                "execution_url": f"{self.url}/executions/{{execution_id}}",
            },
        }

    def run_url(self, run_id: str) -> str:
        """Return the URL of a run's page."""
        return f"{self.url}/runs/{run_id}"


@dataclass
class Checks:
    """Counts and prints checks."""

    passed: int = 0
    failed: int = 0

    def expect(self, what: str, actual: object, expected: object = True) -> None:
        """Print whether ``actual`` equals ``expected``."""
        if actual == expected:
            self.passed += 1
            print(f"    ok    {what}")
        else:
            self.failed += 1
            print(f"    FAIL  {what}: {actual!r} instead of {expected!r}")


@dataclass
class DagRun:
    """One run of an example DAG, whose progress is printed."""

    airflow: LocalAirflow
    dag_id: str
    waiting_task: str
    """The task that waits for the White Rabbit run."""
    conf: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        print(f"\nDAG {self.dag_id} with {json.dumps(self.conf)}")
        self.started = time.monotonic()
        self.run_id = self.airflow.trigger(self.dag_id, self.conf)
        self.states: dict[str, str | None] = {}
        self.progress_lines = 0
        self.was_deferred_without_process = False

    def follow(self) -> None:
        """Print the progress until the DAG run ends."""
        state = self.airflow.wait_for(self._step, timeout=90, what=f"the end of {self.dag_id}")
        self._tell("DAG run", state)
        if state != "success":
            failed = [task_id for task_id, state in self.states.items() if state == "failed"]
            logs = [self.airflow.log(self.dag_id, self.run_id, task_id) for task_id in failed]
            raise DemoFailed("\n".join([f"{self.dag_id} ended as {state}", *logs]))

    def xcom(self, task_id: str, key: str = "return_value") -> Any:
        """Return an XCom of this run."""
        return self.airflow.xcom(self.dag_id, self.run_id, task_id, key)

    def links(self, task_id: str) -> list[str | None]:
        """Return the URLs of a task's extra links."""
        return list(self.airflow.links(self.dag_id, self.run_id, task_id).values())

    def _step(self) -> str | None:
        """Print what is new; return the DAG run's state once it has ended."""
        state = str(self.airflow.dag_run(self.dag_id, self.run_id)["state"])
        for task in self.airflow.task_instances(self.dag_id, self.run_id):
            task_id, task_state = task["task_id"], task["state"]
            if task_state != self.states.get(task_id):
                self.states[task_id] = task_state
                self._tell(task_id, task_state)
            if task_id == self.waiting_task and task_state in ("running", "deferred", "success"):
                self._tell_progress()
                if task_state == "deferred" and not self.airflow.task_processes():
                    self.was_deferred_without_process = True
        return state if state in ("success", "failed") else None

    def _tell_progress(self) -> None:
        log = self.airflow.log(self.dag_id, self.run_id, self.waiting_task)
        lines = [match.group() for match in PROGRESS.finditer(log)]
        for line, before in list(zip(lines, ["", *lines], strict=False))[self.progress_lines :]:
            if line != before:  # both the worker and the triggerer log the initial progress
                self._tell(self.waiting_task, f"  {line[:100]}")
        self.progress_lines = len(lines)

    def _tell(self, who: str, what: str | None) -> None:
        print(f"  {time.monotonic() - self.started:5.1f} s  {who:<16}  {what}")


def start_sandbox(processes: Processes, *options: str) -> SandboxFacts:
    """Start the sandbox and return its output once it listens."""
    command = [sys.executable, "-m", "airflow_provider_wr.sandbox", "--port", "0", *options]
    processes.start("sandbox", command, os.environ)
    deadline = time.monotonic() + 30
    while not (text := processes.log("sandbox").read_text()).endswith("\n"):
        processes.check()
        if time.monotonic() >= deadline:
            raise TimeoutError("waited 30 s for the sandbox to listen")
        time.sleep(0.05)
    return SandboxFacts(**json.loads(text))


def show(run: dict[str, Any]) -> None:
    """Print the stages of a White Rabbit run as a table."""
    print(f"\n  White Rabbit run {run['id']}: {run['status']}, {run['totalUsage']} credits")
    for stage in run["runStages"]:
        output = json.dumps(stage["output"])
        print(f"    {stage['module']:<24} {stage['status']:<10} {output[:70]}")
    print()


def demonstrate_workflow(airflow: LocalAirflow, sandbox: SandboxFacts, checks: Checks) -> None:
    """Run the example with one operator per step."""
    config = {"apiUrl": f"https://api.example.com/quotes/{uuid.uuid4().hex[:8]}", "seconds": 6}
    dag_run = DagRun(airflow, "example_wr_workflow", "wait_for_run", config)
    dag_run.follow()

    run_id, run = dag_run.xcom("trigger_run"), dag_run.xcom("wait_for_run")
    show(run)
    stored = airflow.connection("wr_default")
    checks.expect("the connection is in Airflow's database", stored["host"], sandbox.url)
    quotes = [stage["output"] for stage in run["runStages"] if stage["module"] == "HTTP_REQUEST"]
    checks.expect("the sensor returned the run that was triggered", run["id"], run_id)
    checks.expect("the run is COMPLETED", run["status"], "COMPLETED")
    checks.expect("a stage ran with the DAG's params, types and all", quotes[0], config)
    check_wait(dag_run, sandbox, run_id, checks)


def demonstrate_trigger_and_wait(airflow: LocalAirflow, sandbox: SandboxFacts, checks: Checks) -> None:
    """Run the example that does everything in one task."""
    dag_run = DagRun(airflow, "example_wr_trigger_and_wait", "pay_suppliers")
    dag_run.follow()

    run_id, run = dag_run.xcom("pay_suppliers"), dag_run.xcom("pay_suppliers", "run")
    show(run)
    payments = [stage for stage in run["runStages"] if stage["module"] == "SEND_EVM_TRANSACTION"]
    hashes = [payment["output"]["transactionHash"] for payment in payments]
    checks.expect("the task's XCom `run` is the run that was triggered", run["id"], run_id)
    checks.expect("the run is COMPLETED", run["status"], "COMPLETED")
    checks.expect("it paid 3 suppliers, as the updated component says", len(hashes), 3)
    quotes = [stage["output"] for stage in run["runStages"] if stage["module"] == "HTTP_REQUEST"]
    checks.expect("no config is left of the DAG before", quotes, [{}, {}])
    checks.expect("the next task read the payments from the XCom", dag_run.xcom("list_payments"), hashes)
    check_wait(dag_run, sandbox, run_id, checks)


def check_wait(dag_run: DagRun, sandbox: SandboxFacts, run_id: str, checks: Checks) -> None:
    """Check how a DAG run waited for its run."""
    task_id = dag_run.waiting_task
    checks.expect(f"{task_id} was deferred, with no worker serving it", dag_run.was_deferred_without_process)
    checks.expect(f"{task_id} logged the run's progress", dag_run.progress_lines > 0)
    checks.expect(f"{task_id} links to the run's page", dag_run.links(task_id), [sandbox.run_url(run_id)])


def demonstrate(home: Path, *, keep: bool) -> int:
    """Run the whole demo in this folder and return how many checks it passed."""
    checks = Checks()
    with Processes(home) as processes:
        sandbox = start_sandbox(processes)
        print(f"The sandbox listens at {sandbox.url}. Starting Airflow ...", flush=True)
        started = time.monotonic()
        env = {"AIRFLOW__CORE__TEST_CONNECTION": "Enabled"}  # for the button in the connection's form
        with LocalAirflow(home / "airflow", ROOT / "example_dags", env=env) as airflow:
            airflow.wait_ready()
            print(f"Airflow listens at {airflow.url}, up after {time.monotonic() - started:.0f} s.")
            airflow.make_connection("wr_default", **sandbox.connection())
            with closing(SandboxControl(sandbox.url)) as control:
                demonstrate_workflow(airflow, sandbox, checks)
                control.reset_components()  # a config outlives the DAG run that made it
                demonstrate_trigger_and_wait(airflow, sandbox, checks)
                control.reset_components()
                print()
                checks.expect("White Rabbit started one run per DAG run, no more", len(control.runs()), 2)
            if keep:
                wait_for_ctrl_c(airflow, sandbox)
    if checks.failed:
        raise DemoFailed(f"{checks.failed} of {checks.failed + checks.passed} checks failed")
    return checks.passed


def wait_for_ctrl_c(airflow: LocalAirflow, sandbox: SandboxFacts) -> None:
    """Print the URLs, and wait for SIGINT or the end of a component."""
    print(f"\nAirflow:     {airflow.url} (the other example DAGs are there to be triggered)")
    print(f"Connection:  {airflow.url}/connections (wr_default, filled in; its Test button works)")
    print(f"Sandbox:     {sandbox.url} (its runs, and the config that the next run will have)")
    print("Press Ctrl-C to end.", flush=True)
    with suppress(KeyboardInterrupt):
        airflow.wait_for(lambda: False, timeout=float("inf"), what="Ctrl-C", interval=1)


def main() -> int:
    """Run the demo in a new folder, print the result and return the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    started = time.monotonic()
    base = ROOT / ".demo"
    base.mkdir(exist_ok=True)
    home = Path(tempfile.mkdtemp(dir=base))
    try:
        passed = demonstrate(home, keep=bool(os.environ.get("KEEP")))
    except KeyboardInterrupt:
        remove(home)
        print("\nDEMO INTERRUPTED")
        return 130
    except Exception as error:
        if not isinstance(error, DemoFailed):
            traceback.print_exc()
        print(f"\nDEMO FAILED: {error}\nIts files are in {home}")
        return 1
    remove(home)
    print(f"\nDEMO PASSED: {passed} checks in {time.monotonic() - started:.0f} s")
    return 0


def remove(home: Path) -> None:
    """Remove the folder of a demo, and its parent if it is empty."""
    shutil.rmtree(home)
    with suppress(OSError):
        home.parent.rmdir()


if __name__ == "__main__":
    sys.exit(main())
