"""Connections that are cut, tables that go and disks that are full in the middle of a copy: the others are archived."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from adfml_assets.archive.copying import Archived
from adfml_assets.archive.run import ATTEMPTS
from resources.errors import ConnectionLost, NotFound, StorageFull
from resources.lake import Lake
from resources.manifest import FILE_NAME, read_manifest
from resources.servers.postgresql_snapshot import PostgresqlSnapshot
from resources.servers.sqlite import SqliteSnapshot
from tests.archive.conftest import Source
from tests.archive_kills.archiver import Order, archive_tables
from tests.archive_kills.conftest import BIG_BYTES, BIG_ROWS
from tests.archive_kills.processes import Archivers
from tests.archive_kills.reading import list_local

TERMINATE = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE :statement"
)


def archive(tables: tuple[str, ...], **values: Any) -> dict[str, Archived | Exception]:
    """A full archive; by table name."""
    found = archive_tables(Order("full", tables, small_files=False, **values))
    return {name.partition(".")[2]: outcome for name, outcome in found.items()}


def require_whole(outcome: Archived | Exception, rows: int) -> None:
    assert isinstance(outcome, Archived), outcome
    assert not outcome.existing
    (file,) = outcome.manifest.files
    Lake().verify_file(f"{outcome.folder}/{file.name}", file)
    ids = Lake().read_table(f"{outcome.folder}/{file.name}", ["Id"]).column("Id").to_pylist()
    assert sorted(ids) == list(range(1, rows + 1))
    assert list_local(outcome.folder) == sorted([FILE_NAME, file.name])


@pytest.fixture
def cut(source: Source, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], list[int]]:
    """Have the server end its sessions, `times` times, when the first rows of Big have come."""

    def cut(statement: str, times: int) -> list[int]:
        original, ended = PostgresqlSnapshot.read, list[int]()

        def read(self: PostgresqlSnapshot, query: Any) -> Iterator[Any]:
            for batch in original(self, query):
                yield batch
                if query.table.name.table == "Big" and len(ended) < times:
                    with source.engine.connect() as connection:
                        ended.append(connection.execute(sa.text(TERMINATE), {"statement": statement}).scalar_one())

        monkeypatch.setattr(PostgresqlSnapshot, "read", read)
        return ended

    return cut


@pytest.mark.parametrize("source", ["postgresql"], indirect=True)
@pytest.mark.parametrize("statement", ["COPY%", "%"], ids=["the copy's session", "every session"])
def test_a_table_whose_connection_is_cut_is_archived_by_another_try(
    big_tables: tuple[str, ...], cut: Callable[[str, int], list[int]], statement: str
) -> None:
    ended = cut(statement, 1)
    outcomes = archive(big_tables)
    assert len(ended) == 1
    assert ended[0] >= 1
    require_whole(outcomes["Big"], BIG_ROWS)
    require_whole(outcomes["Small"], 2)


@pytest.mark.parametrize("source", ["postgresql"], indirect=True)
def test_a_connection_that_is_cut_every_time_fails_its_table_alone(
    big_tables: tuple[str, ...], source: Source, cut: Callable[[str, int], list[int]]
) -> None:
    ended = cut("COPY%", 1_000)
    outcomes = archive(big_tables)
    assert isinstance(outcomes["Big"], ConnectionLost)
    assert len(ended) == ATTEMPTS
    folder = "archive/shop/public/Big/snapshot_date=2026-03-10"
    assert read_manifest(Lake(), folder) is None
    assert list_local(folder) == []
    require_whole(outcomes["Small"], 2)
    with source.engine.connect() as connection:
        others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        assert connection.execute(sa.text(others)).scalar_one() == 0


@pytest.fixture
def drop(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drop Big when it has been described and is not yet read."""
    kind = PostgresqlSnapshot if source.kind == "postgresql" else SqliteSnapshot
    original = kind.schema_of

    def schema_of(self: Any, query: Any) -> Any:
        if query.table.name.table == "Big":
            source.execute('DROP TABLE IF EXISTS "Big"')
        return original(self, query)

    monkeypatch.setattr(kind, "schema_of", schema_of)


def test_a_table_that_is_dropped_before_it_is_read(big_tables: tuple[str, ...], source: Source, drop: None) -> None:
    """A SQLite file in WAL mode keeps it for the run's snapshot; elsewhere it is gone, and nothing stands for it."""
    outcomes = archive(big_tables)
    require_whole(outcomes["Small"], 2)
    if source.kind == "sqlite":
        require_whole(outcomes["Big"], BIG_ROWS)
        outcomes = archive(big_tables, day=1)
    _require_not_found(outcomes["Big"], source)
    require_whole(outcomes["Small"], 2)


@pytest.mark.parametrize("source", ["sqlite"], indirect=True)
def test_a_table_that_is_dropped_without_wal(big_tables: tuple[str, ...], source: Source, drop: None) -> None:
    with source.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode = DELETE").scalar_one() == "delete"
    outcomes = archive(big_tables)
    _require_not_found(outcomes["Big"], source)
    require_whole(outcomes["Small"], 2)


def _require_not_found(outcome: Archived | Exception, source: Source) -> None:
    assert isinstance(outcome, NotFound), outcome
    assert "'Big'" in str(outcome) or f"'{source.schema}.Big'" in str(outcome)
    assert any("Small" in name for name in outcome.existing)


@pytest.mark.parametrize("source", ["sqlite"], indirect=True)
def test_a_full_disk_fails_the_table_that_does_not_fit(big_tables: tuple[str, ...], archivers: Archivers) -> None:
    folder = "archive/shop/main/Big/snapshot_date=2026-03-10"
    order = Order("full", big_tables, small_files=False, file_bytes_limit=BIG_BYTES // 2)
    outcomes = archivers.run(order)
    assert outcomes is not None
    assert outcomes["main.Small"] == "archived"
    assert outcomes["main.Big"].startswith(f"{StorageFull.__name__}: {folder}/Big_20260310093000.parquet could not be")
    assert "Make room in the lake" in outcomes["main.Big"]
    assert read_manifest(Lake(), folder) is None
    assert list_local(folder) == []
    require_whole(archive(big_tables, run_id="with room")["Big"], BIG_ROWS)


@pytest.mark.parametrize("source", ["sqlite"], indirect=True)
@pytest.mark.parametrize("call", [2, 20])
def test_a_large_file_that_was_under_way_when_its_run_died_goes_with_the_next_run(
    big_tables: tuple[str, ...], archivers: Archivers, call: int
) -> None:
    folder = "archive/shop/main/Big/snapshot_date=2026-03-10"
    dying = Order("full", big_tables[:1], small_files=False, die_at="resources.lake_files:NewFile.write", die_call=call)
    assert archivers.run(dying) is None, "it was to die"
    assert any("#" in name for name in list_local(folder)) is (call == 20), "only blocks of 4 MB are written at once"
    Path(Lake().uri(f"{folder}/{FILE_NAME}#1")).parent.mkdir(parents=True, exist_ok=True)
    Path(Lake().uri(f"{folder}/{FILE_NAME}#1")).write_bytes(b"{")
    assert Lake().list_files(folder) == []
    require_whole(archive(big_tables, run_id="the next run")["Big"], BIG_ROWS)
