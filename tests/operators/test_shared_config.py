"""Concurrent updates: warnings when a DAG is parsed, and updates that are refused when it runs."""

from __future__ import annotations

import textwrap
import warnings
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_1_PLUS, AIRFLOW_V_3_3_PLUS
from dags.running import read_dags, run_tasks
from hooks.conftest import Connect
from servers import COMPONENT_ID, WORKFLOW_ID

from airflow_provider_wr.connection import WRSettings
from airflow_provider_wr.exceptions import WRConcurrentUpdateError
from airflow_provider_wr.operators import shared_config
from airflow_provider_wr.operators.wr import WRTriggerRunOperator, WRUpdateComponentOperator
from airflow_provider_wr.sandbox.server import Sandbox

pytestmark = pytest.mark.usefixtures("airflow_db")

EXAMPLES = Path(__file__).parents[2] / "example_dags"

HEADER = f"""
from airflow.providers.common.compat.sdk import DAG, task, task_group
from airflow_provider_wr.operators.wr import WRTriggerRunOperator as Trigger, WRUpdateComponentOperator as Update
from airflow_provider_wr.sensors.wr import WRRunSensor

ID, OTHER = "{COMPONENT_ID}", "123e4567-e89b-12d3-a456-426614174000"
UPDATES = [{{"component_id": ID, "config": {{"count": 3}}}}]
CONFIGS = [{{"a": 1}}, {{"b": 2}}]

@task
def one():
    return 1

@task.branch
def choose():
    return "a"
"""


def parse(tmp_path: Path, of_dag: str, body: str) -> list[warnings.WarningMessage]:
    """Let Airflow parse a DAG with these tasks, and return our warnings."""
    path = tmp_path / "pay.py"
    body = textwrap.indent(textwrap.dedent(body).strip(), "    ")
    path.write_text(f"{HEADER}\nwith DAG('pay', schedule=None, {of_dag}) as dag:\n{body}\n")
    return parse_file(path)


def parse_file(path: Path) -> list[warnings.WarningMessage]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        bag = read_dags(path)
    assert not bag.import_errors
    return [each for each in caught if "updates may overlap" in str(each.message)]


ONE = "max_active_runs=1"

#: A task that updates, starts a run and waits for it; two tasks for that; mapped ones; those in a mapped group.
TOGETHER = "Trigger(task_id='pay', component_updates=UPDATES, wait_for_completion=True{})"
SEPARATE = "Update(task_id='pay', component_id=ID, config={{'count': 3}}{}) >> Trigger(task_id='trigger'{})"
MAPPED = "Trigger.partial(task_id='pay', wait_for_completion=True{}).expand(component_updates=[UPDATES, UPDATES])"
GROUP = """
@task_group
def group(count):
    {}
group.expand(count=[1, 2])
"""


def together(options: str = "") -> str:
    return TOGETHER.format(options and f", {options}")


def separate(of_update: str = "", of_trigger: str = "") -> str:
    return SEPARATE.format(of_update and f", {of_update}", of_trigger and f", {of_trigger}")


def mapped(options: str = "") -> str:
    return MAPPED.format(options and f", {options}")


def grouped(body: str) -> str:
    return GROUP.format(body)


