"""Scores are verified before they count, and written back exactly once."""

from __future__ import annotations

import sqlite3
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest

from adfml_assets import lake_layout
from adfml_assets.errors import WrongResult
from adfml_assets.metadata import describe_partition
from adfml_assets.scoring.scores import replace_scores, verify_scores, write_no_scores
from adfml_assets.scoring.write_back import describe_target, write_scores
from adfml_assets.write_back.errors import DuplicateKeys, TargetInvalid
from resources.database import Databases
from resources.errors import NotFound
from resources.lake import Lake
from resources.manifest import read_manifest
from tests.conftest import NOW, TODAY

SCORES = lake_layout.scores_folder("m", TODAY)
EXPECTED = {"model": "m", "version": "1", "alias": "champion", "feature_snapshot": TODAY}


def scores(records: list[int], values: list[float] | None = None, **changes: Any) -> pa.Table:
    columns: dict[str, Any] = {
        "RecordId": pa.array(records, pa.int64()),
        "score": pa.array(values or [float(r) for r in records], pa.float64()),
        **{name: pa.array([EXPECTED[name]] * len(records), pa.string()) for name in ("model", "version", "alias")},
        "scored_at": pa.array([datetime(2026, 3, 10, 12, tzinfo=UTC)] * len(records), pa.timestamp("us", tz="UTC")),
        "feature_snapshot": pa.array([date.fromisoformat(TODAY)] * len(records), pa.date32()),
    }
    return pa.table({**columns, **changes})


def put(lake: Lake, table: pa.Table | None, records: list[int]) -> None:
    ids = pa.table({"RecordId": pa.array(records, pa.int64())})
    lake.write_table(f"{lake_layout.scoring_input_folder('m', TODAY)}/scoring_input.parquet", ids)
    if table is not None:
        lake.write_table(f"{lake_layout.scores_folder('m', TODAY)}/predictions.parquet", table)


def verify(lake: Lake) -> Any:
    return verify_scores(lake, "m", TODAY, EXPECTED, asset="a", now=NOW, run_id="r", source={})


def test_scores_of_every_record_count(lake: Lake) -> None:
    put(lake, scores([2, 1]), [1, 2])
    manifest, table = verify(lake)
    assert (manifest.rows, table.num_rows, manifest.facts) == (2, 2, EXPECTED)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (None, "expected 2 scores, found no file"),
        (scores([1]), "expected 2 scores, one a record of the input, found 1"),
        (scores([1, 1]), "expected a score for every record of the input, found none for 1 of them"),
        (scores([1, 2], [1.0, float("nan")]), "expected a finite score in every row"),
        (scores([1, 2], score=pa.array([1.0, None])), "expected a finite score in every row"),
        (scores([1, 2], version=pa.array(["1", "2"])), "version: expected '1', found '1', '2'"),
        (scores([1, 2], model=pa.array(["x", "x"])), "model: expected 'm', found 'x'"),
        (
            scores([1, 2], feature_snapshot=pa.array([date(2026, 3, 9)] * 2)),
            "feature_snapshot: expected '2026-03-10', found '2026-03-09'",
        ),
        (
            scores([1, 2], feature_snapshot=pa.array([None, None], pa.date32())),
            "feature_snapshot: expected '2026-03-10', found None",
        ),
        (scores([1, 2]).drop_columns(["feature_snapshot"]), "found none named feature_snapshot"),
    ],
)
def test_wrong_scores_do_not_count(lake: Lake, found: pa.Table | None, message: str) -> None:
    put(lake, found, [1, 2])
    with pytest.raises(WrongResult, match=message):
        verify(lake)
    assert not any(path.endswith("_manifest.json") for path in lake.list_files("ml/scores"))


def test_nothing_to_score_gives_an_empty_partition(lake: Lake) -> None:
    put(lake, None, [])
    write_no_scores(lake, "m", TODAY)
    manifest = verify(lake)[0]
    assert manifest.rows == 0
    assert describe_partition(lake, SCORES, manifest)["note"] == "The partition is empty."


def test_a_partition_with_rows_has_no_note(lake: Lake) -> None:
    put(lake, scores([1]), [1])
    assert "note" not in describe_partition(lake, SCORES, verify(lake)[0])


