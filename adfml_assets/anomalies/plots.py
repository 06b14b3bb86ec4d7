"""Plots for the UI: scores over time, and which variables stand out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from adfml_assets.anomalies.summary import BINS, SeriesSummary, Summary
from adfml_assets.plots import BLUE, RED, escape, new_figure, to_markdown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_VARIABLES = 10


def plot_scores(summary: Summary) -> str | None:
    """Highest scores over time with threshold and anomalies, of the worst series; None where nothing was checked."""
    shown = summary.profiled
    if not shown:
        return None
    figure = new_figure(9, 0.6 + 1.5 * len(shown))
    axes = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for axis, found in zip(axes, shown, strict=True):
        _plot_series(axis, found)
    axes[-1].set_xlabel("UTC")
    return to_markdown(figure, "scores over time")


def plot_contributors(summary: Summary) -> str | None:
    """Mean share of each variable in the anomalies; None without one."""
    shares = dict(list(summary.add_up_contributions().items())[:_MOST_VARIABLES])
    if not shares:
        return None
    figure = new_figure(6, 0.7 + 0.35 * len(shares))
    axis = figure.subplots()
    names = list(reversed(shares))
    axis.barh(range(len(names)), [shares[name] for name in names], color=BLUE)
    axis.set_yticks(range(len(names)), [escape(name) for name in names])
    axis.set_xlim(0, 1)
    axis.set_xlabel("mean share of what is unexplained")
    return to_markdown(figure, "top contributors")


def _plot_series(axis: Axes, found: SeriesSummary) -> None:
    import numpy as np
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    begin = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=found.window.begin_us)
    width = timedelta(microseconds=(found.window.end_us - found.window.begin_us) / BINS)
    times: Any = np.array([(begin + width * (at + 0.5)).replace(tzinfo=None) for at in range(BINS)])
    profile = found.profile
    known = ~np.isnan(profile)
    axis.plot(times[known], profile[known], color=BLUE, linewidth=0.8)
    axis.axhline(found.threshold, color="#888888", linestyle="--", linewidth=0.8)
    above = known & (np.nan_to_num(profile) > found.threshold)
    axis.plot(times[above], profile[above], "o", color=RED, markersize=3)
    locator = AutoDateLocator(maxticks=8)  # type: ignore[no-untyped-call]
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axis.set_ylim(bottom=0)
    name = f"{escape(found.series)}: " if found.series is not None else ""
    axis.set_title(f"{name}{found.anomalies} anomalies", fontsize=9, loc="left")
