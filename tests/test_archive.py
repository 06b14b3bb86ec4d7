"""A partition of an archived table holds what it says: today's rows under today's date, each row in one increment."""

from __future__ import annotations

import sqlite3
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adfml_assets.archive.copying import Archived, SourceTable
from adfml_assets.archive.increment import take_increment
from adfml_assets.archive.snapshot import take_snapshot
from adfml_assets.errors import MissedIncrement, PastSnapshot, UnexpectedValue, UnsupportedColumn, WatermarkWentBack
from resources.control import ControlDatabase
from resources.database import Databases
from resources.errors import NotFound, SettingMissing, Unreachable
from resources.lake import Lake
from resources.manifest import list_data_paths
from tests.conftest import NOW, TODAY, TRANSACTIONS, add_line, stamp


def snapshot(
    lake: Lake, databases: Databases, source: SourceTable = TRANSACTIONS, day: str = TODAY, now: datetime = NOW
) -> Archived:
    return take_snapshot(lake, databases, source, day, asset="a", now=now, run_id="run")


def increment(
    lake: Lake, databases: Databases, control: ControlDatabase, day: str = TODAY, now: datetime = NOW
) -> Archived:
    return take_increment(
        lake, databases, control.intervals, TRANSACTIONS, "ModifiedDate", day, asset="a", now=now, run_id="run"
    )


def ids(lake: Lake, archived: Archived) -> list[int]:
    (path,) = list_data_paths(archived.folder, archived.manifest)
    return sorted(lake.read_table(path)["TransactionId"].to_pylist())


def test_a_snapshot_is_the_table_with_its_types(
    lake: Lake, databases: Databases, shop: sqlite3.Connection, tmp_path: Path
) -> None:
    add_line(shop, 1, stamp("2026-03-01", "23:59:59.999999"), price=2.545)
    add_line(shop, None, stamp("2026-03-02"), quantity=-3, price=0.001, modified=None)
    archived = snapshot(lake, databases)
    assert archived.folder == "archive/shop/main/Transactions/snapshot_date=2026-03-10"
    assert [f.name for f in archived.manifest.files] == ["Transactions_20260310093000.parquet"]
    found = duckdb.sql(f"SELECT * FROM '{tmp_path}/lake/{archived.folder}/*.parquet' ORDER BY TransactionId").fetchall()
    day = date(2026, 3, 10)
    last = datetime(2026, 3, 1, 23, 59, 59, 999999)
    assert found == [
        (1, f"I1-{last}", 1, 1, Decimal("2.545"), last, last, day),
        (2, "INone-2026-03-02 12:00:00.000000", None, -3, Decimal("0.001"), datetime(2026, 3, 2, 12), None, day),
    ]
    assert {c.name: c.source_type for c in archived.manifest.columns}["UnitPrice"] == "NUMERIC(12, 3)"


def test_a_second_snapshot_of_the_day_replaces_the_first(
    lake: Lake, databases: Databases, shop: sqlite3.Connection
) -> None:
    add_line(shop, 1, stamp("2026-03-01"))
    first = snapshot(lake, databases)
    add_line(shop, 2, stamp("2026-03-02"))
    second = snapshot(lake, databases, now=NOW + timedelta(hours=1))
    assert (ids(lake, second), second.existing) == ([1, 2], False)
    assert [p for p in lake.list_files(first.folder) if p.endswith(".parquet")] == list_data_paths(
        second.folder, second.manifest
    )


def test_a_past_day_gives_its_own_snapshot_or_none(lake: Lake, databases: Databases, shop: sqlite3.Connection) -> None:
    add_line(shop, 1, stamp("2026-03-01"))
    snapshot(lake, databases)
    add_line(shop, 2, stamp("2026-03-02"))
    tomorrow = NOW + timedelta(days=1)
    again = snapshot(lake, databases, now=tomorrow)
    assert (ids(lake, again), again.existing) == ([1], True)
    with pytest.raises(PastSnapshot, match=r"snapshot_date=2026-03-09: no snapshot was taken, and the day has passed"):
        snapshot(lake, databases, day="2026-03-09")
    with pytest.raises(PastSnapshot, match="has not come yet"):
        snapshot(lake, databases, day="2026-03-11")


def test_an_empty_table_is_an_empty_snapshot(lake: Lake, databases: Databases, shop: sqlite3.Connection) -> None:
    assert snapshot(lake, databases).manifest.rows == 0
    assert ids(lake, snapshot(lake, databases)) == []


def test_a_missing_table_is_named_with_those_that_exist(
    lake: Lake, databases: Databases, shop: sqlite3.Connection
) -> None:
    with pytest.raises(
        NotFound, match=r"no table 'Transaction' in database 'shop', schema 'main'. It has: Transactions"
    ):
        snapshot(lake, databases, SourceTable("shop", "main", "Transaction"))
    assert lake.list_files("archive/shop") == []


def test_a_value_of_another_type_is_refused_and_nothing_is_visible(
    lake: Lake, databases: Databases, shop: sqlite3.Connection
) -> None:
    add_line(shop, 1, stamp("2026-03-01"))
    shop.execute("UPDATE Transactions SET Quantity = 'many'")
    shop.commit()
    with pytest.raises(
        UnexpectedValue, match=r"Transactions\.Quantity: a value is not of the declared type, expected int64"
    ):
        snapshot(lake, databases)
    shop.execute("UPDATE Transactions SET Quantity = 1, TransactionDate = 'yesterday'")
    shop.commit()
    with pytest.raises(UnexpectedValue, match="yesterday"):
        snapshot(lake, databases)
    assert lake.list_files("archive/shop") == []


