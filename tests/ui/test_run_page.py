"""The run's page inside Airflow: reached as a user reaches it, and attacked as others would. And what else
Airflow shows of a run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
import requests
from environments import ROOT
from playwright.sync_api import BrowserContext, FrameLocator, Page, expect

from airflow_provider_wr.hooks.wr import WRHook
from airflow_provider_wr.sandbox.server import Sandbox
from dev.local_airflow import LocalAirflow

from .conftest import TakePicture
from .pages import DagPage

WAIT, IN_TRIGGERER, MAPPED = "page_of_a_wait", "page_in_triggerer", "page_of_mapped"

#: Users and their passwords; a viewer may see the DAG that is in the name.
PASSWORDS = {"admin": "a", f"viewer of {WAIT}": "v", f"viewer of {MAPPED}": "o"}

HOSTILE = {
    "html": "<script>document.title = 'owned'</script><img src=x onerror=\"document.title = 'owned'\">",
    "direction": "invoice\u202egnp.exe",
    "big": "x" * 10_000_000,
}

ROUTES = ["", "run", "stages/0", "page.css", "page.js"]


@pytest.fixture(scope="module")
def airflow(folder: Path, context: BrowserContext, sandbox: Sandbox) -> Iterator[LocalAirflow]:
    """An Airflow with users, each of whom may see one DAG, and a connection that its database keeps."""
    home = folder / "with-users"
    home.mkdir()
    (home / "passwords.json").write_text(json.dumps(PASSWORDS))
    roles = ",".join(f"{name}:{'admin' if name == 'admin' else 'viewer'}" for name in PASSWORDS)
    env = {
        "AIRFLOW__CORE__AUTH_MANAGER": "plugin.users.OneDagAuthManager",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": roles,
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
        "PYTHONPATH": str(ROOT / "tests"),
    }
    admin = ("admin", PASSWORDS["admin"])
    with LocalAirflow(home, ROOT / "tests" / "ui" / "dags", env=env, user=admin) as airflow:
        airflow.wait_ready(240)
        extra = {"workflow_id": sandbox.workflow_id}
        airflow.make_connection(
            "wr_default", conn_type="wr", host=sandbox.url, password=sandbox.api_key, extra=extra
        )
        context.clear_cookies()  # a cookie knows no port, and so would be that of another Airflow
        context.add_cookies([{"name": "_token", "value": airflow.token(admin), "url": airflow.url}])
        yield airflow
    context.clear_cookies()


@pytest.fixture(scope="module")
def hook(sandbox: Sandbox) -> Iterator[WRHook]:
    with pytest.MonkeyPatch.context() as patch, WRHook("wr_sandbox") as hook:
        patch.setenv("AIRFLOW_CONN_WR_SANDBOX", json.dumps(sandbox.connection))
        yield hook


@pytest.fixture(scope="module")
def hostile(airflow: LocalAirflow, sandbox: Sandbox, hook: WRHook) -> str:
    """A DAG run whose task waited for a run with a hostile output, and has ended."""
    sandbox.control.reset()
    hook.update_component(sandbox.components["Quote"], config={"seconds": 0.1, **HOSTILE})
    run_id = airflow.trigger(WAIT)
    assert airflow.wait_for_dag_run(WAIT, run_id, 120) == "success"
    return run_id


@pytest.fixture
def held(sandbox: Sandbox, hook: WRHook) -> Callable[[], None]:
    """Let the runs to come stand still at their payments; the function lets them go on."""
    sandbox.control.reset()
    hook.update_component(sandbox.components["Quote"], config={"seconds": 3})
    hook.update_component(sandbox.components["Balance"], config={"seconds": 1.5})
    hook.update_component(sandbox.components["Payment"], config={"hold": True, "failAttempts": 1, "seconds": 1})
    return lambda: hook.update_component(sandbox.components["Payment"], config={"hold": False})


def page_url(airflow: LocalAirflow, dag_id: str, run_id: str, task_id: str = "pay", map_index: int = -1) -> str:
    """Return the URL of the page by itself."""
    return f"{airflow.url}/wr/dags/{dag_id}/runs/{quote(run_id, safe='')}/tasks/{task_id}/{map_index}/"


def wait_until_deferred(airflow: LocalAirflow, dag_id: str, run_id: str, task_id: str) -> None:
    def is_deferred() -> bool:
        return bool(airflow.task_instance(dag_id, run_id, task_id)["state"] == "deferred")

    airflow.wait_for(is_deferred, 60, f"{task_id} to be deferred")


@contextmanager
def counted(page: Page) -> Iterator[list[str]]:
    """Collect what the page asks for about its run."""
    seen: list[str] = []

    def keep(request: object) -> None:
        if "/run?" in request.url:  # type: ignore[attr-defined]
            seen.append(request.url)  # type: ignore[attr-defined]

    page.on("request", keep)
    yield seen
    page.remove_listener("request", keep)


# --- what a user sees -------------------------------------------------------------------------------------


def test_the_link_leads_to_the_page_which_follows_the_run_to_its_end(
    page: Page,
    airflow: LocalAirflow,
    sandbox: Sandbox,
    held: Callable[[], None],
    take_picture: TakePicture,
) -> None:
    run_id = airflow.trigger(WAIT)
    wait_until_deferred(airflow, WAIT, run_id, "pay")
    page.goto(f"{airflow.url}/dags/{WAIT}/runs/{quote(run_id, safe='')}/tasks/pay/details")
    with counted(page) as asked:
        page.get_by_role("link", name="White Rabbit run", exact=True).click()
        page.wait_for_url("**/plugin/wr-run")
        frame = page.frame_locator("iframe")
        (run,) = sandbox.control.runs()
        expect(frame.get_by_role("heading")).to_have_text(f"Run {run['id']}")
        expect(frame.locator("#status")).to_have_text("EXECUTING")
        expect(frame.locator("#live")).to_have_text("Live")
        rows = frame.get_by_role("button").filter(has_text="SEND_EVM_TRANSACTION")
        expect(rows).to_have_count(5)
        expect(rows.first).to_contain_text("Running")
        expect(rows.first).to_contain_text("attempt 2")
        expect(frame.get_by_role("button", name="GET_EVM_ACCOUNT_BALANCE")).to_contain_text("1.5 s")
        expect(frame.get_by_role("button", name="GET_EVM_ACCOUNT_BALANCE")).to_contain_text("1 credit")
        expect(frame.get_by_role("button", name="Running 6", exact=True)).to_be_visible()
        page.wait_for_timeout(4000)  # the bars of the picture should have some length
        take_picture(page, "run-page-live", frame.locator("#stages"), width=1280)

        reads = reads_of(sandbox)
        hide(frame, hidden=True)
        del asked[:]
        page.wait_for_timeout(2500)
        assert asked == []
        assert reads_of(sandbox) <= reads + 1
        hide(frame, hidden=False)
        held()
        expect(frame.locator("#status")).to_have_text("COMPLETED")
        expect(frame.locator("#facts")).to_contain_text("the task’s XCom")
        expect(frame.locator("#live")).to_have_text("")
        del asked[:]
        page.wait_for_timeout(2500)
        assert asked == []
    frame.get_by_role("button", name="GET_EVM_ACCOUNT_BALANCE").click()
    expect(frame.locator("pre")).to_contain_text('"balance": "1250000000000000000"')


def reads_of(sandbox: Sandbox) -> int:
    return sum(each["endpoint"] == "get_run" for each in sandbox.control.requests())


def hide(frame: FrameLocator, *, hidden: bool) -> None:
    """Tell a page that its tab went to the background, or came back."""
    frame.locator("html").evaluate(
        """(html, hidden) => {
            Object.defineProperty(document, "hidden", {configurable: true, get: () => hidden});
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def test_a_task_that_starts_in_the_triggerer_has_its_page_while_it_waits(
    page: Page, airflow: LocalAirflow, hook: WRHook, sandbox: Sandbox, held: Callable[[], None]
) -> None:
    watched = hook.trigger_run().run_id
    run_id = airflow.trigger(IN_TRIGGERER, {"run_id": watched})
    wait_until_deferred(airflow, IN_TRIGGERER, run_id, "wait")
    link = airflow.wait_for(
        lambda: airflow.links(IN_TRIGGERER, run_id, "wait")["White Rabbit run"], 30, "the link of the task"
    )
    page.goto(f"{airflow.url}/{link}")
    frame = page.frame_locator("iframe")
    expect(frame.get_by_role("heading")).to_have_text(f"Run {watched}")
    expect(frame.locator("#live")).to_have_text("Live")
    held()
    expect(frame.locator("#status")).to_have_text("COMPLETED")
    assert airflow.wait_for_dag_run(IN_TRIGGERER, run_id, 60) == "success"


def test_each_mapped_task_has_a_page_of_its_own(
    page: Page, airflow: LocalAirflow, hook: WRHook, sandbox: Sandbox
) -> None:
    sandbox.control.reset()
    runs = [hook.trigger_run().run_id for _ in range(2)]
    run_id = airflow.trigger(MAPPED, {"run_ids": runs})
    assert airflow.wait_for_dag_run(MAPPED, run_id, 60) == "success"
    for index, watched in enumerate(runs):
        page.goto(f"{airflow.url}/{airflow.links(MAPPED, run_id, 'get', index)['White Rabbit run']}")
        expect(page.frame_locator("iframe").get_by_role("heading")).to_have_text(f"Run {watched}")


def test_the_page_follows_airflows_theme(page: Page, airflow: LocalAirflow, hostile: str) -> None:
    page.goto(f"{airflow.url}/dags/{WAIT}/runs/{quote(hostile, safe='')}/tasks/pay/plugin/wr-run")
    body = page.frame_locator("iframe").locator("body")
    colours = []
    for theme in ("light", "dark"):
        page.evaluate("theme => localStorage.setItem('theme', theme)", theme)
        expect(page.frame_locator("iframe").locator("html")).to_have_attribute("data-theme", theme)
        colours.append(body.evaluate("body => getComputedStyle(body).backgroundColor"))
    page.evaluate("localStorage.removeItem('theme')")
    assert colours == ["rgb(255, 255, 255)", "rgb(13, 15, 20)"]


@pytest.mark.parametrize("width", [390, 800, 1400])
def test_nothing_is_wider_than_the_screen(page: Page, airflow: LocalAirflow, hostile: str, width: int) -> None:
    before = page.viewport_size
    page.set_viewport_size({"width": width, "height": 844})
    page.goto(page_url(airflow, WAIT, hostile))
    page.get_by_role("button", name="HTTP_REQUEST").first.click()
    expect(page.locator("pre")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert before is not None
    page.set_viewport_size(before)


# --- what else Airflow shows of a run ----------------------------------------------------------------------


def test_the_asset_event_shows_the_run_and_its_credits(
    page: Page, airflow: LocalAirflow, sandbox: Sandbox, take_picture: TakePicture
) -> None:
    sandbox.control.reset()
    dag_run = DagPage(page, airflow.url, "seen_asset").trigger()
    expect(dag_run.row("pay_suppliers")).to_contain_text("Success")
    page.goto(f"{dag_run.url}/tasks/pay_suppliers/asset_events")
    (run,) = sandbox.control.runs()
    event = page.get_by_role("code")
    page.get_by_title("Click to expand the range.").click()
    expect(event).to_contain_text(f'"wr_run_id": "{run["id"]}"')
    expect(event).to_contain_text('"wr_credits": 14')
    expect(event).to_contain_text('"triggered_by": "admin"')
    take_picture(page.get_by_text("1 Asset Event", exact=True), "asset-event", event, width=1000)


def test_the_log_shows_that_the_limit_was_passed_while_the_run_keeps_running(
    page: Page, airflow: LocalAirflow, sandbox: Sandbox, held: Callable[[], None], take_picture: TakePicture
) -> None:
    dag_run = DagPage(page, airflow.url, "seen_limit").trigger()
    expect(dag_run.row("pay_suppliers")).to_contain_text("Failed")
    task = dag_run.open_task("pay_suppliers")
    (run,) = sandbox.control.runs()
    error = task.log.get_by_text("WRCreditLimitError: ")
    expect(error).to_contain_text(run["id"])
    expect(error).to_contain_text("has used 2 credits, more than max_credits=1, and keeps running")
    assert run["status"] == "EXECUTING"
    task.wrap_log()
    error.click()  # folds the traceback
    take_picture(task.log, "credit-limit", error, width=1000)
    held()


# --- what an attacker sees --------------------------------------------------------------------------------


def test_a_hostile_output_is_shown_as_the_text_that_it_is(page: Page, airflow: LocalAirflow, hostile: str) -> None:
    for url in (
        page_url(airflow, WAIT, hostile),
        f"{airflow.url}/dags/{WAIT}/runs/{quote(hostile, safe='')}/tasks/pay/plugin/wr-run",
    ):
        page.goto(url)
        frame = page if "/wr/" in url else page.frame_locator("iframe")
        frame.get_by_role("button", name="HTTP_REQUEST").first.click()
        text = frame.locator("pre")
        expect(text).to_contain_text("<script>document.title = 'owned'</script>")
        expect(text).to_contain_text(r"invoice\u202egnp.exe")
        expect(frame.locator(".detail").first).to_contain_text(re.compile(r"Only the first 100,\d{3} characters"))
        assert len(text.inner_text()) < 110_000
        assert frame.locator("img").count() == 0
        assert "owned" not in page.title()


def test_no_script_but_the_pages_own_runs(page: Page, airflow: LocalAirflow, hostile: str) -> None:
    page.goto(page_url(airflow, WAIT, hostile))
    expect(page.locator("#status")).to_have_text("COMPLETED")
    owned = page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.owned = true";
            document.body.append(script);
            document.body.insertAdjacentHTML("beforeend", "<img src=x onerror='window.owned = true'>");
            return new Promise((resolve) => setTimeout(() => resolve(window.owned === true), 300));
        }"""
    )
    assert owned is False


TOKENS = {
    "nobody": (None, {401}),
    "nonsense": ("nonsense", {401, 403}),
    "viewer of another DAG": (f"viewer of {MAPPED}", {403}),
    "viewer of the DAG": (f"viewer of {WAIT}", {200}),
}


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("who", TOKENS)
def test_airflow_decides_who_sees_the_page(airflow: LocalAirflow, hostile: str, path: str, who: str) -> None:
    name, expected = TOKENS[who]
    token = airflow.token((name, PASSWORDS[name])) if name in PASSWORDS else name
    with requests.Session() as session:
        session.trust_env = False
        cookies = {"_token": token} if token else {}
        answer = session.get(page_url(airflow, WAIT, hostile) + path, cookies=cookies, timeout=30)
    assert answer.status_code in expected, answer.text
    if expected != {200}:
        assert "HTTP_REQUEST" not in answer.text


def test_another_map_index_is_no_task(airflow: LocalAirflow, hostile: str) -> None:
    token = airflow.token(("admin", PASSWORDS["admin"]))
    with requests.Session() as session:
        session.trust_env = False
        url = f"{page_url(airflow, WAIT, hostile, map_index=0)}run"
        answer = session.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=30)
    assert answer.status_code == 404
