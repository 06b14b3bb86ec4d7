"""A process that is killed while it writes leaves the partition that was there, and nothing that a manifest names."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import time

import pyarrow as pa

from resources.lake import Lake
from resources.manifest import Manifest, build_manifest, commit_manifest, list_data_paths, read_manifest
from tests.conftest import NOW
from tests.kills import repeat_kills

FOLDER = "archive/shop/main/t/snapshot_date=2026-03-10"
SCHEMA = pa.schema([("id", pa.int64()), ("text", pa.binary())])

WRITER = """
import os, sys
import pyarrow as pa
from resources.lake import Lake, ParquetOptions
from tests.lake.test_kills import FOLDER, SCHEMA, write_partition

batch = pa.record_batch([[1] * 100, [os.urandom(10_000)] * 100], schema=SCHEMA)
options = ParquetOptions(row_group_bytes=4_000_000, file_bytes=9_000_000, dictionary=False)
with Lake().write_parquet_parts(lambda index: f"{FOLDER}/killed-{index}.parquet", SCHEMA, options) as sink:
    while True:
        sink.write(batch)
        if sink.bytes_written:
            os.write(1, b".")
"""


def write_partition(lake: Lake, run: str, ids: list[int]) -> Manifest:
    with lake.write_parquet_parts(lambda index: f"{FOLDER}/{run}-{index}.parquet", SCHEMA) as sink:
        sink.write(pa.record_batch([ids, [b""] * len(ids)], schema=SCHEMA))
    manifest = build_manifest(asset="a", partition="p", files=sink.files, schema=SCHEMA, written_at=NOW, run_id=run)
    commit_manifest(lake, FOLDER, manifest)
    return manifest


def kill_while_writing(seconds: float) -> None:
    """Start a writer, and kill it so many seconds after its first bytes have reached the store."""
    child = subprocess.Popen([sys.executable, "-c", WRITER], stdout=subprocess.PIPE)
    assert child.stdout is not None
    try:
        assert select.select([child.stdout], [], [], 60)[0]
        assert child.stdout.read(1) == b"."
        time.sleep(seconds)
        assert child.poll() is None
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    assert child.returncode == -signal.SIGKILL


@repeat_kills(2)
def test_a_killed_writer_leaves_the_partition_as_it_was(lake: Lake, kill: int) -> None:
    before = write_partition(lake, "first", [1, 2, 3])
    kill_while_writing(random.Random(kill).uniform(0, 0.8))  # noqa: S311 - moments, not secrets
    manifest = read_manifest(lake, FOLDER)
    assert manifest == before
    (path,) = list_data_paths(FOLDER, before)
    lake.verify_file(path, before.files[0])
    # A file that is listed is whole, named or not.
    for left in lake.list_files(FOLDER):
        assert left.endswith(".json") or lake.describe_file(left).rows > 0
    after = write_partition(lake, "second", [4])
    assert lake.list_files(FOLDER) == [f"{FOLDER}/_manifest.json", *list_data_paths(FOLDER, after)]


@repeat_kills(2)
def test_a_killed_first_run_leaves_no_partition(lake: Lake, kill: int) -> None:
    kill_while_writing(random.Random(-kill - 1).uniform(0, 0.8))  # noqa: S311 - moments, not secrets
    assert read_manifest(lake, FOLDER) is None


def test_a_file_that_was_under_way_is_not_there(lake: Lake) -> None:
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
    assert lake.delete_unfinished("ml/k", lambda name: name != "x.parquet") == 0
    on_this_machine = "://" not in lake.root
    assert lake.delete_unfinished("ml/k", lambda name: name == "x.parquet") == int(on_this_machine)
    assert lake.delete_unfinished("ml/k", lambda _: True) == 0
    assert lake.delete_unfinished("ml/nothing", lambda _: True) == 0
