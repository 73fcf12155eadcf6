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
from playwright.sync_api import BrowserContext, Locator, Page, expect, sync_playwright

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

MARGIN = 8
"""Pixels around what a picture shows."""

TakePicture = Callable[..., None]


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
            viewport={"width": 1280, "height": 800},
            device_scale_factor=2 if WANT_PICTURES else 1,
            locale="en-US",
            timezone_id="UTC",
            color_scheme="light",
        )
        context.set_default_timeout(PATIENCE * 1000)
        yield context
        browser.close()


@pytest.fixture(scope="module")
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
    """Save a part of a page as a picture for the docs, if ``WR_SCREENSHOTS`` is set.

    The part starts at the left and top of ``first``, and ends at the bottom of ``last`` and at the right of the
    window, which is ``width`` pixels wide. A picture that is as wide as the text of the docs is readable there.
    """

    def take(first: Page | Locator, name: str, last: Locator | None = None, *, width: int = 760) -> None:
        if WANT_PICTURES:
            if isinstance(first, Page):
                first = first.locator("body")
            page = first.page
            before = page.viewport_size
            page.set_viewport_size({"width": width, "height": 1000})
            page.mouse.move(width - 1, 999)  # away from anything with a tooltip
            page.evaluate("document.activeElement.blur()")
            expect(page.get_by_role("tooltip")).to_have_count(0)
            page.wait_for_timeout(1000)  # for the layout of this width
            top, bottom = first.bounding_box(), (last or first).bounding_box()
            assert top
            assert bottom
            x, y = max(0, top["x"] - MARGIN), max(0, top["y"] - MARGIN)
            height = min(1000, bottom["y"] + bottom["height"] + MARGIN) - y
            clip = {"x": x, "y": y, "width": width - x, "height": height}
            picture = Image.open(BytesIO(page.screenshot(animations="disabled", clip=clip)))  # type: ignore[arg-type]
            # A palette is enough for text and flat colours, and a third of the size.
            picture.quantize(256, dither=Image.Dither.NONE).save(PICTURES / f"{name}.png", optimize=True)
            if before:
                page.set_viewport_size(before)

    return take
