"""A file that another library writes on this machine is in the lake, whole, when it is done, and never before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resources.errors import Refused
from resources.lake import Lake

TABLE = pa.table({"a": pa.array(range(1000)), "b": pa.array([f"text {n}" for n in range(1000)])})
PATH = "feature-store/s/snapshot_date=2026-01-01/a b%.parquet"
FOLDER = PATH.rpartition("/")[0]


@pytest.mark.parametrize("sealed", [True, False])
def test_it_is_there_when_the_block_ends(any_lake: Lake, sealed: bool) -> None:
    any_lake.write_table(PATH, TABLE.slice(0, 1))
    with any_lake.stage_parquet(PATH) as staged:
        pq.write_table(TABLE, staged.local)
        if sealed:
            staged.seal()
        assert any_lake.list_files(FOLDER) == [PATH]
        assert any_lake.read_table(PATH).num_rows == 1
        assert staged.written is None
    assert any_lake.read_table(PATH).equals(TABLE)
    assert staged.written == any_lake.describe_file(PATH)
    assert any_lake.list_files(FOLDER) == [PATH]
    assert not staged.local.exists()


@pytest.mark.parametrize("sealed", [True, False])
def test_an_exception_leaves_what_was_there(any_lake: Lake, sealed: bool) -> None:
    any_lake.write_table(PATH, TABLE)
    with pytest.raises(ZeroDivisionError), any_lake.stage_parquet(PATH) as staged:  # noqa: PT012 - the block is tested
        pq.write_table(TABLE.slice(0, 10), staged.local)
        if sealed:
            staged.seal()
        raise ZeroDivisionError
    assert any_lake.read_table(PATH).equals(TABLE)
    assert any_lake.list_files(FOLDER) == [PATH]
    assert not staged.local.exists()


def test_what_is_no_parquet_file_does_not_get_there(any_lake: Lake) -> None:
    with pytest.raises(pa.ArrowInvalid), any_lake.stage_parquet(PATH) as staged:
        staged.local.write_bytes(b"not what it should be")
    assert any_lake.list_files(FOLDER) == []


def test_two_at_once_are_two_files_and_the_last_one_stays(lake: Lake) -> None:
    with lake.stage_parquet(PATH) as first:
        with lake.stage_parquet(PATH) as second:
            assert first.local != second.local
            pq.write_table(TABLE, second.local)
        pq.write_table(TABLE.slice(0, 7), first.local)
    assert lake.read_table(PATH).num_rows == 7


def test_what_a_process_still_writes_is_not_swept_away(lake: Lake) -> None:
    with lake.stage_parquet(PATH) as staged:
        assert lake.delete_unfinished(FOLDER, lambda _: True) == 0
        pq.write_table(TABLE, staged.local)
        assert lake.delete_unfinished(FOLDER, lambda _: True) == 0
    assert lake.read_table(PATH).equals(TABLE)


def test_the_name_of_what_is_done_is_the_next_one_s(folder_lake: Lake) -> None:
    with folder_lake.stage_parquet(PATH) as first:
        pq.write_table(TABLE, first.local)
    with folder_lake.stage_parquet(PATH) as second:
        assert first.local == second.local
        pq.write_table(TABLE.slice(0, 7), second.local)
    assert folder_lake.read_table(PATH).num_rows == 7


def test_a_killed_process_leaves_what_was_there(lake: Lake) -> None:
    lake.write_table(PATH, TABLE)
    script = (
        "import os, signal, pyarrow as pa, pyarrow.parquet as pq\n"
        "from resources.lake import Lake\n"
        f"with Lake().stage_parquet({PATH!r}) as staged:\n"
        "    pq.write_table(pa.table({'a': [1]}), staged.local)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script], env=dict(os.environ), check=False)
    assert killed.returncode == -signal.SIGKILL
    assert lake.list_files(FOLDER) == [PATH]
    assert lake.read_table(PATH).equals(TABLE)
    on_this_machine = "://" not in lake.root
    assert lake.delete_unfinished(FOLDER, lambda name: name == "a b%.parquet") == int(on_this_machine)


def test_a_folder_that_cannot_be_made_is_said(folder_lake: Lake) -> None:
    blocked = Path(folder_lake.uri("ml/x"))
    blocked.parent.mkdir(parents=True)
    blocked.touch()
    refused = pytest.raises(Refused, match=r"ml/x/y.parquet: (Not a directory|File exists)")
    with refused, folder_lake.stage_parquet("ml/x/y.parquet"):
        pass
