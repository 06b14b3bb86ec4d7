"""Copying the rows of one query to the Parquet files of one partition; shared by snapshots and incremental extracts."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from adfml_assets.archive.personal_data import hash_batches, hash_schema
from adfml_assets.archive.progress import TableProgress
from adfml_assets.archive.run import ArchiveRun
from adfml_assets.archive.tables import SourceTable, TableRules
from adfml_assets.archive.times import convert_times, find_times, write_times_as_text
from adfml_assets.errors import RowsDiffer
from adfml_assets.origins import PERSONAL
from resources.claims import Claim
from resources.errors import Refused
from resources.lake import WrittenFile
from resources.manifest import Manifest, build_manifest, read_manifest, remove_unnamed, write_manifest
from resources.servers.base import MISMATCHED, TableQuery

if TYPE_CHECKING:
    import pyarrow as pa

    from resources.servers.base import Snapshot


@dataclass(frozen=True)
class Archived:
    """A partition of an archived table.

    Attributes:
        folder: its path in the lake.
        manifest: what it holds.
        existing: whether it was there before and nothing was copied, or another run's later copy stands.
        copied: how this run's copy went; None: nothing was copied.
    """

    folder: str
    manifest: Manifest
    existing: bool = False
    copied: TableProgress | None = None


@dataclass(frozen=True)
class Target:
    """Where rows go: the partition's folder, the name of its n-th file, and the claim they are written under."""

    folder: str
    name_file: Callable[[str, datetime, int], str]
    claim: Claim


def copy_rows(
    run: ArchiveRun,
    snapshot: Snapshot,
    query: TableQuery,
    source: SourceTable,
    rules: TableRules,
    target: Target,
    facts: dict[str, Any] | None = None,
) -> tuple[Manifest, TableProgress]:
    """Write the rows of a query to files. Returns a manifest of them, not yet committed, and how the copy went.

    Raises:
        RowsDiffer: the source counts other rows in the very state that was read: nothing of it becomes visible.
    """
    schema = hash_schema(snapshot.schema_of(query), rules.hash)
    if not run.options.times_typed:
        schema = write_times_as_text(schema)
    origin = {
        "database": source.database,
        "schema": source.schema,
        "table": source.table,
        "kind": run.server.kind,
        "address": run.address,
        "snapshot": dict(snapshot.facts),
    }
    described = schema.with_metadata({"adfml": json.dumps({**origin, "run_id": run.run_id}, default=str)})
    progress = run.progress.start(source.full_name)
    written: list[WrittenFile] = []
    try:
        with _counting(snapshot, query) as count:
            _write_parts(run, snapshot, query, described, source, rules, target, progress, written)
            rows_at_source = count()
        progress.end()
        if rows_at_source != progress.rows and snapshot.facts.get("one_state"):
            raise RowsDiffer(source.full_name, progress.rows, rows_at_source)
    except BaseException:
        _delete_files(run, written)
        raise
    finally:
        run.progress.end(source.full_name)
    files = _drop_empty(sorted(written, key=lambda file: file.path))
    _delete_files(run, [file for file in written if file not in files])
    if MISMATCHED in schema.names:
        facts = {**(facts or {}), "mismatched_rows": progress.mismatched_rows}
    manifest = build_manifest(
        asset=target.claim.asset,
        partition=target.claim.partition,
        files=files,
        schema=schema,
        written_at=run.now,
        run_id=run.run_id,
        source=origin,
        facts={**_state_rules(query, rules), **(facts or {}), "rows_at_source": rows_at_source},
    )
    return manifest, progress


@contextmanager
def _counting(snapshot: Snapshot, query: TableQuery) -> Iterator[Callable[[], int]]:
    """The source's own count of a query's rows: beside the reading where all reads see one state, else when asked."""
    if not snapshot.facts.get("one_state"):
        yield lambda: snapshot.count(query)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="count") as thread:
        yield thread.submit(snapshot.count, query).result


def archive_rows(
    run: ArchiveRun,
    snapshot: Snapshot,
    query: TableQuery,
    source: SourceTable,
    rules: TableRules,
    target: Target,
    facts: dict[str, Any] | None = None,
) -> Archived:
    """Copy the rows of a query and make them the partition, unless a later run's copy is it already."""
    try:
        manifest, copied = copy_rows(run, snapshot, query, source, rules, target, facts)
    except (OSError, Refused):
        # A later run's commit removes also the file that this one is in the middle of.
        standing = read_manifest(run.lake, target.folder) if run.claims.is_overtaken(target.claim) else None
        if standing is None:
            raise
        return Archived(target.folder, standing, existing=True)
    return publish(run, target, manifest, copied)


