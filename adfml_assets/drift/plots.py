"""Plots of drift for the UI: PSI by feature, distributions then and now, and PSI over the last days."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from adfml_assets.drift.comparison import Comparison
from adfml_assets.drift.history import PastDay
from adfml_assets.plots import BLUE, RED, escape, new_figure, to_markdown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_BARS = 15
MOST_DISTRIBUTIONS = 3
MOST_LINES = 4

_GREY = "#888888"
_LINES = (RED, BLUE, "#3a8f5c", "#8657a8")


def plot_psi(comparisons: Sequence[Comparison], threshold: float) -> str | None:
    """PSI as bars, the largest on top, with the threshold and what chance alone may give; None without any."""
    shown = [found for found in comparisons if found.psi is not None][:MOST_BARS][::-1]
    if not shown:
        return None
    figure = new_figure(7, 0.9 + 0.32 * len(shown))
    axis = figure.subplots()
    places = range(len(shown))
    axis.barh(places, [found.psi or 0.0 for found in shown], color=[RED if f.psi_over else BLUE for f in shown])
    noise = [found.psi_noise for found in shown]
    axis.plot(noise, places, linestyle="", marker="|", markersize=12, color="black", label="by chance, at most")
    axis.axvline(threshold, color=_GREY, linestyle="--", linewidth=1, label=f"threshold {threshold:g}")
    axis.set_yticks(places, [escape(found.name) for found in shown])
    axis.set_xlim(left=0)
    axis.set_xlabel("PSI")
    axis.legend(fontsize=8, loc="lower right")
    return to_markdown(figure, "PSI")


def plot_distributions(comparisons: Sequence[Comparison]) -> str | None:
    """The shares of the bins in the training data and in the partition, of the first few; None without any."""
    shown = [found for found in comparisons if found.psi is not None][:MOST_DISTRIBUTIONS]
    if not shown:
        return None
    figure = new_figure(7, 2.4 * len(shown))
    axes = figure.subplots(len(shown), 1, squeeze=False)[:, 0]
    for axis, found in zip(axes, shown, strict=True):
        _plot_shares(axis, found)
    axes[0].legend(fontsize=8)
    return to_markdown(figure, "distributions")


def plot_history(days: Sequence[PastDay], names: Sequence[str], threshold: float) -> str | None:
    """PSI over the last days, a line a feature; None where there is no day.

    Args:
        days: oldest first.
        names: of the features, and `score`; only the first few are drawn.
    """
    drawn = [name for name in names if any(day.psi.get(name) is not None for day in days)][:MOST_LINES]
    if not drawn:
        return None
    figure = new_figure(7, 2.8)
    axis = figure.subplots()
    for name, colour in zip(drawn, _LINES, strict=False):
        points = [(at, value) for at, day in enumerate(days) if (value := day.psi.get(name)) is not None]
        places, values = zip(*points, strict=True)
        axis.plot(places, values, marker="o", markersize=3, linewidth=1, color=colour, label=escape(name))
    for at in range(1, len(days)):
        if days[at].version != days[at - 1].version:
            axis.axvline(at - 0.5, color=_GREY, linewidth=0.8)
            place = (at - 0.45, 0.92)
            axis.annotate(f"version {days[at].version}", place, xycoords=("data", "axes fraction"), fontsize=8)
    axis.axhline(threshold, color=_GREY, linestyle="--", linewidth=1)
    step = max(1, len(days) // 7)
    axis.set_xticks(range(0, len(days), step), [day.day[5:] for day in days[::step]])
    axis.set_ylim(bottom=0)
    axis.set_ylabel("PSI")
    axis.legend(fontsize=8)
    return to_markdown(figure, "PSI over the last days")


def _plot_shares(axis: Axes, found: Comparison) -> None:
    places = range(len(found.training.counts))
    for profile, shift, colour, label in (
        (found.training, -0.2, _GREY, "training"),
        (found.scored, 0.2, RED if found.psi_over else BLUE, "scored"),
    ):
        total = sum(profile.counts) or 1
        shares = [count / total for count in profile.counts]
        axis.bar([place + shift for place in places], shares, width=0.4, color=colour, label=label)
    axis.set_xticks(places, found.training.bins.labels, fontsize=7, rotation=20)
    axis.set_title(f"{escape(found.name)}: PSI {found.psi:.3f}", fontsize=9, loc="left")
