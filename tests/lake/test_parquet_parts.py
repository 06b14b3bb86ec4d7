"""Rows of any size become Parquet files that hold them exactly, and nothing of a table that failed stays."""

from __future__ import annotations

import decimal
import hashlib
import os
import threading
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resources.lake import Lake, ParquetOptions, PartedSink

SCHEMA = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("text", pa.string())])
ALL_TYPES = pa.schema(
    [
        ("flag", pa.bool_()),
        ("small", pa.int16()),
        ("int", pa.int32()),
        ("big", pa.int64()),
        ("real", pa.float32()),
        ("double", pa.float64()),
        ("money", pa.decimal128(9, 2)),
        ("price", pa.decimal128(18, 4)),
        ("huge", pa.decimal128(38, 10)),
        ("text", pa.string()),
        ("long_text", pa.large_string()),
        ("bytes", pa.binary()),
        ("uuid", pa.binary(16)),
        ("day", pa.date32()),
        ("clock", pa.time64("us")),
        ("at", pa.timestamp("us")),
        ("at_utc", pa.timestamp("us", "UTC")),
        ("list", pa.list_(pa.int32())),
        ("none", pa.string()),
    ]
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "flag": st.booleans(),
    "small": st.integers(-(2**15), 2**15 - 1),
    "int": st.integers(-(2**31), 2**31 - 1),
    "big": st.integers(-(2**63), 2**63 - 1),
    "real": st.floats(width=32, allow_nan=False),
    "double": st.floats(allow_nan=False),
    "money": st.integers(-(10**9) + 1, 10**9 - 1).map(lambda n: decimal.Decimal(n).scaleb(-2)),
    "price": st.integers(-(10**18) + 1, 10**18 - 1).map(lambda n: decimal.Decimal(n).scaleb(-4)),
    "huge": st.integers(-(10**27), 10**27).map(lambda n: decimal.Decimal(n).scaleb(-10)),
    "text": st.text(max_size=20),
    "long_text": st.text(max_size=20),
    "bytes": st.binary(max_size=20),
    "uuid": st.binary(min_size=16, max_size=16),
    "day": st.dates(),
    "clock": st.times(),
    "at": st.datetimes(),
    "at_utc": st.datetimes(timezones=st.just(UTC)),
    "list": st.lists(st.integers(-9, 9), max_size=3),
    "none": st.none(),
}
ROWS = st.lists(st.fixed_dictionaries({name: st.none() | values for name, values in VALUES.items()}), max_size=30)
OPTIONS = st.builds(
    ParquetOptions,
    compression=st.sampled_from(["snappy", "zstd"]),
    row_group_bytes=st.integers(1, 4000),
    file_bytes=st.integers(1, 20_000),
    dictionary=st.sampled_from(["auto", True, False, ["text", "int"]]),
)


def path_of(index: int) -> str:
    return f"archive/t/part-{index}.parquet"


def make_batch(start: int, rows: int, width: int = 20) -> pa.RecordBatch:
    ids = range(start, start + rows)
    return pa.record_batch([list(ids), [f"{n:0{width}}" for n in ids]], schema=SCHEMA)


def read_all(lake: Lake, sink: PartedSink) -> pa.Table:
    return pa.concat_tables([lake.read_table(file.path) for file in sink.files])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(ROWS, max_size=4), options=OPTIONS)
def test_every_value_comes_back_whatever_the_sizes(
    folder_lake: Lake, batches: list[list[dict[str, Any]]], options: ParquetOptions
) -> None:
    rows = [pa.RecordBatch.from_pylist(batch, ALL_TYPES) for batch in batches]
    with folder_lake.write_parquet_parts(path_of, ALL_TYPES, options) as sink:
        for batch in rows:
            sink.write(batch)
    assert read_all(folder_lake, sink).equals(pa.Table.from_batches(rows, ALL_TYPES))
    assert sink.rows == sum(file.rows for file in sink.files) == sum(map(len, batches))
    assert sink.bytes_written == sum(file.bytes for file in sink.files)


def test_files_are_cut_and_counted(any_lake: Lake) -> None:
    options = ParquetOptions(row_group_bytes=100_000, file_bytes=300_000, dictionary=False)
    with any_lake.write_parquet_parts(path_of, SCHEMA, options) as sink:
        for start in range(0, 90_000, 700):
            sink.write(make_batch(start, min(700, 90_000 - start)))
    assert len(sink.files) > 2
    assert [file.path for file in sink.files] == [path_of(index) for index in range(len(sink.files))]
    assert any_lake.list_files("archive/t") == sorted(file.path for file in sink.files)
    assert read_all(any_lake, sink)["id"].to_pylist() == list(range(90_000))
    for file in sink.files:
        any_lake.verify_file(file.path, file)
        data = any_lake.read_bytes(file.path)
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file.bytes, file.sha256)
        # A file ends with the row group that fills it.
        assert file.bytes < 300_000 + 150_000


