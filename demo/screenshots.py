"""`python -m demo.screenshots`, which `make screenshots` calls: pictures in docs/, of Dagster's UI on the last demo.

Nothing is posed: a run that fails is launched where none has failed yet.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from demo.chromium import ChromiumMissing, open_chromium
from demo.dagster_pages import days_ago, open_dialog, open_plot, open_ui
from demo.home import PROJECT, find_last_home
from demo.processes import ProcessFailed

if TYPE_CHECKING:
    from playwright.sync_api import FloatRect, Page

DOCS = PROJECT / "docs"
COLOURS = 128
SECONDS = 240
"""How long a page may take to show what it is to show, runs included."""

LAUNCHES = "mutation Launch"

# Where the last stack trace begins, in pixels from above: it has the paths of the machine it was made on.
FIND_STACK_TRACE = """() => {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    let top = window.innerHeight;
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        const begin = node.data.indexOf("Stack Trace");
        if (begin < 0) continue;
        const range = document.createRange();
        range.setStart(node, begin);
        range.setEnd(node, begin + 11);
        top = range.getBoundingClientRect().top;
    }
    return top;
}"""


@dataclass(frozen=True)
class Picture:
    """A picture of docs/.

    Attributes:
        file: its name there.
        show: brings the page to what is to be seen; where it gives a part of the page, that alone is the picture.
        width, height: of the window.
    """

    file: str
    show: Callable[[Page], FloatRect | None]
    width: int = 1500
    height: int = 850


def main(
    address: Annotated[str | None, typer.Option(help="A UI that runs; without it one is started.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Names of pictures, in place of all.")] = None,
) -> None:
    """Make the pictures anew."""
    try:
        with _find_ui(address) as ui, open_chromium() as browser:
            for picture in PICTURES:
                if only and picture.file not in only:
                    continue
                size = {"width": picture.width, "height": picture.height}
                context = browser.new_context(base_url=ui, viewport=size)  # type: ignore[arg-type]  # a TypedDict
                context.set_default_timeout(SECONDS * 1000)
                page = context.new_page()
                part = picture.show(page)
                size_kb = _save(page.screenshot(clip=part), DOCS / picture.file)
                context.close()
                print(f"docs/{picture.file}: {size_kb} KB")
    except (ProcessFailed, ChromiumMissing) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None


@contextmanager
def _find_ui(address: str | None) -> Iterator[str]:
    if address:
        yield address
        return
    home = find_last_home()
    if home is None or not home.dagster.is_dir():
        print("There is no demo yet: run `make demo` first.", file=sys.stderr)
        raise typer.Exit(1)
    with open_ui(home.environment(), home.logs / "ui.log") as found:
        yield found


def _show_graph(page: Page) -> None:
    page.goto("/asset-groups")
    page.get_by_text("archive", exact=True).first.wait_for()
    page.wait_for_load_state("networkidle")
    page.keyboard.press("Alt+KeyE")
    page.get_by_text("customer_features", exact=True).first.wait_for()
    # A table that is archived whole is green as soon as the states of the assets are there.
    page.locator("[style*='--color-background-green']").first.wait_for()


def _show_backfill(page: Page) -> None:
    dialog = open_dialog(page, "feature_store/customer_features", f"[{days_ago(4)}...{days_ago(0)}]")
    dialog.get_by_text("5 partitions", exact=True).wait_for()


def _show_failed_run(page: Page) -> FloatRect:
    page.goto("/runs?q%5B%5D=status%3AFAILURE")
    page.wait_for_load_state("networkidle")
    failed = page.locator("a[href^='/runs/']:not([href^='/runs/b/'])").first
    if not failed.count():
        dialog = open_dialog(page, "incremental/shop/main/Transactions", days_ago(1))
        # The page must not be left before the UI has its answer: nothing would be launched.
        with page.expect_response(lambda response: LAUNCHES in (response.request.post_data or "")):
            dialog.get_by_role("button", name="Launch 1 run").click()
        page.goto("/runs?q%5B%5D=status%3AFAILURE")
    page.goto(failed.get_attribute("href") or "")
    page.get_by_text("RUN_FAILURE").first.wait_for()
    page.get_by_text("Failure", exact=True).wait_for()
    width = float(page.evaluate("window.innerWidth"))
    return {"x": 0, "y": 0, "width": width, "height": float(page.evaluate(FIND_STACK_TRACE))}


def _show_sensors(page: Page) -> None:
    page.goto("/automation")
    page.get_by_text("Standard sensor").nth(3).wait_for()
    page.wait_for_load_state("networkidle")


def _show_launchpad(page: Page) -> None:
    page.goto("/locations/adfml/jobs/PL_EndToEnd_ML_Workflow")
    page.get_by_role("tab", name="Launchpad").click()
    page.get_by_text("All defaults expanded").wait_for()


def _save(picture: bytes, path: Path) -> int:
    """A picture with a palette, which is a third of its size; returns kilobytes."""
    from PIL import Image

    drawn = Image.open(io.BytesIO(picture)).convert("RGB")
    drawn.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    return path.stat().st_size // 1000


def _show_scores(page: Page) -> FloatRect | None:
    # The plot alone: the page behind it has paths of the machine.
    return open_plot(page, "ml/scores/sales_forecast", "score_distribution").bounding_box()


def _show_champion(page: Page) -> None:
    page.goto("/assets/ml/champions/sales_forecast")
    page.get_by_role("row").filter(has_text="metric_over_versions").scroll_into_view_if_needed()


def _show_drift(page: Page) -> FloatRect | None:
    return open_plot(page, "ml/drift/sales_forecast", "distributions_of_features").bounding_box()


PICTURES = (
    Picture("asset-graph.png", _show_graph, 2600, 1500),
    Picture("scores.png", _show_scores),
    Picture("champion.png", _show_champion),
    Picture("drift.png", _show_drift),
    Picture("backfill.png", _show_backfill),
    Picture("failed-run.png", _show_failed_run),
    Picture("sensors.png", _show_sensors, height=1000),
    Picture("launchpad.png", _show_launchpad),
)

if __name__ == "__main__":
    typer.run(main)
