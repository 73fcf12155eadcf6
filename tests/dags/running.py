"""Run small DAGs with ``dag.test()``, from files in the DAGs folder."""

from __future__ import annotations

import os
import textwrap
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import AirflowTaskTimeout, XCom, get_listener_manager, hookimpl
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_1_PLUS

from airflow_provider_wr.sandbox import drift

HEADER = """
from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG, Asset, Param, task
from airflow_provider_wr.operators.wr import (
    WRExecuteComponentOperator, WRGetRunOperator, WRTriggerRunOperator, WRUpdateComponentOperator
)
from airflow_provider_wr.sensors.wr import WRComponentExecutionSensor, WRRunSensor
from servers import COMPONENT_ID, RUN_ID, WORKFLOW_ID

with DAG("{dag_id}", schedule=None, default_args={{"retry_delay": timedelta(0)}}, **{options}) as dag:
"""


STATUS_OF = {form: status for status, form in drift.STATUSES.items()}


def plain_status(run: dict[str, Any]) -> str:
    """Return the status of a run that is an XCom, and so as the API wrote it, in the documented form."""
    return STATUS_OF.get(run["status"], run["status"])


class Failures:
    """
    Records the last error of each task, by task id.

    A listener, since below Airflow 3.3 ``dag.test()`` tells a task's callbacks nothing of it.
    """

    def __init__(self) -> None:
        self.last: dict[str, BaseException | str | None] = {}

    @hookimpl
    def on_task_instance_failed(self, task_instance: Any, error: BaseException | str | None) -> None:
        self.last[task_instance.task_id] = error


@dataclass(frozen=True)
class DagRun:
    """
    How a DAG run ended.

    :param states: of its tasks, by task id.
    :param tries: number of tries of each task.
    :param xcoms: each task's XComs, by key.
    :param errors: the error of each failed task.
    """

    dag_id: str
    run_id: str
    state: str
    states: dict[str, str]
    tries: dict[str, int]
    xcoms: dict[str, dict[str, Any]]
    errors: dict[str, Any] = field(default_factory=dict)


def run_tasks(
    body: str, *, params: str = "{}", conf: dict[str, Any] | None = None, native: bool = False
) -> DagRun:
    """
    Run a DAG with the tasks that ``body`` creates.

    :param params: the DAG's params, as Python source.
    :param conf: the params of this run.
    """
    folder = _folder()
    dag_id = f"dag_{len(list(folder.iterdir()))}"
    options = f"dict(params={params}, render_template_as_native_obj={native})"
    path = folder / f"{dag_id}.py"
    path.write_text(HEADER.format(dag_id=dag_id, options=options) + textwrap.indent(textwrap.dedent(body), "    "))
    return run_file(path, conf=conf)


def run_file(path: Path, *, conf: dict[str, Any] | None = None) -> DagRun:
    """Run the DAG of a file in the DAGs folder, and remove the file, since every later run would parse it."""
    from airflow.models import dagrun

    failures = Failures()
    listeners = get_listener_manager().pm
    try:
        bag = read_dags(path)
        assert not bag.import_errors, bag.import_errors
        (dag,) = bag.dags.values()
        listeners.register(failures)  # not earlier: with a listener, no sensor ends in the triggerer
        try:
            with suppress(AirflowTaskTimeout):  # Airflow 2.11 raises it after the task has failed
                dag.test(run_conf=conf)
        finally:
            listeners.unregister(failures)
    finally:
        path.write_text("")  # kept, so that the next file has another name
    run = dagrun.DagRun.find(dag_id=dag.dag_id)[-1]
    instances = run.get_task_instances()
    return DagRun(
        dag_id=dag.dag_id,
        run_id=run.run_id,
        state=str(run.state),
        states={each.task_id: str(each.state) for each in instances},
        tries={each.task_id: each.try_number for each in instances},
        xcoms={task_id: _xcoms(run, task_id) for task_id in {each.task_id for each in instances}},
        errors={each.task_id: failures.last.get(each.task_id) for each in instances if each.state == "failed"},
    )


def read_dags(path: Path) -> Any:
    """Return the DagBag of a file, or of all files of a folder."""
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:  # below Airflow 3.2
        from airflow.models import DagBag

    return DagBag(path)


def page_xcom(identifier: str, *, outputs: bool = True, name: str = "run_id") -> dict[str, Any]:
    """Return the XCom that a task keeps for the page of its run or execution, where Airflow has one."""
    return {"wr_page": {name: identifier, "outputs": outputs}} if AIRFLOW_V_3_1_PLUS else {}


def _folder() -> Path:
    folder = Path(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
    folder.mkdir(exist_ok=True)
    return folder


def _xcoms(run: Any, task_id: str) -> dict[str, Any]:
    from airflow.utils.session import create_session
    from sqlalchemy import select

    model = xcom_model()
    query = select(model.key, model.value).where(
        model.dag_id == run.dag_id, model.run_id == run.run_id, model.task_id == task_id
    )
    with create_session() as session:
        return {row.key: XCom.deserialize_value(row) for row in session.execute(query)}


def xcom_model() -> Any:
    """Return the class of the rows that hold XComs."""
    from airflow.models import xcom

    return getattr(xcom, "XComModel", XCom)  # one class in Airflow 2.11
