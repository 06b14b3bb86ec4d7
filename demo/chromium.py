"""Debian's Chromium, without a screen, for a look at Dagster's UI: what the screenshots and the tests share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--no-sandbox",  # Chromium refuses to run as root with one; the only page it opens is ours
    "--disable-gpu",
    # Nothing is asked for outside of this machine.
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


class ChromiumMissing(Exception):
    """There is no Chromium on this machine."""

    def __init__(self) -> None:
        super().__init__(f"None of {', '.join(PROGRAMS)} is on the PATH: `make browser` installs Debian's chromium.")


def find_chromium() -> str:
    """The path of the browser's program.

    Raises:
        ChromiumMissing: there is none.
    """
    for name in PROGRAMS:
        if found := shutil.which(name):
            return found
    raise ChromiumMissing


@contextmanager
def open_chromium() -> Iterator[Browser]:
    """A browser while the block runs, with a profile of its own that is gone afterwards.

    Raises:
        ChromiumMissing: there is none on this machine.
    """
    from playwright.sync_api import sync_playwright

    program = find_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()
