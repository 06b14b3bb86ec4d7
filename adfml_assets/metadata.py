"""What the Dagster UI says of an asset and shows of its partitions in the lake."""

from __future__ import annotations

from typing import Any

import dagster as dg

from resources.lake import Lake
from resources.manifest import Manifest


def describe(what: str, adf_pipeline: str | None) -> str:
    """A job's description, with the pipeline it takes the place of."""
    return f"{what}\n\nADF: `{adf_pipeline}`." if adf_pipeline else what


def describe_partition(lake: Lake, folder: str, manifest: Manifest) -> dict[str, Any]:
    """Rows, size, address and schema of a partition, under the names Dagster knows; an empty one says so."""
    columns = [
        dg.TableColumn(name=column.name, type=column.type, description=column.source_type)
        for column in manifest.columns
    ]
    shown: dict[str, Any] = {
        "dagster/row_count": manifest.rows,
        "dagster/uri": lake.uri(folder),
        "dagster/column_schema": dg.TableSchema(columns=columns),
        "bytes": manifest.bytes,
        "files": len(manifest.files),
        "written_at": dg.MetadataValue.timestamp(manifest.written_at),
    }
    return shown if manifest.rows else {**shown, "note": "The partition is empty."}