def publish(run: ArchiveRun, target: Target, manifest: Manifest, copied: TableProgress) -> Archived:
    """Make the copied rows the partition, unless a later run's copy is it already."""
    if not run.claims.commit(target.claim, lambda: write_manifest(run.lake, target.folder, manifest)):
        for file in manifest.files:
            run.lake.delete(f"{target.folder}/{file.name}")
        standing = read_manifest(run.lake, target.folder)
        return Archived(target.folder, standing or manifest, existing=True)
    # Not before: while the claim is not committed, an earlier one can still be.
    remove_unnamed(run.lake, target.folder, manifest, before=target.claim.stamp)
    return Archived(target.folder, manifest, copied=copied)


def _write_parts(
    run: ArchiveRun,
    snapshot: Snapshot,
    query: TableQuery,
    schema: pa.Schema,
    source: SourceTable,
    rules: TableRules,
    target: Target,
    progress: TableProgress,
    written: list[WrittenFile],
) -> None:
    """Write the rows, by one or several connections, and add to `written` what is whole, also where this fails."""
    options = run.options
    large = (query.table.estimated_bytes or 0) >= options.split_bytes
    parts = snapshot.split(query, options.readers) if options.readers > 1 and large else [query]
    build_path = _number_files(target, source)
    read = snapshot.schema_of(query)

    def write(part: TableQuery) -> None:
        with _reading(snapshot, part) as batches:
            if rules.hash:
                batches = hash_batches(batches, hash_schema(read, rules.hash), rules.hash)
            if not options.times_typed and find_times(read):
                batches = convert_times(batches, schema)
            with run.lake.write_parquet_parts(lambda _index: build_path(), schema, options.parquet) as sink:
                for batch in batches:
                    sink.write(batch)
                    progress.add(batch)
        written.extend(sink.files)

    if len(parts) == 1:
        write(parts[0])
        return
    with ThreadPoolExecutor(len(parts), thread_name_prefix="part") as pool:
        for _ in pool.map(write, parts):
            pass


@contextmanager
def _reading(snapshot: Snapshot, query: TableQuery) -> Iterator[Iterator[pa.RecordBatch]]:
    """The rows of a query, whose connection is given back at the end of the block.

    An error that is kept until all tables are done keeps what was being read too, and the snapshot has few connections.
    """
    batches = snapshot.read(query)
    try:
        yield batches
    finally:
        if isinstance(batches, Generator):
            batches.close()


def _number_files(target: Target, source: SourceTable) -> Callable[[], str]:
    """Paths in the order they are asked for, by whichever thread."""
    lock, numbers = threading.Lock(), iter(range(1_000_000))

    def build() -> str:
        with lock:
            number = next(numbers)
        return f"{target.folder}/{target.name_file(source.table, target.claim.stamp, number)}"

    return build


def _drop_empty(files: Sequence[WrittenFile]) -> list[WrittenFile]:
    """All files with rows, or the first one: a part without rows wrote a file too, which no manifest need name."""
    return [file for file in files if file.rows] or list(files[:1])


def _delete_files(run: ArchiveRun, files: Sequence[WrittenFile]) -> None:
    for file in files:
        # The first error is the one to tell; what stays is named by no manifest and removed by the next run.
        with suppress(Exception):
            run.lake.delete(file.path)


def _state_rules(query: TableQuery, rules: TableRules) -> dict[str, Any]:
    """What the manifest says of the rules, where there are any."""
    stated = {
        "primary_key": list(query.table.primary_key),
        "left_out": list(rules.leave_out),
        "hashed": list(rules.hash),
        PERSONAL: sorted({*rules.hash, *rules.personal}),
        "where": rules.where,
    }
    return {name: value for name, value in stated.items() if value}


def build_query(snapshot: Snapshot, source: SourceTable, rules: TableRules) -> TableQuery:
    """All rows and columns that the rules leave of a table.

    Raises:
        NotFound, NotPermitted, UnsupportedColumn: see `Snapshot.describe`.
    """
    table = snapshot.describe(source.name)
    return TableQuery(table, rules.choose_columns(source, table), where=rules.where)