def test_a_column_without_a_type_is_refused(lake: Lake, databases: Databases, shop: sqlite3.Connection) -> None:
    shop.execute("CREATE TABLE Odd (a)")
    shop.commit()
    with pytest.raises(UnsupportedColumn, match=r"Odd\.a: type \(none declared\) has no exact Parquet type"):
        snapshot(lake, databases, SourceTable("shop", "main", "Odd"))


def test_an_unreachable_database_says_which_where_and_what_to_check(
    lake: Lake, databases: Databases, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(
        Unreachable, match=r"Database 'shop' at sqlite:.*shop.sqlite cannot be reached \(the file does not"
    ):
        snapshot(lake, databases)
    assert not (tmp_path / "shop.sqlite").exists()
    with pytest.raises(SettingMissing, match="ADFML_OTHER_URL is not set: the SQLAlchemy URL of database 'other'"):
        snapshot(lake, databases, SourceTable("other", "main", "T"))


def test_increments_are_contiguous_and_a_missed_day_is_in_the_next(
    lake: Lake, databases: Databases, control: ControlDatabase, shop: sqlite3.Connection
) -> None:
    add_line(shop, 1, stamp("2026-03-09"))
    add_line(shop, 1, stamp("2026-03-10"), modified=None)
    first = increment(lake, databases, control)
    assert first.folder == "incremental/shop/main/Transactions/2026/03/10"
    assert ids(lake, first) == [1]
    assert first.manifest.facts["lower"] is None
    assert first.manifest.facts["rows_without_watermark"] == 1
    add_line(shop, 1, stamp("2026-03-10", "13:00:00.000001"))
    later = NOW + timedelta(days=3)
    third = increment(lake, databases, control, "2026-03-13", later)
    assert ids(lake, third) == [3]
    assert third.manifest.facts["lower"] == first.manifest.facts["upper"]
    with pytest.raises(MissedIncrement, match=r"2026-03-11: no interval was recorded.*materialise 2026-03-13"):
        increment(lake, databases, control, "2026-03-11", later)


def test_a_rerun_reads_its_recorded_interval(
    lake: Lake, databases: Databases, control: ControlDatabase, shop: sqlite3.Connection
) -> None:
    add_line(shop, 1, stamp("2026-03-09"))
    increment(lake, databases, control)
    add_line(shop, 1, stamp("2026-03-11"))
    assert ids(lake, increment(lake, databases, control, now=NOW + timedelta(days=5))) == [1]


def test_a_run_that_died_after_recording_its_interval_loses_nothing(
    lake: Lake, databases: Databases, control: ControlDatabase, shop: sqlite3.Connection
) -> None:
    add_line(shop, 1, stamp("2026-03-09"))
    control.intervals.record(TRANSACTIONS.full_name, TODAY, stamp("2026-03-09"), "the run that died")
    add_line(shop, 1, stamp("2026-03-11"))
    assert ids(lake, increment(lake, databases, control)) == [1]
    assert ids(lake, increment(lake, databases, control, "2026-03-11", NOW + timedelta(days=1))) == [2]


def test_a_table_that_went_back_is_refused(
    lake: Lake, databases: Databases, control: ControlDatabase, shop: sqlite3.Connection
) -> None:
    add_line(shop, 1, stamp("2026-03-09"))
    increment(lake, databases, control)
    shop.execute("UPDATE Transactions SET ModifiedDate = ?", (stamp("2026-03-08"),))
    shop.commit()
    with pytest.raises(WatermarkWentBack, match=r"largest ModifiedDate is 2026-03-08.*up to 2026-03-09"):
        increment(lake, databases, control, "2026-03-11", NOW + timedelta(days=1))


def test_a_missing_watermark_column_is_named(
    lake: Lake, databases: Databases, control: ControlDatabase, shop: sqlite3.Connection
) -> None:
    with pytest.raises(NotFound, match=r"no column 'Modified' in shop.main.Transactions.*Did you mean 'ModifiedDate'"):
        take_increment(
            lake, databases, control.intervals, TRANSACTIONS, "Modified", TODAY, asset="a", now=NOW, run_id="r"
        )
    assert control.intervals.find_last(TRANSACTIONS.full_name) is None


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(st.integers(0, 4), max_size=6), min_size=1, max_size=6))
def test_whatever_comes_when_every_row_is_in_one_increment(batches: list[list[int]], tmp_path_factory: Any) -> None:
    """Rows arrive in batches; each batch's watermarks are at or after the last archived one, equal ones included."""
    folder = tmp_path_factory.mktemp("increments")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADFML_LAKE", str(folder / "lake"))
        patch.setenv("ADFML_CONTROL_URL", f"sqlite:///{folder}/control.sqlite")
        patch.setenv("ADFML_SHOP_URL", f"sqlite:///{folder}/shop.sqlite")
        shop = sqlite3.connect(folder / "shop.sqlite")
        shop.execute("CREATE TABLE Transactions (TransactionId INTEGER PRIMARY KEY, ModifiedDate DATETIME)")
        shop.commit()
        lake, databases, control = Lake(), Databases(), ControlDatabase()
        found: list[int] = []
        clock = 0
        for number, batch in enumerate(batches):
            for step in batch:
                moment = datetime(2026, 1, 1) + timedelta(microseconds=clock + step + 1)
                shop.execute("INSERT INTO Transactions (ModifiedDate) VALUES (?)", (f"{moment:%Y-%m-%d %H:%M:%S.%f}",))
            shop.commit()
            clock += max(batch, default=0) + 1
            day = NOW + timedelta(days=number)
            found += ids(lake, increment(lake, databases, control, f"{day:%Y-%m-%d}", day))
        every = [row[0] for row in shop.execute("SELECT TransactionId FROM Transactions")]
        shop.close()
        assert sorted(found) == every
