"""What is to be scored: the features of the newest feature date, one record a key."""

from __future__ import annotations

from datetime import date, datetime

from adfml_assets import lake_layout
from adfml_assets.features.feature_set import FEATURE_DATE
from resources.lake import Lake
from resources.manifest import Manifest, build_manifest, commit_manifest, list_data_paths

RECORD_ID = "RecordId"
FILE = "scoring_input.parquet"


def build_scoring_input(
    lake: Lake, model: str, features: tuple[str, Manifest], day: str, *, asset: str, now: datetime, run_id: str
) -> tuple[str, Manifest]:
    """Write a day's records: `RecordId` (the feature set's key) and its features. Returns folder and manifest."""
    import pyarrow as pa
    import pyarrow.compute as pc

    facts = features[1].facts
    key, newest = str(facts["key"]), facts["feature_date"]
    table = pa.concat_tables([lake.read_table(path) for path in list_data_paths(*features)])
    wanted = pa.scalar(date.fromisoformat(newest) if newest else None, pa.date32())
    table = table.filter(pc.equal(table[FEATURE_DATE], wanted))
    columns = [RECORD_ID if name == key else name for name in table.column_names]
    table = table.rename_columns(columns)
    folder = lake_layout.scoring_input_folder(model, day)
    written = lake.write_table(f"{folder}/{FILE}", table)
    manifest = build_manifest(
        asset=asset,
        partition=day,
        files=[written],
        schema=table.schema,
        written_at=now,
        run_id=run_id,
        source={"features": {"folder": features[0], "run_id": features[1].run_id}},
        facts={"key": key, "feature_date": newest},
    )
    commit_manifest(lake, folder, manifest)
    return folder, manifest
