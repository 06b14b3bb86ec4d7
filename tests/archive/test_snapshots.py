"""A snapshot holds the table as it is now, under today's date and no other, whole or not at all."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from unittest.mock import Mock

import duckdb
import pytest

from adfml_assets.archive.run import CopyOptions
from adfml_assets.archive.snapshot import take_snapshot
from adfml_assets.archive.tables import TableRules
from adfml_assets.errors import PastSnapshot, RowsDiffer
from resources.errors import NotFound, SettingMissing, UnexpectedValue, Unreachable
from resources.manifest import list_data_paths
from resources.parquet_files import ParquetOptions
from resources.parquet_parts import PartedSink
from resources.servers.duckdb import READERS
from tests.archive.conftest import EVERYTHING, Archive, Source
from tests.conftest import NOW, TODAY


def test_a_snapshot_is_the_table_with_its_types(archive: Archive, source: Source, tmp_path: Path) -> None:
    source.add(1, "2026-03-01 23:59:59.999999", price="2.545")
    source.add(2, None, customer=None, price="0.001")
    archived = archive.snapshot(source.transactions)
    assert archived.folder == f"archive/shop/{source.schema}/Transactions/snapshot_date=2026-03-10"
    assert [f.name for f in archived.manifest.files] == ["Transactions_20260310093000.parquet"]
    found = duckdb.sql(f"SELECT * FROM '{tmp_path}/lake/{archived.folder}/*.parquet' ORDER BY TransactionId").fetchall()
    last, first = datetime(2026, 3, 1, 23, 59, 59, 999999), datetime(2026, 1, 1)
    assert found == [
        (1, "I1", 1, 1, Decimal("2.545"), last, last, date(2026, 3, 10)),
        (2, "I2", None, 1, Decimal("0.001"), first, None, date(2026, 3, 10)),
    ]


def test_the_manifest_says_what_the_partition_holds_and_where_it_is_from(archive: Archive, source: Source) -> None:
    source.add(1, "2026-03-01 12:00:00.000000")
    manifest = archive.snapshot(source.transactions).manifest
    assert (manifest.rows, manifest.facts["rows_at_source"], manifest.run_id) == (1, 1, "run")
    assert manifest.facts["primary_key"] == ["TransactionId"]
    assert {c.name: c.type for c in manifest.columns}["UnitPrice"] == "decimal128(12, 3)"
    declared = {c.name: (c.source_type or "").lower().replace(" ", "") for c in manifest.columns}["UnitPrice"]
    # Each server's own name of the type.
    assert declared == ("decimal(12,3)" if source.kind == "duckdb" else "numeric(12,3)")
    assert manifest.source["kind"] == source.kind
    assert manifest.source["table"] == "Transactions"
    assert manifest.source["snapshot"]["isolation"]
    assert all(len(file.sha256) == 64 for file in manifest.files)


def test_a_second_snapshot_of_the_day_replaces_the_first(archive: Archive, source: Source) -> None:
    source.add(1, "2026-03-01 12:00:00.000000")
    archive.snapshot(source.transactions)
    source.add(2, "2026-03-02 12:00:00.000000")
    second = archive.snapshot(source.transactions)
    assert (archive.ids(second), second.existing) == ([1, 2], False)
    files = [path for path in archive.lake.list_files(second.folder) if path.endswith(".parquet")]
    assert files == list_data_paths(second.folder, second.manifest)


def test_a_past_day_gives_its_own_snapshot_or_none(archive: Archive, source: Source) -> None:
    source.add(1, "2026-03-01 12:00:00.000000")
    archive.snapshot(source.transactions)
    source.add(2, "2026-03-02 12:00:00.000000")
    tomorrow = NOW + timedelta(days=1)
    again = archive.snapshot(source.transactions, now=tomorrow)
    assert (archive.ids(again), again.existing) == ([1], True)
    with pytest.raises(PastSnapshot, match=r"snapshot_date=2026-03-09: no snapshot was taken, and the day has passed"):
        archive.snapshot(source.transactions, "2026-03-09")
    with pytest.raises(PastSnapshot, match="has not come yet"):
        archive.snapshot(source.transactions, "2026-03-11")


def test_an_empty_table_is_an_empty_snapshot_with_its_schema(archive: Archive, source: Source) -> None:
    archived = archive.snapshot(source.transactions)
    (path,) = list_data_paths(archived.folder, archived.manifest)
    table = archive.lake.read_table(path)
    assert table.num_rows == 0
    assert table.schema.names == [column.name for column in archived.manifest.columns]


def test_a_missing_table_is_named_with_those_that_exist(archive: Archive, source: Source) -> None:
    with pytest.raises(NotFound, match=r"no table '.*Transaction' in database 'shop'.*Did you mean '.*Transactions'"):
        archive.snapshot(source.table("Transaction"))
    assert archive.lake.list_files("archive/shop") == []


def test_an_unreachable_database_says_which_where_and_what_to_check(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: Source
) -> None:
    kind = "duckdb" if source.kind == "duckdb" else "sqlite"
    monkeypatch.setenv("ADFML_SHOP_URL", f"{kind}:///{tmp_path}/gone.{kind}")
    with pytest.raises(Unreachable, match=rf"Database 'shop' at {kind}:.*gone.{kind} cannot be reached"):
        archive.snapshot(source.transactions)
    assert not (tmp_path / f"gone.{kind}").exists()
    monkeypatch.delenv("ADFML_SHOP_URL")
    archive.databases = type(archive.databases)()
    with pytest.raises(SettingMissing, match="ADFML_SHOP_URL is not set: the SQLAlchemy URL of database 'shop'"):
        archive.snapshot(source.transactions)


def test_names_that_no_file_system_likes_stay_in_the_lake(archive: Archive, source: Source) -> None:
    names = ["../../etc", "a/b", "..", "with space", 'quo"te', "brack]et[", "select", "ünï%20", "a.b.c", "semi;colon'"]
    for number, name in enumerate(names):
        quoted = '"' + name.replace('"', '""') + '"'
        source.execute(f"CREATE TABLE {quoted} ({quoted} INTEGER)", f"INSERT INTO {quoted} VALUES ({number})")
    folders = set()
    for number, name in enumerate(names):
        archived = archive.snapshot(source.table(name))
        assert archive.read(archived) == [{name: number}]
        folders.add(archived.folder)
    assert len(folders) == len(names)
    assert all(path.startswith(f"archive/shop/{source.schema}/") for path in archive.lake.list_files("archive/shop"))


def test_a_huge_table_becomes_several_files_read_by_several_connections(archive: Archive, source: Source) -> None:
    rows = 60_000
    generate = (
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) "
        if source.kind == "sqlite"
        else f"WITH n(i) AS (SELECT * FROM generate_series(1, {rows})) "
    )
    text = "hex(randomblob(20))" if source.kind == "sqlite" else "md5(i::text)"
    source.execute(
        'CREATE TABLE "Big" (id INTEGER PRIMARY KEY, t TEXT)', f'INSERT INTO "Big" {generate} SELECT i, {text} FROM n'
    )
    if source.kind == "postgresql":
        source.execute('ANALYZE "Big"')
    options = CopyOptions(ParquetOptions(row_group_bytes=100_000, file_bytes=400_000), readers=3, split_bytes=1)
    archived = archive.snapshot(source.table("Big"), options=options)
    names = [file.name for file in archived.manifest.files]
    assert len(names) > 3
    assert names[0] == "Big_20260310093000.parquet"
    assert sorted(names[1:]) == [f"Big_20260310093000_{n:04d}.parquet" for n in range(1, len(names))]
    assert sorted(row["id"] for row in archive.read(archived)) == list(range(1, rows + 1))
    assert archived.manifest.facts["rows_at_source"] == rows


def test_columns_are_left_out_and_rows_are_filtered(archive: Archive, source: Source) -> None:
    for number in (1, 2, 3):
        source.add(number, "2026-03-01 12:00:00.000000")
    rules = TableRules(leave_out=("CustomerId", "UnitPrice"), where='"TransactionId" <> 2')
    archived = archive.snapshot(source.transactions, rules=rules)
    rows = archive.read(archived)
    assert [row["TransactionId"] for row in rows] == [1, 3]
    assert "CustomerId" not in rows[0]
    assert archived.manifest.facts["left_out"] == ["CustomerId", "UnitPrice"]
    assert archived.manifest.facts["where"] == '"TransactionId" <> 2'
    with pytest.raises(NotFound, match=r"no column 'Customer' in shop\..*Did you mean 'CustomerId'"):
        archive.snapshot(source.transactions, rules=TableRules(leave_out=("Customer",)))


def test_personal_data_is_hashed_under_the_deployments_key(
    archive: Archive, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = TableRules(hash=("InvoiceNo", "CustomerId"))
    source.add(1, "2026-03-01 12:00:00.000000", customer=7)
    source.add(2, "2026-03-01 12:00:00.000000", customer=7)
    source.add(3, "2026-03-01 12:00:00.000000", customer=None)
    with pytest.raises(SettingMissing, match="ADFML_HASH_KEY is not set"):
        archive.snapshot(source.transactions, rules=rules)
    assert archive.lake.list_files("archive/shop") == []
    monkeypatch.setenv("ADFML_HASH_KEY", "a key")
    rows = archive.read(archive.snapshot(source.transactions, rules=rules))
    assert rows[0]["CustomerId"] == rows[1]["CustomerId"] != rows[0]["InvoiceNo"]
    assert len(rows[0]["CustomerId"]) == 64
    assert rows[2]["CustomerId"] is None
    assert not any("I1" in str(value) for value in rows[0].values())
    monkeypatch.setenv("ADFML_HASH_KEY", "another key")
    assert archive.read(archive.snapshot(source.transactions, rules=rules))[0]["CustomerId"] != rows[0]["CustomerId"]


def test_a_copy_that_lacks_rows_becomes_no_partition(archive: Archive, source: Source) -> None:
    """A reader that loses a row, as no reader should: the source's own count finds it."""
    source.add(1, "2026-03-01 12:00:00.000000")
    source.add(2, "2026-03-01 12:00:00.000000")
    with archive.run() as run:
        snapshot = run.read(lambda snapshot: snapshot)
        read = snapshot.read
        snapshot.read = lambda query: (batch.slice(1) for batch in read(query))  # type: ignore[method-assign]
        with pytest.raises(RowsDiffer, match="1 rows were copied, but the source counts 2"):
            take_snapshot(run, source.transactions, TableRules(), TODAY, asset="archive/t")
    assert archive.lake.list_files("archive/shop") == []