def test_row_groups_are_cut_by_bytes(folder_lake: Lake, tmp_path: Path) -> None:
    with folder_lake.write_parquet_parts(path_of, SCHEMA, ParquetOptions(row_group_bytes=1 << 20)) as sink:
        sink.write(make_batch(0, 200_000))
        for start in range(200_000, 201_000):
            sink.write(make_batch(start, 1))
    metadata = pq.read_metadata(tmp_path / "lake" / path_of(0))
    groups = [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]
    row = make_batch(0, 1000).nbytes / 1000
    assert all(0.7 * (1 << 20) < rows * row <= 1.01 * (1 << 20) for rows in groups[:-1])
    assert len(groups) == pytest.approx(201_000 * row / (1 << 20), abs=3)


def test_a_row_larger_than_a_row_group_is_one(folder_lake: Lake, tmp_path: Path) -> None:
    with folder_lake.write_parquet_parts(path_of, SCHEMA, ParquetOptions(row_group_bytes=1000)) as sink:
        sink.write(pa.record_batch([[1, 2, 3], ["a", "b" * 5000, "c"]], schema=SCHEMA))
    metadata = pq.read_metadata(tmp_path / "lake" / path_of(0))
    assert [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)] == [1, 1, 1]


@pytest.mark.parametrize("batches", [[], [make_batch(0, 0)]])
def test_no_rows_are_one_file_with_the_schema(any_lake: Lake, batches: list[pa.RecordBatch]) -> None:
    with any_lake.write_parquet_parts(path_of, ALL_TYPES if not batches else SCHEMA) as sink:
        for batch in batches:
            sink.write(batch)
    assert [(file.path, file.rows) for file in sink.files] == [(path_of(0), 0)]
    assert any_lake.read_table(path_of(0)).schema.equals(SCHEMA if batches else ALL_TYPES)
    any_lake.verify_file(path_of(0), sink.files[0])


def test_a_table_is_written_as_its_batches_are(folder_lake: Lake) -> None:
    table = pa.Table.from_batches([make_batch(0, 10), make_batch(10, 5)])
    with folder_lake.write_parquet_parts(path_of, SCHEMA) as sink:
        sink.write(table)
        sink.write(table.slice(3, 9))
    assert read_all(folder_lake, sink).equals(pa.concat_tables([table, table.slice(3, 9)]))
    assert sink.rows == 24


def test_what_is_said_of_the_source_is_in_the_file(folder_lake: Lake, tmp_path: Path) -> None:
    field = pa.field("id", pa.int64(), metadata={"source_type": "bigint"})
    schema = pa.schema([field], metadata={"adfml.source": "shop.dbo.Orders", "adfml.note": "ü"})
    with folder_lake.write_parquet_parts(path_of, schema) as sink:
        sink.write(pa.record_batch([[1]], schema=schema))
    stored = pq.read_metadata(tmp_path / "lake" / path_of(0)).metadata
    assert (stored[b"adfml.source"], stored[b"adfml.note"].decode()) == (b"shop.dbo.Orders", "ü")
    assert folder_lake.read_table(path_of(0)).schema.field("id").metadata[b"source_type"] == b"bigint"


def test_types_are_those_that_every_reader_knows(folder_lake: Lake, tmp_path: Path) -> None:
    with folder_lake.write_parquet_parts(path_of, ALL_TYPES) as sink:
        sink.write(pa.RecordBatch.from_pylist([{"at": datetime(2026, 1, 1)}], ALL_TYPES))
    schema = pq.read_metadata(tmp_path / "lake" / path_of(0)).schema
    stored = {column.name: (column.physical_type, str(column.logical_type)) for column in map(schema.column, range(19))}
    assert stored["money"] == ("INT32", "Decimal(precision=9, scale=2)")
    assert stored["price"] == ("INT64", "Decimal(precision=18, scale=4)")
    assert stored["huge"][0] == "FIXED_LEN_BYTE_ARRAY"
    assert stored["at"][0] == stored["at_utc"][0] == "INT64"
    assert "isAdjustedToUTC=false, timeUnit=microseconds" in stored["at"][1]
    assert "isAdjustedToUTC=true, timeUnit=microseconds" in stored["at_utc"][1]