def test_scores_that_are_replaced_are_not_vouched_for_until_they_are_verified(lake: Lake) -> None:
    put(lake, scores([1], [1.0]), [1])
    before, _ = verify(lake)
    newer = scores([1], [2.0])

    def fail() -> None:
        with replace_scores(lake, "m", TODAY, newer.schema) as sink:
            sink.write(newer)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert read_manifest(lake, SCORES) == before
    assert lake.read_table(f"{SCORES}/predictions.parquet")["score"].to_pylist() == [1.0]
    with replace_scores(lake, "m", TODAY, newer.schema) as sink:
        sink.write(newer)
    assert read_manifest(lake, SCORES) is None
    assert verify(lake)[1]["score"].to_pylist() == [2.0]
    assert read_manifest(lake, SCORES) is not None


def write(databases: Databases, table: pa.Table, day: str = TODAY, keys: tuple[str, ...] = ("RecordId",)) -> Any:
    target = describe_target("shop", "main", "Predictions", keys)
    return write_scores(databases, target, table.schema, lambda columns: iter(table.select(columns).to_batches()), day)


def read(shop: sqlite3.Connection) -> list[Any]:
    return shop.execute("SELECT RecordId, Score, SnapshotDate FROM Predictions ORDER BY 1, 2").fetchall()


def test_writing_twice_changes_nothing(databases: Databases, shop: sqlite3.Connection) -> None:
    for _ in range(2):
        assert write(databases, scores([1, 2])).rows == 2
    assert read(shop) == [(1, 1.0, TODAY), (2, 2.0, TODAY)]
    columns = "ModelName, ModelVersion, ModelAlias, ScoredAt, FeatureSnapshot"
    row = shop.execute(f"SELECT {columns} FROM Predictions").fetchone()
    assert row == ("m", "1", "champion", "2026-03-10 12:00:00.000000", TODAY)


def test_a_table_of_an_older_adfml_is_written_without_the_column_it_does_not_have(
    databases: Databases, shop: sqlite3.Connection
) -> None:
    write(databases, scores([1, 2]))
    shop.execute("ALTER TABLE Predictions DROP COLUMN FeatureSnapshot")
    shop.commit()
    written = write(databases, scores([1, 2], [5.0, 6.0]))
    assert written.left_out == ("FeatureSnapshot",)
    assert read(shop) == [(1, 5.0, TODAY), (2, 6.0, TODAY)]


def test_scores_of_an_older_adfml_can_still_be_written(databases: Databases, shop: sqlite3.Connection) -> None:
    write(databases, scores([1]).drop_columns(["feature_snapshot"]))
    assert shop.execute("SELECT Score, FeatureSnapshot FROM Predictions").fetchall() == [(1.0, None)]


def test_a_newer_day_wins_whatever_the_order(databases: Databases, shop: sqlite3.Connection) -> None:
    write(databases, scores([1, 2], [10.0, 20.0]), "2026-03-11")
    assert write(databases, scores([1, 3], [1.0, 3.0]), "2026-03-10").kept_newer == 1
    write(databases, scores([2], [21.0]), "2026-03-12")
    assert read(shop) == [(1, 10.0, "2026-03-11"), (2, 21.0, "2026-03-12"), (3, 3.0, "2026-03-10")]


def test_duplicate_keys_write_nothing(databases: Databases, shop: sqlite3.Connection) -> None:
    write(databases, scores([1]))
    with pytest.raises(DuplicateKeys, match=r"several rows have one key \(RecordId\): \(7,\). Nothing was written"):
        write(databases, scores([7, 7, 1], [0.0, 0.0, 99.0]))
    assert read(shop) == [(1, 1.0, TODAY)]
    # What failed leaves nothing behind on the connection, which the next one gets from the pool.
    write(databases, scores([7, 1], [7.0, 99.0]))
    assert read(shop) == [(1, 99.0, TODAY), (7, 7.0, TODAY)]


def test_a_missing_key_column_is_named(databases: Databases, shop: sqlite3.Connection) -> None:
    with pytest.raises(NotFound, match=r"no column 'CustomerId' in the rows.*It has: FeatureSnapshot, ModelAlias"):
        write(databases, scores([1]), keys=("CustomerId",))
    shop.execute("CREATE TABLE Predictions (RecordId INTEGER, Value REAL)")
    shop.commit()
    with pytest.raises(TargetInvalid, match=r"shop.main.Predictions cannot take the rows(.|\n)*no column Score"):
        write(databases, scores([1]))
