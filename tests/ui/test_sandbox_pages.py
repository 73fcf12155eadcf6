"""The sandbox's own pages in a browser: on a phone, in the dark, with hostile values, and live."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO

import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, Page, expect

from airflow_provider_wr.hooks.wr import WRHook
from airflow_provider_wr.sandbox.server import Sandbox

HOSTILE = "<img src=x onerror='document.title = 1'><script>document.title = 1</script>" + "long" * 100
PAGES = ("list", "run", "execution")


@pytest.fixture(scope="module")
def sandbox_hook(context: BrowserContext) -> Iterator[tuple[Sandbox, WRHook]]:
    with Sandbox(speed=100) as sandbox, pytest.MonkeyPatch.context() as patch, WRHook("wr_pages") as hook:
        patch.setenv("AIRFLOW_CONN_WR_PAGES", json.dumps(sandbox.connection))
        yield sandbox, hook


@pytest.fixture(scope="module")
def urls(sandbox_hook: tuple[Sandbox, WRHook]) -> dict[str, str]:
    """The address of each page, with hostile values on it."""
    sandbox, hook = sandbox_hook
    hook.update_component(sandbox.components["Quote"], name=HOSTILE, config={"memo": HOSTILE})
    hook.update_component(sandbox.components["Notify"], config={"failWith": HOSTILE})
    run = hook.wait_for_run(hook.trigger_run().run_id)
    execution = hook.execute_component("RANDOM_UUID", config={"answerWith": HOSTILE}, wait_ms=5000)
    return {
        "list": f"{sandbox.url}/",
        "run": f"{sandbox.url}/runs/{run.id}",
        "execution": f"{sandbox.url}/executions/{execution.id}",
    }


@pytest.fixture
def tab(context: BrowserContext, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A tab of a browser with this width and color scheme."""
    width, scheme = request.param
    assert context.browser
    with context.browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme) as other:
        yield other.new_page()


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("tab", [(1400, "light"), (800, "dark"), (390, "dark")], ids=str, indirect=True)
def test_a_page_fits_and_shows_hostile_values_as_text(
    tab: Page, name: str, urls: dict[str, str], request: pytest.FixtureRequest
) -> None:
    width, scheme = request.node.callspec.params["tab"]
    tab.goto(urls[name])
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.get_by_text("<script>").count() >= 1
    assert tab.locator("main img, main script").count() == 0
    assert tab.title().endswith("White Rabbit sandbox")
    red, green, blue = Image.open(BytesIO(tab.screenshot())).convert("RGB").getpixel((2, 2))
    assert (red + green + blue > 3 * 128) == (scheme == "light")


@pytest.mark.parametrize("tab", [(390, "light")], ids=str, indirect=True)
def test_on_a_phone_each_value_has_its_name(tab: Page, urls: dict[str, str]) -> None:
    tab.goto(urls["run"])
    expect(tab.locator("thead").first).to_be_hidden()
    labels = (
        tab.locator("tbody tr")
        .first.locator("td")
        .evaluate_all("cells => cells.map(cell => getComputedStyle(cell, '::before').content)")
    )
    assert labels[:3] == ['"Component"', '"Status"', '"Attempt"']


@pytest.mark.parametrize("tab", [(1400, "light")], ids=str, indirect=True)
def test_the_list_renews_itself_and_leads_to_the_run(
    tab: Page, urls: dict[str, str], sandbox_hook: tuple[Sandbox, WRHook]
) -> None:
    tab.goto(urls["list"])
    run_id = sandbox_hook[1].trigger_run().run_id
    tab.get_by_role("link", name=run_id).click()
    expect(tab.get_by_role("heading")).to_have_text(f"Run {run_id}")
    expect(tab.get_by_role("strong")).to_have_text("FAILED")
    tab.get_by_role("link", name="All runs").click()
    expect(tab.get_by_role("link", name=run_id)).to_be_visible()