def test_dictionaries_are_where_they_pay_and_statistics_everywhere(folder_lake: Lake, tmp_path: Path) -> None:
    schema = pa.schema([("id", pa.int64()), ("kind", pa.string()), ("note", pa.string()), ("few", pa.decimal128(9, 2))])
    columns = [
        pa.array(range(20_000)),
        pa.array([f"kind {n % 5}" for n in range(20_000)]),
        pa.array([f"note {n}" for n in range(20_000)]),
        pa.array([decimal.Decimal(n % 7) for n in range(20_000)]).cast(pa.decimal128(9, 2)),
    ]
    with folder_lake.write_parquet_parts(path_of, schema) as sink:
        sink.write(pa.record_batch(columns, schema=schema))
    group = pq.read_metadata(tmp_path / "lake" / path_of(0)).row_group(0)
    assert [group.column(index).has_dictionary_page for index in range(4)] == [False, True, False, True]
    assert [group.column(index).is_stats_set for index in range(4)] == [True] * 4
    assert [group.column(index).has_column_index for index in range(4)] == [True] * 4
    assert (group.column(0).statistics.min, group.column(0).statistics.max) == (0, 19_999)


def test_an_exception_in_the_block_leaves_nothing(any_lake: Lake) -> None:
    options = ParquetOptions(row_group_bytes=50_000, file_bytes=100_000, dictionary=False)

    def write() -> None:
        with any_lake.write_parquet_parts(path_of, SCHEMA, options) as sink:
            for start in range(0, 30_000, 1000):
                sink.write(make_batch(start, 1000))
            while not sink.files:
                sink.write(make_batch(0, 1000))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    assert any_lake.list_files("archive/t") == []
    assert not any(thread.name == "parquet" for thread in threading.enumerate())


def test_a_folder_keeps_no_rest_of_what_failed(folder_lake: Lake, tmp_path: Path) -> None:
    batches = [pa.record_batch([[start], [os.urandom(500_000).hex()]], schema=SCHEMA) for start in range(40)]

    def write() -> None:
        with folder_lake.write_parquet_parts(path_of, SCHEMA) as sink:
            for batch in batches:
                sink.write(batch)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    assert [path for path in (tmp_path / "lake").rglob("*") if path.is_file()] == []


def test_what_cannot_be_encoded_comes_back_to_the_caller(lake: Lake) -> None:
    null = pa.record_batch([pa.array([None], pa.int64()), ["x"]], schema=SCHEMA)
    with pytest.raises(pa.ArrowInvalid, match="declared non-nullable but contains nulls"):
        _write(lake, null, batches=1)
    with pytest.raises(pa.ArrowInvalid, match="declared non-nullable but contains nulls"):
        _write(lake, null, batches=10_000)
    assert lake.list_files("archive/t") == []
    assert not any(thread.name == "parquet" for thread in threading.enumerate())


def _write(lake: Lake, batch: pa.RecordBatch, batches: int) -> None:
    with lake.write_parquet_parts(path_of, SCHEMA, ParquetOptions(row_group_bytes=1)) as sink:
        for _ in range(batches):
            sink.write(batch)


def test_a_path_that_is_none_of_the_lakes_is_refused(lake: Lake) -> None:
    with (
        pytest.raises(Exception, match="is not a path inside the lake"),
        lake.write_parquet_parts(lambda index: f"elsewhere/{index}", SCHEMA) as sink,
    ):
        sink.write(make_batch(0, 10))


def test_rows_of_another_schema_are_refused_at_once(folder_lake: Lake) -> None:
    other = pa.record_batch([[1], [1]], names=["id", "text"])
    with (
        pytest.raises(ValueError, match="The rows are not of the file's schema: expected id: int64 not null"),
        folder_lake.write_parquet_parts(path_of, SCHEMA) as sink,
    ):
        sink.write(other)
    assert folder_lake.list_files("archive/t") == []


def test_a_dictionary_of_a_column_that_is_not_there_is_refused(folder_lake: Lake) -> None:
    options = ParquetOptions(dictionary=["txt"])
    with (
        pytest.raises(ValueError, match="dictionary names column 'txt', which is not there: expected id, text"),
        folder_lake.write_parquet_parts(path_of, SCHEMA, options),
    ):
        pass


@pytest.mark.parametrize("wrong", [{"compression": "gzip"}, {"row_group_bytes": 0}, {"file_bytes": -1}])
def test_options_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is "):
        ParquetOptions(**wrong)


def test_old_dates_and_times_are_exact(lake: Lake) -> None:
    schema = pa.schema([("day", pa.date32()), ("at", pa.timestamp("us")), ("clock", pa.time64("us"))])
    rows = [
        {"day": date(1, 1, 1), "at": datetime(1, 1, 1, 0, 0, 0, 1), "clock": time(0)},
        {"day": date(1582, 10, 10), "at": datetime(1582, 10, 10, 12), "clock": time(23, 59, 59, 999999)},
        {"day": date(9999, 12, 31), "at": datetime(9999, 12, 31, 23, 59, 59, 999999), "clock": None},
    ]
    with lake.write_parquet_parts(path_of, schema) as sink:
        sink.write(pa.RecordBatch.from_pylist(rows, schema))
    assert read_all(lake, sink).to_pylist() == rows
