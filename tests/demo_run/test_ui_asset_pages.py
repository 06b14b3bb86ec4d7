"""The page of an asset in Dagster's UI: what it is, how many rows it has, its plot, and what it is made of."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
from playwright.sync_api import Page, expect

from demo.dagster_pages import open_plot

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Shown:
    """What a page is to show.

    Attributes:
        asset: its key.
        description: a part of what it says of itself.
        neighbours: assets beside it in the graph.
        rows: whether it has a row count.
        plot: the name of its plot, if it has one.
    """

    asset: str
    description: str
    neighbours: tuple[str, ...]
    rows: bool = True
    plot: str | None = None


PAGES = {
    "archived table": Shown(
        "archive/shop/main/Transactions", "PL_SqlArchive_ForAnalysis", ("customer_features", "transaction_features")
    ),
    "feature set": Shown("feature_store/customer_features", "DF_FeatureEngineering", ("Transactions", "Products")),
    "model": Shown(
        "ml/models/sales_forecast", "PL_ML_Training_Databricks", ("sales_forecast_job", "sales_forecast"), rows=False
    ),
    "score": Shown(
        "ml/scores/sales_forecast",
        "PL_ML_Scoring_Databricks",
        ("sales_forecast_job", "Predictions"),
        plot="score_distribution",
    ),
}


@pytest.mark.parametrize("what", PAGES)
def test_an_asset_says_what_it_is_and_shows_what_it_holds(page: Page, what: str) -> None:
    shown = PAGES[what]
    page.goto(f"/assets/{shown.asset}")
    expect(page.get_by_text(shown.description).first).to_be_visible()
    expect(page.get_by_text("Latest materialization")).to_be_visible()
    if shown.rows:
        row_count = page.get_by_text("Row count", exact=True).locator("xpath=..")
        expect(row_count).to_contain_text(re.compile(r"[1-9]"))
    if shown.plot:
        picture = open_plot(page, shown.asset, shown.plot)
        expect(picture).to_be_visible()
        assert picture.evaluate("image => image.naturalWidth") > 100
        page.keyboard.press("Escape")
        expect(picture).not_to_be_visible()
    page.get_by_role("tab", name="Lineage").click()
    for name in shown.neighbours:
        expect(page.get_by_text(name, exact=True).filter(visible=True).first).to_be_visible()
