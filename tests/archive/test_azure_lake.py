"""The archive in a storage account: the same partitions, whole or not at all, as in a folder."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from adfml_assets.archive.current import build_current
from adfml_assets.archive.run import CopyOptions
from adfml_assets.archive.snapshot import take_snapshot
from adfml_assets.archive.verifying import find_unreadable
from resources.manifest import commit_manifest, list_data_paths, read_manifest
from resources.parquet_files import ParquetOptions
from tests.archive.conftest import EVERYTHING, MODIFIED, Archive, Source
from tests.azurite_server import Azurite, run_azurite
from tests.conftest import NOW, TODAY, stamp


@pytest.fixture(scope="module")
def azurite() -> Iterator[Azurite]:
    with run_azurite() as server:
        yield server


@pytest.fixture(autouse=True)
def _account(azurite: Azurite, monkeypatch: pytest.MonkeyPatch, _settings: None) -> None:
    account = azurite.take_account()
    monkeypatch.setenv("ADFML_LAKE", account.url)
    monkeypatch.setenv("ADFML_LAKE_KEY", account.key)


def test_snapshots_increments_and_the_current_state(archive: Archive, source: Source) -> None:
    for number in (1, 2, 3):
        source.add(number, stamp(f"2026-03-0{number}"))
    table = source.transactions
    full = archive.snapshot(table)
    assert archive.ids(full) == [1, 2, 3]
    source.add(4, stamp("2026-03-10"))
    tomorrow = {"day": "2026-03-11", "now": NOW + timedelta(days=1), "run_id": "tomorrow"}
    assert archive.ids(archive.increment(table, **tomorrow)) == [1, 2, 3, 4]
    claim = archive.control.claims.take("current", "2026-03-11", NOW, "run")
    folder, manifest = build_current(archive.lake, table, MODIFIED, "2026-03-11", claim, now=NOW, run_id="run")
    commit_manifest(archive.lake, folder, manifest, before=claim.stamp)
    assert manifest.rows == 4


def test_a_second_snapshot_replaces_the_first_and_nothing_is_left(archive: Archive, source: Source) -> None:
    source.add(1, stamp("2026-03-01"))
    options = CopyOptions(ParquetOptions(row_group_bytes=1, file_bytes=1))
    first = archive.snapshot(source.transactions, options=options)
    source.add(2, stamp("2026-03-02"))
    second = archive.snapshot(source.transactions, options=options)
    files = [path for path in archive.lake.list_files(second.folder) if path.endswith(".parquet")]
    assert files == list_data_paths(second.folder, second.manifest)
    assert not set(files) & set(list_data_paths(first.folder, first.manifest))


def test_an_older_run_that_ends_later_does_not_take_the_place_of_a_newer(archive: Archive, source: Source) -> None:
    source.add(1, stamp("2026-03-01"))
    asset = f"archive/{source.transactions.full_name}"
    with archive.run(run_id="slow") as slow:
        slow.read(lambda snapshot: snapshot.describe(source.transactions.name))
        older = slow.claims.take(asset, TODAY, NOW, "slow")
        source.add(2, stamp("2026-03-02"))
        newer = archive.snapshot(source.transactions, run_id="quick")
        slow.claims = type("Claimed", (), {"take": lambda *_: older, "commit": slow.claims.commit})()  # type: ignore[assignment]
        late = take_snapshot(slow, source.transactions, EVERYTHING, TODAY, asset=asset)
    assert late.existing
    standing = read_manifest(archive.lake, newer.folder)
    assert standing is not None
    assert standing.run_id == "quick"
    assert archive.ids(late) == archive.ids(newer) == [1, 2]
    files = [path for path in archive.lake.list_files(newer.folder) if path.endswith(".parquet")]
    assert files == list_data_paths(newer.folder, newer.manifest)


def test_a_broken_blob_is_found(archive: Archive, source: Source) -> None:
    from adfml_assets.archive.partitions_in_lake import list_snapshots

    source.add(1, stamp("2026-03-01"))
    archived = archive.snapshot(source.transactions)
    (partition,) = list_snapshots(archive.lake, source.transactions)
    assert find_unreadable(archive.lake, partition) == []
    (path,) = list_data_paths(archived.folder, archived.manifest)
    archive.lake.write_bytes(path, archive.lake.read_bytes(path)[:-20])
    assert path in find_unreadable(archive.lake, partition)[0]
