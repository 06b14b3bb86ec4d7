"""How fast a copy went from its beginning to its end, as a plot: where a source stalls, people see it."""

from __future__ import annotations

from adfml_assets.archive.progress import TableProgress
from adfml_assets.plots import BLUE, new_figure, to_markdown

SHORTEST_SECONDS = 1.0
"""A copy that took less has nothing to show, and a thousand small tables a day would fill the event log."""

_FEWEST_MARKS = 4
_MOST_BARS = 60


def plot_throughput(copied: TableProgress) -> str | None:
    """Rows a second over the seconds of a copy; None where it was too short.

    Returns:
        PNG inside of Markdown.
    """
    if copied.seconds < SHORTEST_SECONDS or len(copied.marks) < _FEWEST_MARKS:
        return None
    import numpy as np

    # Several threads may add to one table: marks are not quite in order.
    seconds, rows = (np.array(values, float) for values in zip((0.0, 0), *sorted(copied.marks), strict=True))
    edges = np.linspace(0.0, seconds[-1], min(_MOST_BARS, len(seconds)) + 1)
    rates = np.diff(np.interp(edges, seconds, np.maximum.accumulate(rows))) / np.diff(edges)
    figure = new_figure(6, 1.8)
    axis = figure.subplots()
    axis.stairs(rates, edges, fill=True, color=BLUE)
    axis.axhline(copied.rows / copied.seconds, color="#888888", linestyle="--", linewidth=0.8)
    axis.set_xlabel("seconds (line: the whole copy)")
    axis.set_ylabel("rows/s")
    axis.set_ylim(bottom=0)
    return to_markdown(figure, f"{copied.rows:,} rows in {copied.seconds:.1f} s")