def test_a_lake_that_is_full_for_some_tables_is_not_for_the_others(
    archive: Archive, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of them than a snapshot has connections: each gives its own back, though its error is kept for the end."""
    source.add(1, "2026-03-01 12:00:00.000000")
    failures: list[OSError] = []
    with archive.run() as run:
        with monkeypatch.context() as full:
            full.setattr(PartedSink, "write", Mock(side_effect=OSError("No space left on device")))
            for number in range(READERS + 2):
                with pytest.raises(OSError, match="No space left") as caught:
                    take_snapshot(run, source.transactions, EVERYTHING, TODAY, asset=f"archive/{number}")
                failures.append(caught.value)
        assert take_snapshot(run, source.transactions, EVERYTHING, TODAY, asset="archive/t").manifest.rows == 1
    assert len(failures) == READERS + 2


def test_times_of_day_are_text_that_spark_can_read_or_times_as_told(archive: Archive, source: Source) -> None:
    source.execute('CREATE TABLE "Shifts" (a TIME, b TIME)', "INSERT INTO \"Shifts\" VALUES ('23:59:59.000001', NULL)")
    text = archive.snapshot(source.table("Shifts"))
    assert archive.read(text) == [{"a": "23:59:59.000001", "b": None}]
    assert {column.type for column in text.manifest.columns} == {"string"}
    typed = archive.snapshot(source.table("Shifts"), options=CopyOptions(times_typed=True))
    assert archive.read(typed) == [{"a": time(23, 59, 59, 1), "b": None}]


@pytest.mark.parametrize("source", ["sqlite"], indirect=True)
def test_a_value_sqlite_should_not_have_fails_the_table_or_is_kept_as_told(archive: Archive, source: Source) -> None:
    source.add(1, "2026-03-01 12:00:00.000000")
    source.add(2, "2026-03-01 12:00:00.000000")
    source.execute('UPDATE "Transactions" SET "Quantity" = \'many\' WHERE "TransactionId" = 2')
    with pytest.raises(UnexpectedValue, match=r"Transactions\.Quantity: a value is not of the declared type"):
        archive.snapshot(source.transactions)
    assert archive.lake.list_files("archive/shop") == []
    archived = archive.snapshot(source.transactions, mismatches="keep")
    rows = archive.read(archived)
    assert [(row["Quantity"], row["_mismatched"]) for row in rows] == [(1, None), (None, '{"Quantity": "many"}')]
    assert archived.manifest.facts["mismatched_rows"] == 1
