"""What the UI shows of an archived partition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from adfml_assets.archive.copying import Archived
from adfml_assets.metadata import describe_partition
from resources.lake import Lake


def describe_archived(lake: Lake, archived: Archived) -> dict[str, Any]:
    """Rows, size, schema, speed, snapshot, rules and a sample of a partition, as Dagster's metadata."""
    manifest = archived.manifest
    facts = {name: str(value) for name, value in manifest.facts.items()}
    shown: dict[str, Any] = {
        **describe_partition(lake, archived.folder, manifest),
        **facts,
        "megabytes": round(manifest.bytes / 1e6, 3),
        "isolation": str(manifest.source.get("snapshot", {}).get("isolation", "not stated")),
        "taken_by_this_run": not archived.existing,
    }
    if copied := archived.copied:
        shown |= {
            "seconds": round(copied.seconds, 3),
            "rows_per_second": round(copied.rows / max(copied.seconds, 1e-3)),
        }
        if copied.sample:
            shown["sample"] = dg.MetadataValue.md(_build_table(copied.sample))
    return shown


def _build_table(sample: Mapping[str, Sequence[str | None]]) -> str:
    """Columns as a Markdown table; long values are cut."""
    lines = ["| " + " | ".join(_to_cell(name) for name in sample) + " |", "|" + " --- |" * len(sample)]
    rows = zip(*sample.values(), strict=True)
    lines += ["| " + " | ".join(_to_cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def _to_cell(value: object) -> str:
    text = "" if value is None else str(value)
    text = text if len(text) <= 60 else f"{text[:57]}..."
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("\r", " ")
