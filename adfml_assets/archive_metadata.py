"""What the UI shows of an archived partition."""

from __future__ import annotations

from typing import Any

import dagster as dg

from adfml_assets.archive.copying import Archived
from adfml_assets.archive.throughput import plot_throughput
from adfml_assets.metadata import describe_partition, describe_speed, order_metadata
from adfml_assets.origins import PERSONAL
from resources.lake import Lake


def describe_archived(lake: Lake, archived: Archived) -> dict[str, Any]:
    """Rows, size, schema, speed, snapshot, rules and a sample of a partition, as Dagster's metadata."""
    manifest, copied = archived.manifest, archived.copied
    facts = {name: _to_text(value) for name, value in manifest.facts.items() if name != PERSONAL}
    shown: dict[str, Any] = {
        **describe_partition(lake, archived.folder, manifest, sample=copied.sample if copied else None),
        **facts,
        "megabytes": round(manifest.bytes / 1e6, 3),
        "isolation": str(manifest.source.get("snapshot", {}).get("isolation", "not stated")),
        "taken_by_this_run": not archived.existing,
    }
    if copied is None:
        return shown
    shown |= describe_speed(copied.rows, copied.seconds)
    plot = plot_throughput(copied)
    return order_metadata({**shown, "throughput": dg.MetadataValue.md(plot)}) if plot else shown


def _to_text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
