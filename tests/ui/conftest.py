"""A browser, an Airflow and a sandbox."""

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
from playwright.sync_api import BrowserContext, FloatRect, Locator, Page, expect, sync_playwright

from airflow_provider_wr.sandbox.server import Sandbox
from dev.local_airflow import LocalAirflow

PICTURES = ROOT / "docs" / "img"

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# As root, Chromium needs --no-sandbox. The others prevent requests to its vendor.
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

TakePicture = Callable[[Page | Locator, str], None]

#: The part of a tab that the picture of this name shows: where its head begins, and what matters ends.
CLIPS: dict[str, FloatRect] = {
    "connection-extra": {"x": 192, "y": 64, "width": 896, "height": 736},
    "connection-form": {"x": 192, "y": 64, "width": 896, "height": 736},
    "grid-deferred": {"x": 332, "y": 62, "width": 936, "height": 590},
    "task-details": {"x": 332, "y": 62, "width": 928, "height": 328},
    "task-failed": {"x": 332, "y": 62, "width": 928, "height": 388},
}


@pytest.fixture(scope="session")
def context() -> Iterator[BrowserContext]:
    """A headless browser with a temporary profile."""
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
    """A sandbox. Airflow's only connection to it is created by a test."""
    with Sandbox(port=8787 if WANT_PICTURES else 0) as sandbox:  # the screenshots show the port of the docs
        yield sandbox


@pytest.fixture(scope="session")
def folder(context: BrowserContext, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder for all files of the tests, which is kept after a failure."""
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
    """The browser's only tab. Each test starts by opening a page of Airflow."""
    return context.new_page()


@pytest.fixture(autouse=True)
def picture_of_failure(request: pytest.FixtureRequest, page: Page, folder: Path) -> Iterator[None]:
    """Save a screenshot when a test fails."""
    before = request.session.testsfailed
    yield
    if request.session.testsfailed > before:
        page.screenshot(path=folder / f"{request.node.name}.png")


@pytest.fixture(scope="session")
def take_picture() -> TakePicture:
    """Save a screenshot of a tab, or a part of it, for the docs under this name, if ``WR_SCREENSHOTS`` is set."""

    def take(shown: Page | Locator, name: str) -> None:
        if WANT_PICTURES:
            page = shown if isinstance(shown, Page) else shown.page
            page.mouse.move(640, 799)  # away from anything with a tooltip
            page.evaluate("document.activeElement.blur()")
            expect(page.get_by_role("tooltip")).to_have_count(0)
            PICTURES.mkdir(exist_ok=True)
            clip = {"clip": CLIPS[name]} if name in CLIPS else {}
            picture = Image.open(BytesIO(shown.screenshot(animations="disabled", **clip)))
            # A palette is enough for text and flat colours, and a third of the size.
            picture.quantize(256, dither=Image.Dither.NONE).save(PICTURES / f"{name}.png", optimize=True)

    return take
