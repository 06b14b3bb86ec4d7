"""A file in the lake is whole or not there, and no path leaves the lake."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adfml_assets import lake_layout
from resources.errors import Corrupt, NotFound, SettingInvalid, SettingMissing, UnsafePath
from resources.lake import Lake, split_path
from resources.manifest import build_manifest, commit_manifest, read_manifest
from tests.conftest import NOW

TABLE = pa.table({"a": pa.array(range(1000))})


def test_a_table_comes_back_as_it_was(lake: Lake) -> None:
    written = lake.write_table("ml/a b#%ü/x.parquet", TABLE)
    assert lake.read_table("ml/a b#%ü/x.parquet").equals(TABLE)
    assert lake.describe_file("ml/a b#%ü/x.parquet") == written
    assert written.rows == 1000


def test_an_exception_while_writing_leaves_the_old_file(lake: Lake) -> None:
    lake.write_table("ml/f/x.parquet", TABLE)
    with pytest.raises(ZeroDivisionError), lake.write_parquet("ml/f/x.parquet", TABLE.schema) as sink:
        sink.write(TABLE.slice(0, 10 // 0))
    assert lake.read_table("ml/f/x.parquet").equals(TABLE)
    assert lake.list_files("ml/f") == ["ml/f/x.parquet"]


def test_a_process_killed_while_writing_leaves_nothing(lake: Lake) -> None:
    script = (
        "import os, signal, pyarrow as pa\n"
        "from resources.lake import Lake\n"
        "table = pa.table({'a': pa.array([os.urandom(1000) for _ in range(20_000)])})\n"
        "with Lake().write_parquet('ml/k/x.parquet', table.schema) as sink:\n"
        "    sink.write(table)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script], env=dict(os.environ), check=False)
    assert killed.returncode == -signal.SIGKILL
    assert lake.list_files("ml/k") == []


def test_a_missing_file_is_named_with_its_neighbours(lake: Lake) -> None:
    lake.write_table("ml/f/right.parquet", TABLE)
    with pytest.raises(NotFound, match=r"no file 'rigth.parquet' in ml/f.*Did you mean 'right.parquet'") as caught:
        lake.read_table("ml/f/rigth.parquet")
    assert caught.value.existing == ["right.parquet"]


@pytest.mark.parametrize("path", ["ml", "ml/", "other/x", "ml/../x", "ml/a/../../b", "ml//x", "/ml/x", "ml/a\\..\\b"])
def test_a_path_cannot_leave_the_lake(path: str) -> None:
    with pytest.raises(UnsafePath):
        split_path(path)


@given(*[st.text(min_size=1, max_size=30)] * 3)
def test_any_table_name_is_a_path_in_the_lake(database: str, schema: str, table: str) -> None:
    folder = lake_layout.archive_folder(database, schema, table, "2026-01-01")
    assert split_path(f"{folder}/{lake_layout.snapshot_file(table, NOW)}")[0] == "archive"


@given(st.text(min_size=1, max_size=30), st.text(min_size=1, max_size=30))
def test_different_names_have_different_folders(one: str, other: str) -> None:
    assert (lake_layout.encode_name(one) == lake_layout.encode_name(other)) == (one == other)


def test_a_partition_is_there_when_its_manifest_is(lake: Lake) -> None:
    def commit(name: str) -> None:
        written = lake.write_table(f"ml/p/{name}", TABLE)
        commit_manifest(
            lake,
            "ml/p",
            build_manifest(
                asset="a",
                partition="p",
                files=[written],
                schema=TABLE.schema,
                written_at=NOW,
                run_id="r",
                facts={"n": 1},
            ),
        )

    assert read_manifest(lake, "ml/p") is None
    lake.write_table("ml/p/left_by_a_killed_run.parquet", TABLE)
    assert read_manifest(lake, "ml/p") is None
    commit("one.parquet")
    manifest = read_manifest(lake, "ml/p")
    assert manifest is not None
    assert (manifest.rows, manifest.files[0].name, manifest.facts) == (1000, "one.parquet", {"n": 1})
    commit("two.parquet")
    assert lake.list_files("ml/p") == ["ml/p/_manifest.json", "ml/p/two.parquet"]


def test_a_broken_manifest_is_an_error_and_no_empty_partition(lake: Lake) -> None:
    lake.write_bytes("ml/p/_manifest.json", b'{"asset": "a"}')
    with pytest.raises(Corrupt, match=r"ml/p/_manifest.json is not what its manifest says"):
        read_manifest(lake, "ml/p")


def test_the_root_may_be_a_folder_or_an_account(lake: Lake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert lake.uri("ml/x/y") == str(tmp_path / "lake/ml/x/y")
    monkeypatch.setenv("ADFML_LAKE", f"file://{tmp_path}/other/")
    assert lake.uri("ml/x/y") == str(tmp_path / "other/ml/x/y")
    monkeypatch.setenv("ADFML_LAKE", "abfss://account.dfs.core.windows.net")
    assert lake.uri("ml/x/y") == "abfss://ml@account.dfs.core.windows.net/x/y"


def test_a_wrong_root_is_one_sentence(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADFML_LAKE", "abfss://ml@account.dfs.core.windows.net")
    with pytest.raises(SettingInvalid, match="ADFML_LAKE is not valid: expected a folder, or abfss://<account>"):
        lake.uri("ml/x")
    monkeypatch.delenv("ADFML_LAKE")
    with pytest.raises(SettingMissing, match="ADFML_LAKE is not set: the lake's root"):
        lake.uri("ml/x")
