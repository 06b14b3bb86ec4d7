"""What the UI shows of training data: the data card, the splits as a table, and how the label is distributed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from adfml_assets.features.categories import expanded_names
from adfml_assets.plots import BLUE, RED, escape, new_figure, to_markdown
from adfml_assets.training.splits import SPLITS

_COLOURS = {"train": BLUE, "validation": "#e0a030", "test": RED}
_MOST_FEATURES = 15


def show_card(card: Mapping[str, Any]) -> dict[str, Any]:
    """A data card as Dagster's metadata."""
    missing = sorted(((share, name) for name, share in card["missing"]["train"].items() if share), reverse=True)
    shown: dict[str, Any] = {
        "data_card": dg.MetadataValue.json(dict(card)),
        "splits": dg.MetadataValue.md(tabulate_splits(card)),
        "label_distribution": dg.MetadataValue.md(plot_labels(card)),
        "features": len(card["features"]),
        "features_sha256": card["features_sha256"],
        "start_date": card["start_date"],
        "end_date": card["end_date"],
    }
    if card["snapshot_date"] is not None:
        shown["snapshot_date"] = card["snapshot_date"]
    if missing:
        listed = "\n".join(f"| `{name}` | {share:.1%} |" for share, name in missing[:_MOST_FEATURES])
        more = f"\n\nand {len(missing) - _MOST_FEATURES} more" if len(missing) > _MOST_FEATURES else ""
        shown["missing_in_train"] = dg.MetadataValue.md(f"| feature | missing |\n|---|---|\n{listed}{more}")
    if card["unknown_categories"]:
        shown["unknown_categories"] = dg.MetadataValue.json(card["unknown_categories"])
    left_out = {why: len(dates) for why, dates in card["left_out"].items() if dates}
    if left_out:
        shown["dates_left_out"] = dg.MetadataValue.json(left_out)
    return shown


def describe_columns(card: Mapping[str, Any]) -> dict[str, str]:
    """What the columns are, in words."""
    of_categories = {
        name: f"A category of `{column}`; `{column}_other` counts those that have no column."
        for column in card["pinned"]
        for name in expanded_names([column], card["pinned"])
    }
    return {
        **of_categories,
        card["key"]: "Whose row it is.",
        card["time"]: "What the row's features were true at (UTC).",
        card["label"]: f"What is predicted: of the {card['label_days']} days after it.",
    }


def tabulate_splits(card: Mapping[str, Any]) -> str:
    """Rows, period and label of each split, as a table in Markdown."""
    lines = [
        "| split | rows | dates | from | to | mean label | std | median | max | zeros |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for split in SPLITS:
        label, dates = card["label_distribution"][split], card["periods"][split]
        numbers = " | ".join(f"{label[name]:.6g}" for name in ("mean", "std", "p50", "max"))
        zeros = label["zeros"] / label["rows"]
        lines.append(
            f"| {split} | {label['rows']} | {len(dates)} | {dates[0]} | {dates[-1]} | {numbers} | {zeros:.1%} |"
        )
    return "\n".join(lines)


def plot_labels(card: Mapping[str, Any]) -> str:
    """The share of labels in equally wide bins, a line a split: they should lie over each other."""
    histogram = card["label_histogram"]
    figure = new_figure(6, 2.6)
    axis = figure.subplots()
    for split in SPLITS:
        counts = histogram["counts"][split]
        total = sum(counts)
        axis.stairs([count / total for count in counts], histogram["edges"], color=_COLOURS[split], label=split)
    axis.set_yscale("symlog", linthresh=0.01)
    axis.set_ylim(bottom=0)
    axis.set_xlabel(escape(card["label"]))
    axis.set_ylabel("share of rows")
    axis.legend(fontsize=8)
    return to_markdown(figure, "label distribution")
