"""Pages of Dagster's UI, as the screenshots and the tests go through them, and the UI itself on a port of its own."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from demo.processes import require_alive, run_in_background

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

NAME = "The UI"

NOTHING_FADES = """() => !document.getAnimations().some(
    one => one instanceof CSSTransition && one.playState === "running")"""


@contextmanager
def open_ui(environment: Mapping[str, str], log: Path) -> Iterator[str]:
    """What `make ui` starts on the last demo, while the block runs: the address.

    Raises:
        ProcessFailed: it ended by itself.
    """
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    with run_in_background(NAME, ["demo", "ui", "--port", str(port)], environment, log) as process:
        while not _answers(f"{address}/server_info"):
            require_alive(NAME, process, log)
            time.sleep(0.2)
        yield address


def _answers(address: str) -> bool:
    try:
        return httpx.get(address, timeout=5).is_success
    except httpx.TransportError:
        return False


def open_dialog(page: Page, asset: str, partitions: str) -> Locator:
    """The dialog that materialises an asset, with partitions chosen: a day, or `[first...last]`."""
    page.goto(f"/assets/{asset}")
    page.get_by_role("button", name="Materialize…").first.click()
    dialog = page.get_by_role("dialog")
    chosen = dialog.get_by_role("textbox").first
    chosen.fill(partitions)
    chosen.press("Enter")
    return dialog


def open_plot(page: Page, asset: str, name: str) -> Locator:
    """A plot of an asset's newest materialisation: a picture in Markdown, which opens by a click."""
    page.goto(f"/assets/{asset}")
    page.get_by_role("row").filter(has_text=name).get_by_text("[Show Markdown]").click()
    picture = page.get_by_role("dialog").locator("img[src^='data:image/png']")
    picture.wait_for()
    picture.click(trial=True)  # it has stopped to move
    page.wait_for_function(NOTHING_FADES)
    return picture


def days_ago(days: int) -> str:
    """A partition of the daily assets."""
    return f"{datetime.now(UTC) - timedelta(days=days):%Y-%m-%d}"