WARNED = [
    pytest.param("", together(), "max_active_runs=1 on the DAG, or on the task pool=", id="together"),
    pytest.param("max_active_runs=2", together(), "max_active_runs=1", id="two runs"),
    pytest.param("", together("max_active_tis_per_dagrun=1"), "max_active_runs=1", id="limit of another kind"),
    pytest.param("", together("pool='default_pool'"), "max_active_runs=1", id="default pool"),
    pytest.param("", separate(), "max_active_runs=1 on the DAG, or component_updates", id="separate"),
    pytest.param("", separate("pool='p'", "pool='p'"), "max_active_runs=1", id="a pool does not join tasks"),
    pytest.param("", separate("workflow_id=OTHER", "workflow_id=OTHER"), "max_active_runs=1", id="same workflow"),
    pytest.param("", separate("workflow_id='{{ x }}'", "workflow_id=OTHER"), "", id="template"),
    pytest.param("", mapped(), "max_active_runs=1 on the DAG and max_active_tis_per_dagrun=1", id="mapped"),
    pytest.param(ONE, mapped(), "max_active_tis_per_dagrun=1", id="mapped, without limit"),
    pytest.param("", mapped("max_active_tis_per_dagrun=1"), "max_active_runs=1", id="mapped, with two DAG runs"),
    pytest.param(
        ONE,
        "Trigger.partial(task_id='pay').expand_kwargs([{}, {'component_updates': UPDATES}])",
        "max_active_tis_per_dagrun=1",
        id="mapped with expand_kwargs",
    ),
    pytest.param(
        ONE,
        "Trigger.partial(task_id='pay', component_updates=UPDATES).expand(workflow_id=[ID, OTHER])",
        "max_active_tis_per_dagrun=1",
        id="mapped over something else",
    ),
    pytest.param(
        ONE,
        "Trigger.partial(task_id='pay').expand(component_updates=one())",
        "max_active_tis_per_dagrun=1",
        id="mapped over an output",
    ),
    pytest.param(
        "",
        "Trigger(task_id='pay', component_updates=one())",
        "max_active_runs=1",
        id="output of a task",
    ),
    pytest.param(ONE, grouped(together()), "max_active_tis_per_dagrun=1", id="in a mapped group"),
    pytest.param(ONE, grouped(separate()), "component_updates and wait_for_comp", id="both in a group"),
    pytest.param(
        "",
        """
        Update(task_id="pay", component_id=ID, name="x") >> one() >> Trigger(task_id="trigger")
        """,
        "max_active_runs=1",
        id="separate, with a task between",
    ),
    pytest.param(
        "",
        "Update.partial(task_id='pay', component_id=ID).expand(config=CONFIGS) >> Trigger(task_id='t')",
        "max_active_runs=1",
        id="mapped update",
    ),
]

QUIET = [
    pytest.param(ONE, together(), id="one DAG run"),
    pytest.param("", together("pool='wr'"), id="pool"),
    pytest.param("default_args={'pool': 'wr'}", together(), id="pool of the DAG"),
    pytest.param("", together("allow_concurrent_updates=True"), id="allowed"),
    pytest.param("", together("max_active_tis_per_dag=1"), id="one task of all DAG runs"),
    pytest.param("", "Trigger(task_id='pay')", id="no updates"),
    pytest.param("", "Trigger(task_id='pay', component_updates=[])", id="empty updates"),
    pytest.param("", "Update(task_id='pay', component_id=ID, name='x')", id="an update alone"),
    pytest.param(
        "", "Trigger(task_id='t') >> Update(task_id='u', component_id=ID, name='x')", id="an update after"
    ),
    pytest.param("", separate("workflow_id=ID", "workflow_id=OTHER"), id="separate, of two workflows"),
    pytest.param(ONE, separate(), id="separate, one DAG run"),
    pytest.param("", separate("allow_concurrent_updates=True"), id="separate, allowed"),
    pytest.param("", mapped("pool='wr'"), id="mapped, pool"),
    pytest.param(ONE, mapped("max_active_tis_per_dagrun=1"), id="mapped, limit"),
    pytest.param("", mapped("allow_concurrent_updates=True"), id="mapped, allowed"),
    pytest.param("", "Trigger.partial(task_id='pay').expand(workflow_id=[ID, OTHER])", id="mapped, no updates"),
    pytest.param(ONE, grouped(together("max_active_tis_per_dagrun=1")), id="in a mapped group, limit"),
    pytest.param(ONE, grouped(together("pool='wr'")), id="in a mapped group, pool"),
    pytest.param(
        ONE,
        "Update.partial(task_id='pay', component_id=ID).expand(config=CONFIGS) >> Trigger(task_id='t')",
        id="mapped update before one trigger",
    ),
    pytest.param("", "one() >> one()", id="no task of ours"),
]


@pytest.mark.parametrize(("of_dag", "body", "remedy"), WARNED)
def test_what_may_overlap_is_warned_of(of_dag: str, body: str, remedy: str, tmp_path: Path) -> None:
    (warning,) = parse(tmp_path, of_dag, body)

    text = str(warning.message)
    assert "pay of DAG pay: updates may overlap" in text
    assert remedy in text
    assert "a pool" in text or "pool=" in text
    assert "allow_concurrent_updates=True" in text
    assert Path(warning.filename) == tmp_path / "pay.py"
    line = (tmp_path / "pay.py").read_text().splitlines()[warning.lineno - 1]
    assert "'pay'" in line or '"pay"' in line


