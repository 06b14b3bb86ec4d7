"""Training data from a table or view of a source database: FeatureDate between StartDate and EndDate, values exact."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from adfml_assets.source_query import join_conditions, read_rows, within_days
from adfml_assets.training.choice import Asked
from resources.database import Databases
from resources.errors import NotFound, Refused
from tests.training.conftest import FROM_QUERY, World
from tests.training.test_from_features import iso


def test_rows_are_split_by_their_dates_and_keep_their_types(world: World, table: sqlite3.Connection) -> None:
    built = world.build()
    test = built.read("test")
    assert test.column_names == ["CustomerId", "FeatureDate", "Amount30d", "Purchases", "Ratio", "IsNew", "Spend"]
    assert built.card["feature_types"] == {
        "Amount30d": "decimal128(12, 2)",
        "Purchases": "int64",
        "Ratio": "double",
        "IsNew": "bool",
    }
    assert test.schema.field("FeatureDate").type == pa.date32()
    assert built.card["periods"]["test"] == iso(290)
    assert built.card["periods"]["validation"] == iso(260)
    assert built.card["periods"]["train"][-1] == iso(230)[0]
    assert test.select([0, 2, 6]).to_pylist() == [
        {"CustomerId": 1, "Amount30d": Decimal("290.25"), "Spend": 725.0},
        {"CustomerId": 2, "Amount30d": Decimal("290.25"), "Spend": 725.0},
    ]
    assert built.card["source"]["kind"] == "query"


def test_the_features_that_are_named_are_taken_in_their_order(world: World, table: sqlite3.Connection) -> None:
    world.source = replace(FROM_QUERY, features=("Ratio", "Amount30d"))
    assert world.build().card["features"] == ["Ratio", "Amount30d"]


def test_start_and_end_choose_whole_days(world: World, table: sqlite3.Connection) -> None:
    card = world.build(Asked(start_date=iso(50)[0], end_date=iso(200)[0])).card
    assert (card["start_date"], card["end_date"]) == (iso(50)[0], iso(200)[0])
    assert card["rows"]["test"] == 2


def test_a_version_is_made_again_from_the_same_days_though_there_are_newer_ones(
    world: World, table: sqlite3.Connection
) -> None:
    first = world.build(now=datetime(2025, 10, 1, tzinfo=UTC))
    assert first.card["periods"]["test"] == iso(240)
    again = world.build(now=datetime(2026, 3, 10, tzinfo=UTC))
    assert again.hashes == first.hashes
    assert again.card["periods"] == first.card["periods"]
    world.version = "2"
    assert world.build().card["periods"]["test"] == iso(290)


def test_the_snapshot_date_of_a_run_is_the_last_day_that_counts(world: World, table: sqlite3.Connection) -> None:
    card = world.build(Asked(snapshot_date=iso(200)[0])).card
    assert card["periods"]["test"] == iso(170)
    assert card["left_out"]["window_past_data"] == iso(180, 190, 200)
    assert world.build().card == card


def test_rows_with_one_key_and_date_make_the_same_files_again(world: World, table: sqlite3.Connection) -> None:
    table.execute(
        "INSERT INTO TrainingFeatures SELECT CustomerId, FeatureDate, 1, 2, 3, 0, '', 4 FROM TrainingFeatures"
    )
    table.commit()
    first = world.build().hashes
    table.execute("CREATE TABLE Other AS SELECT * FROM TrainingFeatures ORDER BY Spend DESC")
    table.execute("DELETE FROM TrainingFeatures")
    table.execute("INSERT INTO TrainingFeatures SELECT * FROM Other")
    table.commit()
    assert world.build().hashes == first


def test_a_condition_and_a_view_choose_rows(world: World, table: sqlite3.Connection) -> None:
    table.execute("CREATE VIEW Recent AS SELECT * FROM TrainingFeatures WHERE Purchases >= 100")
    table.commit()
    world.source = replace(FROM_QUERY, table="shop.main.Recent", where="CustomerId = 2 -- the second")
    built = world.build()
    assert set(built.read("train")["CustomerId"].to_pylist()) == {2}
    assert built.card["start_date"] == iso(100)[0]


def test_moments_are_split_by_their_days(world: World, table: sqlite3.Connection) -> None:
    table.execute("CREATE TABLE Moments (CustomerId INTEGER, FeatureDate DATETIME, Amount30d REAL, Spend REAL)")
    table.execute(
        "INSERT INTO Moments SELECT CustomerId, FeatureDate || 'T23:59:59.5', Amount30d, Spend FROM TrainingFeatures"
    )
    table.commit()
    world.source = replace(FROM_QUERY, table="shop.main.Moments")
    built = world.build(Asked(end_date=iso(200)[0]))
    assert built.card["periods"]["test"] == iso(200)
    assert built.read("test").schema.field("FeatureDate").type == pa.timestamp("us")


def test_times_in_texts_are_read_and_those_that_are_none_refused(world: World, table: sqlite3.Connection) -> None:
    table.execute(
        "CREATE VIEW Texts AS SELECT CustomerId, FeatureDate || 'T10:00:00+02:00' AS At, Amount30d, Spend "
        "FROM TrainingFeatures"
    )
    table.commit()
    world.source = replace(FROM_QUERY, table="shop.main.Texts", time="At")
    assert world.build(Asked(end_date=iso(200)[0])).card["periods"]["test"] == iso(200)


def test_rows_without_a_date_are_no_rows_of_any_period_and_counted(world: World, table: sqlite3.Connection) -> None:
    table.execute("INSERT INTO TrainingFeatures (CustomerId) VALUES (7), (8)")
    table.commit()
    card = world.build().card
    assert card["source"]["rows_without_time"] == 2
    assert sum(card["rows"].values()) == 2 * sum(len(dates) for dates in card["periods"].values())


def test_rows_are_read_in_batches_and_nothing_stays_open(databases: Databases, table: sqlite3.Connection) -> None:
    schema, batches = read_rows(databases, "shop", "main", "TrainingFeatures", "CustomerId = 1", ["Spend", "City"])
    assert schema.names == ["Spend", "City"]
    assert sum(batch.num_rows for batch in batches) == 30
    _, unread = read_rows(databases, "shop", "main", "TrainingFeatures", None, None)
    del unread
    table.execute("DROP TABLE TrainingFeatures")
    table.commit()
    with pytest.raises(NotFound, match="no table 'TrainingFeatures'"):
        read_rows(databases, "shop", "main", "TrainingFeatures", None, None)


def test_a_condition_that_cannot_be_is_said_by_the_database(world: World, table: sqlite3.Connection) -> None:
    world.source = replace(FROM_QUERY, where="CustomerId ===")
    with pytest.raises(Refused, match="refused"):
        world.build()


def test_conditions_are_rendered_by_the_dialect(databases: Databases, table: sqlite3.Connection) -> None:
    found = within_days(databases, "shop", 'a "b" %', date(2025, 1, 1), date(2025, 1, 31))
    assert found == (
        '("a ""b"" %" COLLATE "BINARY") >= \'2025-01-01\' AND ("a ""b"" %" COLLATE "BINARY") < \'2025-02-01\''
    )
    assert within_days(databases, "shop", "a", None, date.max) is None
    assert join_conditions(None, "a = 1 -- one", "b") == "(\na = 1 -- one\n) AND (\nb\n)"
    assert join_conditions(None, None) is None
