"""A backfill of five days, chosen and launched in the dialog, ends well; a run that fails says what to do."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from demo.dagster_pages import open_dialog
from tests.demo_run.conftest import EARLIER_DAYS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

BACKFILL_SECONDS = 240
"""Five runs, each a process, on a machine that does other things, too."""


@pytest.fixture
def days(home: Path) -> list[str]:
    """The days that the demo has snapshots of, as they were when it began."""
    first = datetime.fromisoformat((home / "first_day").read_text())
    return [f"{first + timedelta(days=day):%Y-%m-%d}" for day in range(EARLIER_DAYS + 1)]


def test_a_backfill_of_five_days_ends_well(page: Page, days: list[str]) -> None:
    first, last = days[0], days[-1]
    open_dialog(page, "feature_store/customer_features", f"[{first}...{last}]")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("5 partitions", exact=True)).to_be_visible()
    dialog.get_by_role("button", name="Launch backfill").click()
    expect(dialog).not_to_be_visible()
    page.goto("/runs?view=backfills")
    page.locator("a[href*='/runs/b/']").first.click()
    expect(page.get_by_text(f"{first}...{last}")).to_be_visible()
    expect(page.get_by_role("link", name="feature_store / customer_features")).to_be_visible()
    status = page.get_by_text("Status", exact=True).locator("xpath=..")
    expect(status).to_contain_text("Succeeded", timeout=BACKFILL_SECONDS * 1000)
    expect(page.get_by_text("100% completed")).to_be_visible()


def test_a_run_that_went_well_shows_what_it_made(page: Page) -> None:
    page.goto("/assets/ml/scores/sales_forecast")
    # Its link opens a window of its own.
    page.goto(page.locator("a[href^='/runs/']").first.get_attribute("href") or "")
    expect(page.get_by_text("Success", exact=True)).to_be_visible()
    expect(page.get_by_text("ASSET_MATERIALIZATION").first).to_be_visible()


def test_a_run_that_failed_says_what_to_do(page: Page, days: list[str]) -> None:
    """An earlier day's rows cannot be extracted by watermark any more: they are in the next extract."""
    earlier = days[0]
    open_dialog(page, "incremental/shop/main/Transactions", earlier)
    page.get_by_role("dialog").get_by_role("button", name="Launch 1 run").click()
    expect(page.get_by_role("dialog")).not_to_be_visible()
    page.goto("/runs")
    page.locator("a[href^='/runs/']:not([href^='/runs/b/'])").first.click()
    expect(page.get_by_text(f"partition: {earlier}").first).to_be_visible()
    expect(page.get_by_text("Failure", exact=True)).to_be_visible()
    message = page.get_by_text(re.compile("materialise .* and nothing is missed")).first
    expect(message).to_be_visible()