@pytest.mark.parametrize(("of_dag", "body"), QUIET)
def test_what_cannot_overlap_is_not_warned_of(of_dag: str, body: str, tmp_path: Path) -> None:
    assert parse(tmp_path, of_dag, body) == []


A, B = (f"Trigger(task_id='{name}', component_updates=UPDATES{{}})" for name in "ab")


@pytest.mark.parametrize(
    ("body", "warned"),
    [
        pytest.param(f"{A.format('')}\n{B.format('')}", ["a", "b"], id="side by side"),
        pytest.param(f"one() >> [{A.format('')}, {B.format('')}]", ["a", "b"], id="behind one task"),
        pytest.param(f"{A.format('')} >> {B.format('')}", [], id="in order"),
        pytest.param(f"{A.format('')} >> one() >> {B.format('')}", [], id="in order, with a task between"),
        pytest.param(f"""{A.format(", pool='wr'")}\n{B.format(", pool='wr'")}""", [], id="in a pool"),
        pytest.param(f"{A.format('')}\n{B.format(', allow_concurrent_updates=True')}", ["a"], id="one is allowed"),
        pytest.param(
            f"{A.format(', workflow_id=ID')}\n{B.format(', workflow_id=OTHER')}", [], id="of different workflows"
        ),
        pytest.param(f"choose() >> [{A.format('')}, {B.format('')}]", [], id="on different branches"),
        pytest.param(
            f"""one() >> [{A.format("")}, {B.format(", trigger_rule='one_failed'")}]""",
            [],
            id="one after a failure",
        ),
    ],
)
def test_tasks_of_one_dag_run_may_overlap(body: str, warned: list[str], tmp_path: Path) -> None:
    found = [str(each.message) for each in parse(tmp_path, ONE, body)]

    assert [text.split()[1] for text in found] == warned
    assert all("the same pool=" in text for text in found)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_no_example_is_warned_of(path: Path) -> None:
    if path.stem == "example_wr_approval" and not AIRFLOW_V_3_1_PLUS:
        pytest.skip("Airflow asks people from 3.1 on")
    assert parse_file(path) == []


def test_below_3_3_the_limits_leave_out_deferred_tasks(tmp_path: Path) -> None:
    found = parse(tmp_path, ONE, mapped("max_active_tis_per_dagrun=1, deferrable=True"))

    assert bool(found) == (not AIRFLOW_V_3_3_PLUS)


@pytest.mark.parametrize("flag", [True, False])
def test_the_connection_may_allow_overlaps(flag: bool, connect: Connect, tmp_path: Path) -> None:
    connect("http://127.0.0.1:1", conn_id="wr_shared", allow_concurrent_updates=flag)

    assert bool(parse(tmp_path, "", together("wr_conn_id='wr_shared'"))) == (not flag)


def test_a_task_of_a_loop_is_named_though_its_line_is_not_known(tmp_path: Path) -> None:
    (warning,) = parse(tmp_path, "", "for n in [1]:\n    Trigger(task_id=f'pay{n}', component_updates=UPDATES)")

    assert "Task pay1 of DAG pay" in str(warning.message)
    assert warning.lineno == 1


def test_airflow_finds_the_policy() -> None:
    (policy,) = (each for each in entry_points(group="airflow.policy") if each.name == "airflow_provider_wr")
    assert policy.load().task_policy


class Counts:
    """A task instance that counts others: records the queries, and returns the test's numbers."""

    dag_id, task_id, run_id = "pay", "pay", "manual__1"

    def __init__(self, *, tasks: int = 1, dag_runs: int = 1) -> None:
        self.asked: list[dict[str, Any]] = []
        self._tasks, self._dag_runs = tasks, dag_runs

    def get_ti_count(self, **query: Any) -> int:
        self.asked.append(query)
        return self._tasks

    def get_dr_count(self, **query: Any) -> int:
        self.asked.append(query)
        return self._dag_runs


def check(task: Any, ti: object, **extra: Any) -> None:
    settings = WRSettings(base_url="", api_key="ws_x", **extra)
    shared_config.check_alone({"ti": ti}, task, settings)  # type: ignore[typeddict-item]


def make_dag(**options: Any) -> Any:
    from airflow.providers.common.compat.sdk import DAG

    return DAG("pay", schedule=None, **options)


