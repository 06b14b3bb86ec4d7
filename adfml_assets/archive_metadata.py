"""What the UI shows of an archived partition, and the two checks that come with every copy."""

from __future__ import annotations

from typing import Any

import dagster as dg

from adfml_assets.archive.copying import Archived
from adfml_assets.metadata import describe_partition
from resources.lake import Lake

SAMPLE_ROWS = 5


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
    if archived.seconds:
        shown |= {"seconds": round(archived.seconds, 3), "rows_per_second": round(manifest.rows / archived.seconds)}
    if manifest.rows and not archived.existing:
        shown["sample"] = dg.MetadataValue.md(_draw_sample(lake, archived))
    return shown


def check_complete(key: dg.AssetKey, archived: Archived) -> dg.AssetCheckResult:
    """Whether the partition has as many rows as the source counted.

    Where reading and counting could not see one state, a difference may be a writer's work: it warns then.
    """
    manifest = archived.manifest
    expected = manifest.facts.get("rows_at_source", manifest.rows)
    one_state = bool(manifest.source.get("snapshot", {}).get("one_state", True))
    return dg.AssetCheckResult(
        asset_key=key,
        check_name="complete",
        passed=manifest.rows == expected,
        severity=dg.AssetCheckSeverity.ERROR if one_state else dg.AssetCheckSeverity.WARN,
        metadata={"rows": manifest.rows, "rows_at_source": int(expected)},
    )


def check_schema(key: dg.AssetKey, archived: Archived) -> dg.AssetCheckResult:
    """Whether the columns are those of the copy before. Added ones warn; removed or retyped ones are an error."""
    change = archived.schema_change
    if not change:
        return dg.AssetCheckResult(asset_key=key, check_name="schema", passed=True)
    return dg.AssetCheckResult(
        asset_key=key,
        check_name="schema",
        passed=False,
        severity=dg.AssetCheckSeverity.ERROR if change.breaks else dg.AssetCheckSeverity.WARN,
        description="The columns are not those of the copy before. The data is archived as the source has it now.",
        metadata={"difference": dg.MetadataValue.md(f"```diff\n{change.describe()}\n```")},
    )


def _draw_sample(lake: Lake, archived: Archived) -> str:
    """The first rows as a Markdown table; long values are cut."""
    path = f"{archived.folder}/{archived.manifest.files[0].name}"
    batch = next(iter(lake.iter_batches(path, batch_rows=SAMPLE_ROWS)))
    names = batch.schema.names[:30]
    lines = ["| " + " | ".join(_to_cell(name) for name in names) + " |", "|" + " --- |" * len(names)]
    for row in batch.slice(0, SAMPLE_ROWS).to_pylist():
        lines.append("| " + " | ".join(_to_cell(row[name]) for name in names) + " |")
    return "\n".join(lines)


def _to_cell(value: object) -> str:
    text = "" if value is None else str(value)
    text = text if len(text) <= 60 else f"{text[:57]}..."
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("\r", " ")
