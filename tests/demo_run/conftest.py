"""One demo for all tests of this folder, and Dagster's UI on what it left, in a real browser."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from demo.chromium import open_chromium
from demo.dagster_pages import open_ui
from tests.demo_command import demo_environment, run_demo

CUSTOMERS = "300"
EARLIER_DAYS = 4
SECONDS = 120
"""How long a page, a run or a backfill may take: the machine does other things, too."""


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demos")


@pytest.fixture(scope="package")
def done(folder: Path) -> subprocess.CompletedProcess[str]:
    """The demo over 300 customers, once."""
    return run_demo(folder, "--customers", CUSTOMERS, "--earlier-days", str(EARLIER_DAYS))


@pytest.fixture(scope="package")
def home(folder: Path, done: subprocess.CompletedProcess[str]) -> Path:
    """Where it keeps everything."""
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return folder / f"sample-{CUSTOMERS}-7"


@pytest.fixture(scope="package")
def address(folder: Path, home: Path) -> Iterator[str]:
    """`make ui` on the demo: the web server, the daemon and the local cloud."""
    with open_ui(demo_environment(folder), folder / "ui.log") as address:
        yield address


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    with open_chromium() as browser:
        yield browser


@pytest.fixture
def page(chromium: Browser, address: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Page]:
    """A window on the UI. When the test fails, what it showed is in `page.png` and `page.txt` of the test's folder."""
    expect.set_options(timeout=SECONDS * 1000)
    context = chromium.new_context(base_url=address, viewport={"width": 1600, "height": 1000})
    context.set_default_timeout(SECONDS * 1000)
    page = context.new_page()
    failed_before = request.session.testsfailed
    yield page
    if request.session.testsfailed > failed_before:
        page.screenshot(path=tmp_path / "page.png")
        (tmp_path / "page.txt").write_text(f"{page.url}\n\n{page.locator('body').inner_text()}\n")
    context.close()
