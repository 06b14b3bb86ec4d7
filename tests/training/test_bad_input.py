"""What cannot be learned from is said before any job: what, where, what there is and what to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from adfml_assets.archived_partitions import PartitionMissing
from adfml_assets.errors import NothingArchived, NothingToTrainOn
from adfml_assets.features.errors import ExpressionNotFound
from adfml_assets.training.choice import Asked
from adfml_assets.training.errors import (
    CardDamaged,
    DuplicateLabels,
    FeaturesMissingEverywhere,
    LabelFailed,
    LabelInvalid,
    LabelWindowPastData,
    NamesTaken,
    PeriodInvalid,
    SnapshotsDiffer,
    TimesMissing,
    WrongFeatureType,
)
from resources.errors import NotFound, UnexpectedValue
from tests.training.conftest import FROM_QUERY, TABLE, World, day
from tests.training.test_from_features import iso

DATES = [day(number) for number in range(30, 301, 10)]
HERE = "tests.training.labels"


@pytest.fixture(autouse=True)
def _nothing_is_written(world: World) -> Iterator[None]:
    """Whatever is refused, nothing of it is in the lake."""
    yield
    assert world.lake.list_files("ml/training-data/m") == []


def test_a_label_window_past_the_data_is_refused_where_its_end_was_asked_for(one_snapshot: World) -> None:
    with pytest.raises(LabelWindowPastData) as refused:
        one_snapshot.build(Asked(end_date=iso(271)[0]))
    assert str(refused.value) == (
        "Model m: end_date 2025-09-29 and the label's 30 days reach to 2025-10-29, but the data ends on 2025-10-28. "
        "Ask for an end_date up to 2025-09-28, or leave it out: then only whole windows are used."
    )
    with pytest.raises(LabelWindowPastData, match="reach to the end of time"):
        one_snapshot.build(Asked(end_date="9999-12-31"))


def test_a_label_of_rows_of_today_is_not_whole_yet(world: World, table: sqlite3.Connection) -> None:
    with pytest.raises(LabelWindowPastData, match=r"but the data ends on 2025-07-01"):
        world.build(Asked(end_date="2025-06-02"), now=datetime(2025, 7, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (Asked(start_date="2025-02-30"), "start_date is '2025-02-30'; expected a date, YYYY-MM-DD"),
        (Asked(end_date="yesterday"), "end_date is 'yesterday'; expected a date, YYYY-MM-DD"),
        (Asked(end_date="20250101"), "end_date is '20250101'; expected a date, YYYY-MM-DD"),
        (Asked(snapshot_date="2025-1-1"), "snapshot_date is '2025-1-1'; expected a date, YYYY-MM-DD"),
        (Asked(start_date="' OR 1=1 --"), "expected a date, YYYY-MM-DD"),
        (
            Asked(start_date="2025-03-02", end_date="2025-03-01"),
            "start_date is '2025-03-02'; expected a date up to end_date, 2025-03-01",
        ),
    ],
)
def test_dates_that_cannot_be_are_refused(one_snapshot: World, asked: Asked, message: str) -> None:
    with pytest.raises(PeriodInvalid, match="Training data of m: ") as refused:
        one_snapshot.build(asked)
    assert message in str(refused.value)


def test_too_short_a_history_is_said_with_the_dates_there_are(one_snapshot: World) -> None:
    with pytest.raises(NothingToTrainOn, match=r"train split has no rows\. Dates to choose from: 2025-09-18"):
        one_snapshot.build(Asked(start_date=iso(260)[0]))


def test_no_snapshot_and_no_archive_are_said(world: World) -> None:
    with pytest.raises(NotFound, match=r"no snapshot 'latest' in feature set spending \(materialise it first\)"):
        world.build()
    world.write_features(day(300), DATES)
    with pytest.raises(PartitionMissing, match="archive/shop/main/Events has no partition 2025-10-28"):
        world.build()
    world.source = replace(world.source, snapshots="each")  # type: ignore[arg-type]
    with pytest.raises(NothingArchived, match=TABLE):
        world.build()


def test_a_baseline_that_is_no_feature_is_refused_with_the_features(one_snapshot: World) -> None:
    with pytest.raises(NotFound, match=r"no feature 'amount_30' in Feature set spending.*Did you mean 'amount_30d'"):
        one_snapshot.build(baseline="amount_30")


def test_features_that_are_no_numbers_are_refused_with_their_types(world: World) -> None:
    columns = {"city": lambda key, when: "Lund", "since": lambda key, when: when, "ok": lambda key, when: 1.0}
    world.write_features(day(300), DATES, columns)
    with pytest.raises(WrongFeatureType) as refused:
        world.build(baseline="ok")
    assert str(refused.value).startswith(
        "Feature set spending: city (string), since (date32[day]) cannot be used: expected integers, floats, decimals "
        "or booleans, or counts by category"
    )
    assert refused.value.types == {"city": "string", "since": "date32[day]"}


def test_features_without_a_value_in_the_train_split_are_named(world: World) -> None:
    world.write_events(day(300), 300)
    late = {"a": lambda key, when: 1.0 if when >= day(240) else None, "b": lambda key, when: float("nan")}
    columns = {"amount_30d": lambda key, when: 1.0, **late}
    world.write_features(day(300), DATES, columns, {"a": pa.float64()})
    with pytest.raises(FeaturesMissingEverywhere, match=r"a, b are NULL \(or not finite\) in all 57 rows of the train"):
        world.build()


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        ("give_events", DuplicateLabels, r"rows repeat a \(Id, feature_date\) that another row has"),
        ("give_text", WrongFeatureType, r"The result of .*give_text: label \(string\) cannot be used"),
        ("give_nulls", LabelInvalid, r"label spend is NULL or not finite in \d+ rows, such as Id 1 on 2025-01-31"),
        ("give_nothing", LabelInvalid, r"the label spend is 0 in all 57 rows of the train split"),
        ("forget_the_key", NotFound, r"no column 'Id' in the result of tests.training.labels.forget_the_key"),
        ("nowhere", ExpressionNotFound, "nowhere"),
        ("ask_for_another_column", LabelFailed, r"'amonut'.* Tables: events has Id, day, amount\."),
        (
            "take_no_days",
            LabelFailed,
            "unexpected keyword argument 'days'. It is given its tables",
        ),
        ("give_a_number", LabelFailed, "give_a_number cannot be used: "),
        ("divide_texts", LabelFailed, "divide_texts cannot be used: ConversionException"),
    ],
)
def test_labels_that_cannot_be_are_refused(
    one_snapshot: World, function: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        one_snapshot.build(function=f"{HERE}.{function}")


def test_a_label_with_the_name_of_a_feature_is_refused(one_snapshot: World) -> None:
    with pytest.raises(NamesTaken, match="amount_30d would be in the training data twice"):
        one_snapshot.build(name="amount_30d")


def test_snapshots_of_different_definitions_are_not_mixed(many_snapshots: World) -> None:
    other = {"amount_30d": lambda key, when: 1.0, "new": lambda key, when: 1.0}
    many_snapshots.write_features(day(300), [day(300)], other)
    with pytest.raises(SnapshotsDiffer, match=r"Feature set spending: the snapshots 2025-10-28 and") as refused:
        many_snapshots.build()
    assert "4  new: double  -" in str(refused.value)
    many_snapshots.write_features(day(300), [day(300)], definition_sha256="e" * 64)
    with pytest.raises(SnapshotsDiffer, match="definitions eeeeeeeeeeee and dddddddddddd"):
        many_snapshots.build()


def test_columns_of_a_table_that_are_not_there_are_named(world: World, table: sqlite3.Connection) -> None:
    for change in ({"key": "Customer"}, {"time": "Date"}, {"features": ("Amount30",)}):
        world.source = replace(FROM_QUERY, **change)  # type: ignore[arg-type]
        with pytest.raises(NotFound, match=r"no column .* in shop.main.TrainingFeatures.*It has: Amount30d, City"):
            world.build()
    world.source = FROM_QUERY
    with pytest.raises(NotFound, match="no column 'Spent'"):
        world.build(name="Spent")
    with pytest.raises(NotFound, match="no feature 'City'"):
        world.build(baseline="City")
    world.source = replace(FROM_QUERY, table="shop.main.Features")
    with pytest.raises(NotFound, match=r"no table 'Features'.*It has: TrainingFeatures"):
        world.build()


def test_columns_of_a_table_that_are_no_numbers_or_times_are_refused(world: World, table: sqlite3.Connection) -> None:
    world.source = replace(FROM_QUERY, features=("City", "Amount30d"))
    with pytest.raises(WrongFeatureType, match=r"shop.main.TrainingFeatures: City \(string\)"):
        world.build()
    world.source = replace(FROM_QUERY, time="Purchases", features=("Amount30d",))
    with pytest.raises(WrongFeatureType, match=r"Purchases \(int64\) cannot be used: expected a date, a timestamp"):
        world.build()
    world.source = FROM_QUERY
    with pytest.raises(WrongFeatureType, match=r"City \(string\)"):
        world.build(name="City")


def test_a_label_that_is_null_is_refused_only_in_rows_that_are_used(world: World, table: sqlite3.Connection) -> None:
    table.execute("UPDATE TrainingFeatures SET Spend = NULL WHERE FeatureDate = ? AND CustomerId = 2", iso(260))
    table.commit()
    with pytest.raises(LabelInvalid, match="Spend is NULL or not finite in 1 rows, such as CustomerId 2 on 2025-09-18"):
        world.build()


def test_texts_that_are_no_times_are_refused(world: World, table: sqlite3.Connection) -> None:
    table.execute(
        "CREATE VIEW Texts AS SELECT *, CASE WHEN Purchases = 50 THEN 'soon' ELSE FeatureDate || '' END AS At "
        "FROM TrainingFeatures"
    )
    table.commit()
    world.source = replace(FROM_QUERY, table="shop.main.Texts", time="At")
    with pytest.raises(TimesMissing, match=r"At is NULL or no date in 2 rows, for example 'CustomerId 1'"):
        world.build()


def test_what_the_database_cannot_give_exactly_is_its_own_error(world: World, table: sqlite3.Connection) -> None:
    table.execute("UPDATE TrainingFeatures SET Purchases = 'many' WHERE FeatureDate = ?", iso(100))
    table.commit()
    with pytest.raises(UnexpectedValue, match=r"Purchases: a value is not of the declared type"):
        world.build()


def test_a_card_that_cannot_be_read_is_not_taken_for_none(one_snapshot: World) -> None:
    path = "ml/training-data/m/version=1/data_card.json"
    one_snapshot.lake.write_bytes(path, b"{")
    with pytest.raises(CardDamaged, match=r"version=1/data_card.json cannot be read .*Restore it, or delete it"):
        one_snapshot.build()
    one_snapshot.lake.delete(path)
