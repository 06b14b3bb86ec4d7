"""Where training data is put together: a DuckDB on disk, in bounded memory, gone afterwards."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

from adfml_assets.duckdb_sql import quote
from adfml_assets.origins import Origins
from resources.lake import Lake
from resources.manifest import Manifest, list_data_paths

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from ibis.backends.duckdb import Backend
    from ibis.expr.types import Table

Partitions = Mapping[str, tuple[str, Manifest]]
"""Name -> folder in the lake and manifest."""

MEMORY = "512MB"
ROWS = "adfml_rows"
"""The table of all rows of all splits: key, time, features as they come, label."""


@dataclass(frozen=True)
class Staged:
    """Rows to train on, in the table ROWS of a workspace; categories are not expanded yet.

    Attributes:
        key, time: their columns.
        features: in order.
        categories: those of them that are category columns.
        splits: split -> the dates of its rows.
        left_out: why -> dates without rows in any split.
        dates: all there were to choose from.
        definition_sha256: the identity of how the features are made; '' where nothing is known of it.
        snapshot_date: the snapshot that labels are of; None: not from snapshots.
        source: where the rows are from, for the data card.
        read_from: where they were read, for the manifest.
        origins: column -> what it is made of; of features under their names before categories are expanded.
        personal: asset -> its columns of personal data, of all that it is made of.
    """

    key: str
    time: str
    features: tuple[str, ...]
    categories: tuple[str, ...]
    splits: Mapping[str, Sequence[date]]
    left_out: Mapping[str, Sequence[str]]
    dates: tuple[date, ...]
    definition_sha256: str
    snapshot_date: str | None
    source: Mapping[str, Any]
    read_from: Mapping[str, Any] = field(default_factory=dict)
    origins: Origins = field(default_factory=dict)
    personal: Mapping[str, Sequence[str]] = field(default_factory=dict)


@contextmanager
def open_workspace() -> Iterator[Backend]:
    """An empty database; times are UTC. What does not fit into its memory is on disk."""
    import ibis

    with tempfile.TemporaryDirectory(prefix="adfml-") as folder:
        backend = ibis.duckdb.connect(
            f"{folder}/training.duckdb", memory_limit=MEMORY, temp_directory=f"{folder}/spill"
        )
        try:
            backend.con.execute("SET TimeZone = 'UTC'")
            backend.con.execute("SET preserve_insertion_order = false")
            yield backend
        finally:
            backend.disconnect()


@contextmanager
def attached(lake: Lake, backend: Backend, partitions: Partitions) -> Iterator[dict[str, Table]]:
    """Archived partitions as tables, by name; only files that the manifests name are read."""
    with ExitStack() as stack:
        tables = {}
        for name, (folder, manifest) in partitions.items():
            files = [str(stack.enter_context(lake.local_copy(path))) for path in list_data_paths(folder, manifest)]
            tables[name] = backend.read_parquet(files, table_name=name, hive_partitioning=False)
        yield tables


def fetch_row(connection: DuckDBPyConnection, sql: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...]:
    """The one row of a query of aggregates."""
    row = connection.execute(sql, list(parameters)).fetchone()
    assert row is not None  # noqa: S101 - aggregates always have one
    return tuple(row)


def select_split(time: str, dates: Sequence[date]) -> str:
    """The condition of a split's rows. No date of another split lies between its first and its last one."""
    return f"CAST({quote(time)} AS DATE) BETWEEN DATE '{min(dates).isoformat()}' AND DATE '{max(dates).isoformat()}'"
