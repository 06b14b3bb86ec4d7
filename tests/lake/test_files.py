"""A file in the lake is whole or not there, over a folder and over an account alike."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pytest

from resources.errors import Corrupt, NotFound
from resources.lake import Lake, WrittenFile

TABLE = pa.table({"a": pa.array(range(1000)), "b": pa.array([f"text {n}" for n in range(1000)])})
NAMES = ["ml/a b#%ü/x.parquet", "archive/a+b?c&d=e/x y.parquet", "feature-store/snapshot_date=2026-01-01/x#1.parquet"]


@pytest.mark.parametrize("path", NAMES)
def test_a_table_comes_back_as_it_was(any_lake: Lake, path: str) -> None:
    written = any_lake.write_table(path, TABLE)
    assert any_lake.read_table(path).equals(TABLE)
    assert any_lake.read_table(path, ["b"]).equals(TABLE.select(["b"]))
    assert any_lake.describe_file(path) == written
    assert any_lake.list_files(path.rpartition("/")[0]) == [path]
    with any_lake.local_copy(path) as local:
        assert local.stat().st_size == written.bytes
    any_lake.delete(path)
    any_lake.delete(path)
    assert any_lake.list_files(path.rpartition("/")[0]) == []


def test_small_files_are_replaced_whole(any_lake: Lake) -> None:
    any_lake.write_bytes("ml/a/x.json", b"first")
    any_lake.write_bytes("ml/a/x.json", b"second")
    assert any_lake.read_bytes("ml/a/x.json") == b"second"
    with pytest.raises(FileNotFoundError, match=r"There is no ml/a/y.json in "):
        any_lake.read_bytes("ml/a/y.json")


def test_an_empty_lake_is_empty_and_no_error(any_lake: Lake) -> None:
    assert any_lake.list_files("archive/nothing") == []
    any_lake.delete("archive/nothing/x.parquet")
    with pytest.raises(FileNotFoundError):
        any_lake.read_bytes("archive/nothing/x")
    with pytest.raises(NotFound, match=r"There is no file 'x.parquet' in archive/nothing. It has: none."):
        any_lake.read_table("archive/nothing/x.parquet")


def test_an_exception_while_writing_leaves_the_old_file(any_lake: Lake) -> None:
    any_lake.write_table("ml/f/x.parquet", TABLE)
    with pytest.raises(ZeroDivisionError), any_lake.write_parquet("ml/f/x.parquet", TABLE.schema) as sink:
        sink.write(TABLE.slice(0, 10 // 0))
    assert any_lake.read_table("ml/f/x.parquet").equals(TABLE)
    assert any_lake.list_files("ml/f") == ["ml/f/x.parquet"]


def test_what_the_block_raises_itself_is_not_blamed_on_the_lake(lake: Lake) -> None:
    with pytest.raises(FileNotFoundError, match="the caller's own"), lake.write_parquet("ml/f/x.parquet", TABLE.schema):
        raise FileNotFoundError("the caller's own")


def test_a_missing_file_is_named_with_its_neighbours(lake: Lake) -> None:
    lake.write_table("ml/f/right.parquet", TABLE)
    with pytest.raises(NotFound, match=r"no file 'rigth.parquet' in ml/f.*Did you mean 'right.parquet'") as caught:
        lake.read_table("ml/f/rigth.parquet")
    assert caught.value.existing == ["right.parquet"]
    with pytest.raises(NotFound, match=r"no file 'rigth.parquet' in ml/f"):
        lake.verify_file("ml/f/rigth.parquet", WrittenFile("", 1, 1, ""))


def test_all_depths_are_listed_at_once(lake: Lake) -> None:
    paths = sorted(f"ml/deep/{n % 7}/{n % 3}/{n}" for n in range(60))
    for path in [*paths, "ml/deeper/x"]:
        lake.write_bytes(path, b"")
    assert lake.list_files("ml/deep") == paths
    assert lake.list_files("ml/deep/3") == [path for path in paths if path.startswith("ml/deep/3/")]


def test_a_listing_longer_than_a_page_is_whole(folder_lake: Lake, tmp_path: Path) -> None:
    folder = tmp_path / "lake/archive/many"
    folder.mkdir(parents=True)
    for number in range(5_500):
        (folder / f"{number}.parquet").touch()
    assert len(folder_lake.list_files("archive/many")) == 5_500


def test_a_changed_file_is_found_out(lake: Lake) -> None:
    written = lake.write_table("archive/t/x.parquet", TABLE)
    lake.verify_file(written.path, written)
    data = lake.read_bytes(written.path)
    lake.write_bytes(written.path, data[:100] + bytes([data[100] ^ 1]) + data[101:])
    with pytest.raises(Corrupt, match=rf"archive/t/x.parquet .*expected sha256 {written.sha256}, found "):
        lake.verify_file(written.path, written)
    lake.write_bytes(written.path, data[:-1])
    with pytest.raises(Corrupt, match=rf"expected bytes {written.bytes}, found {written.bytes - 1}"):
        lake.verify_file(written.path, written)
    lake.write_bytes(written.path, data)
    with pytest.raises(Corrupt, match="expected rows 999, found 1000"):
        lake.verify_file(written.path, WrittenFile("", 999, written.bytes, written.sha256))


def test_batches_come_in_order_and_no_larger_than_asked(lake: Lake) -> None:
    lake.write_table("ml/f/x.parquet", TABLE)
    batches = list(lake.iter_batches("ml/f/x.parquet", ["a"], batch_rows=300))
    assert [batch.num_rows for batch in batches] == [300, 300, 300, 100]
    assert pa.Table.from_batches(batches).equals(TABLE.select(["a"]))
    assert pa.Table.from_batches(lake.iter_batches("ml/f/x.parquet")).equals(TABLE)
    with pytest.raises(NotFound, match=r"There is no column 'c' in ml/f/x.parquet. It has: a, b."):
        next(lake.iter_batches("ml/f/x.parquet", ["c"]))


def test_wide_rows_come_in_small_batches(folder_lake: Lake) -> None:
    table = pa.table({"a": [os.urandom(1 << 20) for _ in range(40)]})
    folder_lake.write_table("ml/f/x.parquet", table)
    sizes = [batch.nbytes for batch in folder_lake.iter_batches("ml/f/x.parquet")]
    assert len(sizes) > 4
    assert max(sizes) <= 9 << 20
