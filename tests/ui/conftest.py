"""A browser, and an Airflow and a sandbox for it to look at."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest
from environments import ROOT
from PIL import Image
from playwright.sync_api import BrowserContext, Page, expect, sync_playwright

from airflow_provider_wr.sandbox.server import Sandbox
from dev.local_airflow import LocalAirflow

PICTURES = ROOT / "docs" / "img"

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# As root Chromium has no sandbox of its own; the rest keeps it from calling its maker.
OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WANT_PICTURES = bool(os.environ.get("WR_SCREENSHOTS"))
PATIENCE = 60.0
"""Seconds after which what should be on a page is taken to never come."""

TakePicture = Callable[[Page, str], None]


@pytest.fixture(scope="session")
def context() -> Iterator[BrowserContext]:
    """A headless browser with a new profile, which goes with it."""
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        pytest.skip("there is no browser: install Chromium, for instance with `apt-get install chromium`")
    expect.set_options(timeout=PATIENCE * 1000)
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=executable, args=OPTIONS, timeout=PATIENCE * 1000)
        context = browser.new_context(
            viewport={"width": 1280, "height": 800}, locale="en-US", timezone_id="UTC", color_scheme="light"
        )
        context.set_default_timeout(PATIENCE * 1000)
        yield context
        browser.close()


@pytest.fixture(scope="session")
def sandbox(context: BrowserContext) -> Iterator[Sandbox]:
    """A White Rabbit. Airflow has no connection to it but the one that a test makes."""
    with Sandbox(port=8787 if WANT_PICTURES else 0) as sandbox:  # the pictures show the port that the docs name
        yield sandbox


@pytest.fixture(scope="session")
def folder(context: BrowserContext, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder for all that the tests make; it stays after a failure."""
    folder = Path(tempfile.mkdtemp(prefix="wr-ui-"))
    yield folder
    if request.session.testsfailed:
        print(f"All of Airflow's files, and a picture of each failure: {folder}", file=sys.stderr)
    else:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def airflow(folder: Path) -> Iterator[LocalAirflow]:
    """An Airflow with the example DAGs."""
    env = {"AIRFLOW__CORE__TEST_CONNECTION": "Enabled"}
    with LocalAirflow(folder / "airflow", ROOT / "example_dags", env=env) as airflow:
        airflow.wait_ready(240)
        yield airflow


@pytest.fixture(scope="session")
def page(context: BrowserContext) -> Page:
    """The browser's one tab. Each test begins by opening a page of Airflow."""
    return context.new_page()


@pytest.fixture(autouse=True)
def picture_of_failure(request: pytest.FixtureRequest, page: Page, folder: Path) -> Iterator[None]:
    """Keep what the browser shows when a test fails."""
    before = request.session.testsfailed
    yield
    if request.session.testsfailed > before:
        page.screenshot(path=folder / f"{request.node.name}.png")


@pytest.fixture(scope="session")
def take_picture() -> TakePicture:
    """Write what a tab shows into the docs under this name, when ``WR_SCREENSHOTS`` asks for it."""

    def take(page: Page, name: str) -> None:
        if WANT_PICTURES:
            page.mouse.move(640, 799)  # away from whatever would show a tooltip
            page.evaluate("document.activeElement.blur()")
            expect(page.get_by_role("tooltip")).to_have_count(0)
            PICTURES.mkdir(exist_ok=True)
            picture = Image.open(BytesIO(page.screenshot(animations="disabled")))
            # Text and flat colours need no more than a palette, which takes a third of the space.
            picture.quantize(256, dither=Image.Dither.NONE).save(PICTURES / f"{name}.png", optimize=True)

    return take
