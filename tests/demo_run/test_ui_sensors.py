"""The sensors that take the place of Until loops, in Dagster's UI: listed, evaluated, switched off and on."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, Response, expect

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

_SWITCHED = re.compile(r"mutation (Start|Stop)\w*Sensor")
POLLING = ("azure_ml_batch_jobs", "databricks_jobs", "openai_batch_jobs")


def test_the_polling_sensors_are_listed(page: Page) -> None:
    page.goto("/automation")
    for name in POLLING:
        expect(page.get_by_role("link", name=name)).to_be_visible()


def test_a_sensor_is_evaluated_and_can_be_switched_off_and_on(page: Page) -> None:
    page.goto("/locations/adfml/sensors/databricks_jobs")
    expect(page.get_by_text("Takes the place of the Until loops")).to_be_visible()
    ticks = page.get_by_role("row").filter(has_text="View logs")
    expect(ticks.filter(has_text="runs requested", has_not_text="Evaluating").first).to_be_visible()
    switch = page.get_by_role("row", name="Running").get_by_role("checkbox")
    expect(switch).to_be_checked()
    _click(page, switch)
    expect(switch).not_to_be_checked()
    page.reload()
    expect(switch).not_to_be_checked()
    _click(page, switch)
    expect(switch).to_be_checked()
    page.reload()
    expect(switch).to_be_checked()


def _click(page: Page, switch: Locator) -> None:
    """Switch, and wait for the server's answer: the page shows it earlier, and to leave the page takes it back."""

    def is_answer(response: Response) -> bool:
        return "/graphql" in response.url and bool(_SWITCHED.search(response.request.post_data or ""))

    with page.expect_response(is_answer):
        # The box is drawn by its neighbour and is itself outside of the window.
        switch.dispatch_event("click")
