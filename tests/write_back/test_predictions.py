"""A day's scores from the lake in their table, as a scored model declares it."""

from __future__ import annotations

from datetime import date
from typing import Any

import pyarrow as pa
import pytest

from adfml_assets import lake_layout
from adfml_assets.components.scored_model import WriteBack
from adfml_assets.errors import DeclarationInvalid
from adfml_assets.scoring.predictions import write_predictions
from adfml_assets.scoring.source_rows import SourceSpec
from resources.lake import Lake
from resources.manifest import Manifest, build_manifest
from tests.conftest import NOW, TODAY
from tests.write_back.conftest import SCORED_AT, Place
from tests.write_back.test_scored_rows import make_source, read_dates

FOLDER = lake_layout.scores_folder("m", TODAY)
SAID = {"model": "m", "version": "3", "alias": "champion", "feature_snapshot": TODAY}
SOURCE = SourceSpec("shop", None, "Features", "Id", None, "ScoredDate")  # type: ignore[arg-type]


def put(lake: Lake, records: int, **facts: str) -> Manifest:
    said = {**SAID, **facts}
    table = pa.table(
        {
            "RecordId": pa.array(reversed(range(records)), pa.int64()),
            "score": [record / 2 for record in reversed(range(records))],
            **{name: [said[name]] * records for name in ("model", "version", "alias")},
            "scored_at": pa.array([SCORED_AT] * records, pa.timestamp("us", "UTC")),
            "feature_snapshot": [date.fromisoformat(said["feature_snapshot"])] * records,
        }
    )
    written = lake.write_table(f"{FOLDER}/predictions.parquet", table)
    return build_manifest(
        asset="ml/scores/m",
        partition=TODAY,
        files=[written],
        schema=table.schema,
        written_at=NOW,
        run_id="r",
        facts=said,
    )


def write(lake: Lake, place: Place, manifest: Manifest, **declared: Any) -> dict[str, Any]:
    schema = "public" if place.dialect == "postgresql" else "main"
    target = WriteBack(f"shop.{schema}.Predictions", ("RecordId", "ModelName"), **declared).build_target()
    shown = write_predictions(lake, place.databases, target, SOURCE, FOLDER, manifest)
    counts = ("inserted", "updated", "unchanged", "kept_newer", "Features.ScoredDate")
    return {name: shown[name] for name in counts}


@pytest.mark.parametrize("batch_rows", [None, 3])
def test_scores_are_written_as_declared(lake: Lake, place: Place, batch_rows: int | None) -> None:
    make_source(place)
    manifest = put(lake, 8)
    first = {"inserted": 8, "updated": 0, "unchanged": 0, "kept_newer": 0, "Features.ScoredDate": "8 rows set"}
    again = {"inserted": 0, "updated": 0, "unchanged": 8, "kept_newer": 0, "Features.ScoredDate": "0 rows set"}
    assert write(lake, place, manifest, batch_rows=batch_rows) == first
    assert write(lake, place, manifest, batch_rows=batch_rows) == again
    assert place.read()[(5, "m")] == {
        "RecordId": 5,
        "ModelName": "m",
        "Score": 2.5,
        "ModelVersion": "3",
        "ModelAlias": "champion",
        "ScoredAt": SCORED_AT.replace(tzinfo=None),
        "FeatureSnapshot": date.fromisoformat(TODAY),
        "SnapshotDate": date.fromisoformat(TODAY),
    }
    assert None not in read_dates(place).values()
    other = write(lake, place, put(lake, 8, version="4"), batch_rows=batch_rows)
    assert (other["updated"], {row["ModelVersion"] for row in place.read().values()}) == (8, {"4"})


def test_an_older_day_may_overwrite_a_newer_one_where_declared(lake: Lake, place: Place) -> None:
    make_source(place)
    manifest = put(lake, 2)
    write(lake, place, manifest)
    place.execute("""UPDATE "Predictions" SET "SnapshotDate" = '2999-01-01'""")
    assert write(lake, place, manifest)["kept_newer"] == 2
    assert write(lake, place, manifest, overwrite_newer=True)["updated"] == 2


def test_a_batch_has_rows() -> None:
    with pytest.raises(DeclarationInvalid, match=r"Write-back to shop\.main\.P: batch_rows is 0; expected 1 or more"):
        WriteBack("shop.main.P", batch_rows=0)
