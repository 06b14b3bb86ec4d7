"""What the Dagster UI says of an asset and shows of its partitions in the lake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from adfml_assets.origins import PERSONAL, Origins, build_lineage, describe_origins, list_personal, read_origins
from adfml_assets.plots import PLOT
from adfml_assets.samples import build_table, read_sample
from resources.lake import Lake
from resources.manifest import Manifest


def describe(what: str, adf_pipeline: str | None) -> str:
    """A job's description, with the pipeline it takes the place of."""
    return f"{what}\n\nADF: `{adf_pipeline}`." if adf_pipeline else what


def describe_partition(
    lake: Lake,
    folder: str,
    manifest: Manifest,
    *,
    texts: Mapping[str, str] | None = None,
    origins: Origins | None = None,
    sample: Mapping[str, Sequence[str | None]] | None = None,
) -> dict[str, Any]:
    """Rows, size, address, schema, column lineage and a sample of a partition, under the names Dagster knows.

    An empty one says so. Columns of personal data are in the schema, and in no sample.

    Args:
        texts: what columns are, in words.
        origins: what columns are made of; None: what the manifest says of that.
        sample: rows that were drawn while they were written; None: they are read from the lake.
    """
    made_of = origins if origins is not None else read_origins(manifest) or {}
    shown: dict[str, Any] = {
        "dagster/row_count": manifest.rows,
        "dagster/uri": lake.uri(folder),
        "dagster/column_schema": build_schema(manifest, texts or {}, made_of),
        **build_lineage(made_of),
        **link_file(lake, folder, manifest),
        "bytes": manifest.bytes,
        "files": len(manifest.files),
        "written_at": dg.MetadataValue.timestamp(manifest.written_at),
    }
    if not manifest.rows:
        return {**shown, "note": "The partition is empty."}
    drawn = sample if sample is not None else read_sample(lake, folder, manifest)
    table = build_table(drawn, list_personal(manifest))
    return {**shown, "sample": dg.MetadataValue.md(table)} if table else shown


def build_schema(manifest: Manifest, texts: Mapping[str, str], origins: Origins) -> dg.TableSchema:
    """A partition's columns, with what is known of each in words."""
    facts = manifest.facts
    keys, hashed, personal = (set(facts.get(name) or ()) for name in ("primary_key", "hashed", PERSONAL))
    columns = []
    for column in manifest.columns:
        said = [
            texts.get(column.name, ""),
            f"{column.source_type} at the source." if column.source_type else "",
            describe_origins(origins.get(column.name, ())),
            "Archived as a keyed hash of the value." if column.name in hashed else "",
            "Personal data: not in samples." if column.name in personal else "",
        ]
        columns.append(
            dg.TableColumn(
                name=column.name,
                type=column.type,
                description=" ".join(filter(None, said)) or None,
                constraints=dg.TableColumnConstraints(other=["primary key"]) if column.name in keys else None,
            )
        )
    return dg.TableSchema(columns=columns)


def describe_written(
    lake: Lake, folder: str, manifest: Manifest, columns: Mapping[str, str], texts: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Schema, column lineage and a sample of what a partition is in the table that it was written to.

    Args:
        folder, manifest: of the partition.
        columns: column of the table -> column of the partition.
        texts: what columns of the table are, in words.
    """
    types = {column.name: column.type for column in manifest.columns}
    known = {name: source for name, source in columns.items() if source in types}
    schema = [
        dg.TableColumn(
            name=name,
            type=types[source],
            description=" ".join(
                filter(None, [(texts or {}).get(name, ""), describe_origins([(manifest.asset, source)])])
            ),
        )
        for name, source in known.items()
    ]
    table = build_table(read_sample(lake, folder, manifest, {source: name for name, source in known.items()}))
    return {
        "dagster/column_schema": dg.TableSchema(columns=schema),
        **build_lineage({name: [(manifest.asset, source)] for name, source in known.items()}),
        **({"sample": dg.MetadataValue.md(table)} if table else {}),
    }


def link_file(lake: Lake, folder: str, manifest: Manifest) -> dict[str, Any]:
    """The partition's first file: a link to its blob, or its path on this machine."""
    if not manifest.files:
        return {}
    path = f"{folder}/{manifest.files[0].name}"
    url = lake.url(path)
    return {"file": dg.MetadataValue.url(url) if url else dg.MetadataValue.path(lake.uri(path))}


def order_metadata(shown: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata as people read it from above: plots first, then numbers and texts, JSON documents at the end."""
    return dict(sorted(shown.items(), key=lambda entry: _rank(entry[1])))


def _rank(value: Any) -> int:
    if isinstance(value, dg.MarkdownMetadataValue) and value.md_str and value.md_str.startswith(PLOT):
        return 0
    return 2 if isinstance(value, dg.JsonMetadataValue) else 1


def describe_speed(rows: int, seconds: float) -> dict[str, Any]:
    """How long something took, and rows a second: Dagster draws both over partitions."""
    return {"seconds": round(seconds, 3), "rows_per_second": round(rows / max(seconds, 1e-3))}
