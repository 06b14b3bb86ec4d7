"""A partition is there when its manifest is."""

from __future__ import annotations

import pyarrow as pa
import pytest

from resources.errors import Corrupt
from resources.lake import Lake
from resources.manifest import build_manifest, commit_manifest, read_manifest
from tests.conftest import NOW

TABLE = pa.table({"a": pa.array(range(1000))})


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