UPDATES = [{"component_id": COMPONENT_ID, "config": {"count": 3}}]


def test_an_update_is_sent_when_no_other_task_is_active() -> None:
    with make_dag():
        task = WRTriggerRunOperator(task_id="pay", component_updates=UPDATES)
        WRTriggerRunOperator(task_id="pay_too", component_updates=UPDATES)
        WRTriggerRunOperator(task_id="elsewhere", component_updates=UPDATES, workflow_id=COMPONENT_ID)
        WRTriggerRunOperator(task_id="without_updates")
    task.workflow_id = WORKFLOW_ID  # as rendered
    ti = Counts()
    check(task, ti)
    assert ti.asked == [
        {"dag_id": "pay", "task_ids": ["pay", "pay_too"], "states": ["running", "deferred", "restarting"]}
    ]


def test_an_update_is_not_sent_while_another_task_is_active() -> None:
    with make_dag():
        task = WRTriggerRunOperator(task_id="pay", component_updates=UPDATES)
    with pytest.raises(WRConcurrentUpdateError, match=r"nothing was sent, since 2 other .* max_active_runs=1"):
        check(task, Counts(tasks=3))


def test_the_cure_for_a_mapped_task_is_that_of_all_its_instances() -> None:
    with make_dag():
        task = WRTriggerRunOperator.partial(task_id="pay").expand(component_updates=[UPDATES, UPDATES])
    instance = WRTriggerRunOperator(task_id="pay", component_updates=UPDATES)
    vars(instance)["_dag"] = task.dag  # as Airflow makes it, without adding it to the DAG
    with pytest.raises(WRConcurrentUpdateError, match="max_active_tis_per_dagrun=1"):
        check(instance, Counts(tasks=2))


def test_a_pool_that_does_not_keep_apart_is_named() -> None:
    with make_dag():
        task = WRTriggerRunOperator(task_id="pay", component_updates=UPDATES, pool="wr")
    with pytest.raises(WRConcurrentUpdateError, match="the slots of pool wr to 1, and let it include deferred"):
        check(task, Counts(tasks=2))


def test_a_separate_update_is_not_sent_while_another_dag_run_is_active() -> None:
    with make_dag():
        update = WRUpdateComponentOperator(task_id="pay", component_id=COMPONENT_ID, config={})
        update >> WRTriggerRunOperator(task_id="trigger")
    check(update, Counts())
    with pytest.raises(WRConcurrentUpdateError, match="1 other"):
        check(update, Counts(dag_runs=2))


def test_a_separate_update_without_a_trigger_is_not_counted() -> None:
    with make_dag():
        update = WRUpdateComponentOperator(task_id="pay", component_id=COMPONENT_ID, config={})
    ti = Counts(dag_runs=2)
    check(update, ti)
    assert ti.asked == []


@pytest.mark.parametrize("allowed_by", ["argument", "connection"])
def test_an_allowed_overlap_is_not_checked(allowed_by: str) -> None:
    with make_dag():
        task = WRTriggerRunOperator(
            task_id="pay", component_updates=UPDATES, allow_concurrent_updates=allowed_by == "argument"
        )
    ti = Counts(tasks=2)
    check(task, ti, allow_concurrent_updates=allowed_by == "connection")
    assert ti.asked == []


@pytest.mark.parametrize(
    "body",
    [
        f"WRTriggerRunOperator(task_id='pay', component_updates={UPDATES})",
        f"WRUpdateComponentOperator(task_id='pay', **{UPDATES[0]})",
    ],
)
def test_of_what_is_refused_nothing_is_sent(body: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise WRConcurrentUpdateError("refused")

    monkeypatch.setattr(shared_config, "check_alone", refuse)
    done = run_tasks(body)
    assert isinstance(done.errors["pay"], WRConcurrentUpdateError)
    assert sandbox.control.requests() == []


def test_airflow_2_11_cannot_count() -> None:
    with make_dag():
        task = WRTriggerRunOperator(task_id="pay", component_updates=UPDATES)
    check(task, object())


def test_a_check_that_fails_fails_no_dag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shared_config, "_remedy", lambda task: 1 / 0)
    assert parse(tmp_path, "", together()) == []
    assert "the DAG is parsed without it" in caplog.text
