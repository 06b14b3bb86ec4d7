"""Writing a partition: its rows sorted and checked, staged, upserted, all in one transaction or in batches."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from adfml_assets.write_back import progress
from adfml_assets.write_back.errors import Superseded
from adfml_assets.write_back.progress import Partition, Progress
from adfml_assets.write_back.rows import SortedRows, sort_rows
from adfml_assets.write_back.scored_rows import Marking, ScoredRows, plan_marking
from adfml_assets.write_back.staged_columns import StagedColumn, build_constant, conform, plan_column
from adfml_assets.write_back.staging import open_staging
from adfml_assets.write_back.target import OpenedTarget, Target, open_target
from adfml_assets.write_back.upsert import Upsert, count_missing, require_unique, run_upsert
from adfml_assets.write_back.written import Written
from resources.control import lost_to_another
from resources.database import Databases
from resources.duckdb_file import write_alone
from resources.errors import NotFound

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa
    from sqlalchemy import Connection

Clear = Callable[["Connection", "sa.Table", "sa.Table"], None]
"""Takes away what the partition had before and has no more, given the connection, the target and the staged rows."""

_Result = TypeVar("_Result")
_TRIES = 5


@dataclass(frozen=True)
class Rows:
    """What is written.

    Attributes:
        schema: of the batches.
        batches: read once, in any order, in constant memory.
        columns: each column of the table and the column of the batches that it gets.
        constants: each column of the table that gets one value in all rows; they need not be staged.
    """

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]
    columns: Mapping[str, str]
    constants: Mapping[str, Any]


@dataclass(frozen=True)
class _Plan:
    """How rows get into an opened table."""

    target: Target
    opened: OpenedTarget
    columns: tuple[StagedColumn, ...]
    constants: Mapping[str, sa.ColumnElement[Any]]
    marking: Marking | None
    exact: bool
    """Whether the keys differ whatever the table makes of them."""

    def convert(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        keys = [column.source for column in self.columns if column.name in self.target.keys]
        marked = self.marking.columns if self.marking else ()
        return conform(batches, (*self.columns, *marked), self.target.full_name, list(dict.fromkeys(keys)))

    def stage(self, connection: Connection, batches: Iterator[pa.RecordBatch]) -> Any:
        marked = self.marking.columns if self.marking else ()
        return open_staging(connection, (*self.columns, *marked), batches, self.target.schema)

    def build_upsert(self, staging: sa.Table) -> Upsert:
        import sqlalchemy as sa

        values: dict[str, sa.ColumnElement[Any]] = {}
        for column in self.columns:
            staged = staging.c[column.name]
            values[column.name] = sa.cast(staged, column.cast) if column.cast is not None else staged
        values.update(self.constants)
        table, keys = self.opened.table, self.target.keys
        return Upsert(table, staging, keys, values, self.target.guard, self.opened.unique, ordered=True)

    def require_unique(self, connection: Connection, staging: sa.Table) -> None:
        upsert = self.build_upsert(staging)
        keys = {key: upsert.values[key] for key in self.target.keys}
        require_unique(connection, staging, keys, self.opened.table)

    def write(self, connection: Connection, staging: sa.Table, rows: int) -> Written:
        """Upsert what is staged, and set the dates of its source, within the transaction."""
        written = run_upsert(connection, self.build_upsert(staging), rows)
        return replace(written, marked=self.marking.run(connection, staging) if self.marking and rows else 0)


def write_partition(
    databases: Databases,
    target: Target,
    rows: Rows,
    *,
    of: Partition | None = None,
    mark: ScoredRows | None = None,
    clear: Clear | None = None,
) -> Written:
    """Upsert a partition's rows; writing them twice changes nothing, and says so.

    Columns of the table that are not written keep what they have. Everything happens in one transaction, or with
    `batch_rows` in one transaction a batch; see `Target`.

    Args:
        of: which partition it is; needed with `batch_rows` only.
        mark: rows of the same database whose date is set in the same transaction.
        clear: runs in the same transaction, before the upsert; not with `batch_rows`.

    Raises:
        NotFound: a key or source column is not among the rows' columns, or the table is not there and not to be made.
        TargetInvalid: the table cannot take the rows, with everything that is wrong.
        NullKeys, DuplicateKeys: rows have no key, or not their own; nothing was written.
        ValueInvalid: a value does not fit into its column; nothing was written.
        Superseded: another run writes other rows for the partition.
        Unreachable: the database does not answer.
    """
    import pyarrow as pa

    started = time.monotonic()
    if target.batch_rows is not None and (of is None or clear is not None):
        raise ValueError("batch_rows needs to know the partition, and cannot clear: no transaction sees all its rows")
    for name in rows.columns.values():
        if name not in rows.schema.names:
            raise NotFound("column", name, f"the rows to be written to {target.full_name}", rows.schema.names)
    needed = list(dict.fromkeys([*rows.columns.values(), *([mark.key_from, mark.date_from] if mark else [])]))
    schema = pa.schema([rows.schema.field(name) for name in needed])
    keys = {key: rows.columns[key] for key in target.keys if key in rows.columns}
    with ExitStack() as stack:
        chosen = (batch.select(needed) for batch in rows.batches)
        ordered = stack.enter_context(sort_rows(schema, chosen, list(keys.values())))
        named = {name: value for name, value in rows.constants.items() if name in target.keys}
        exact = ordered.check_keys(target.full_name, keys, named)
        connection = stack.enter_context(databases.connect(target.database))
        stack.enter_context(write_alone(connection))
        plan = _plan(connection, target, rows, ordered.schema, mark, exact)
        if target.batch_rows is None:
            written = _retry(lambda: _write_whole(connection, plan, ordered, clear))
        else:
            assert of is not None  # noqa: S101 - looked at above
            digest = _build_digest(of, target, rows)
            written = _write_batches(connection, plan, ordered, replace(of, digest=digest), target.batch_rows)
    return replace(written, left_out=plan.opened.left_out, seconds=time.monotonic() - started)


def _plan(
    connection: Connection, target: Target, rows: Rows, schema: pa.Schema, mark: ScoredRows | None, exact: bool
) -> _Plan:
    import pyarrow as pa

    kinds = {name: schema.field(source).type for name, source in rows.columns.items()}
    kinds.update({name: pa.scalar(value).type for name, value in rows.constants.items()})
    opened = open_target(connection, target, kinds)
    dialect, there = connection.dialect.name, opened.table.columns
    columns = [
        plan_column(name, schema.field(source), there[name], dialect)
        for name, source in rows.columns.items()
        if name not in opened.left_out
    ]
    constants = {
        name: build_constant(name, value, there[name], target.full_name, dialect)
        for name, value in rows.constants.items()
        if name not in opened.left_out
    }
    with connection.begin():
        marking = plan_marking(connection, mark, schema) if mark else None
    return _Plan(target, opened, tuple(columns), constants, marking, exact)


def _write_whole(connection: Connection, plan: _Plan, rows: SortedRows, clear: Clear | None) -> Written:
    with plan.stage(connection, plan.convert(rows.read())) as staging:
        if not plan.exact:
            plan.require_unique(connection, staging)
        if clear is not None:
            clear(connection, plan.opened.table, staging)
        return plan.write(connection, staging, rows.count)


def _write_batches(connection: Connection, plan: _Plan, rows: SortedRows, of: Partition, batch_rows: int) -> Written:
    # What is wrong anywhere has to be found before the first batch is there.
    for _ in plan.convert(rows.read()):
        pass
    if not plan.exact:
        with plan.stage(connection, plan.convert(rows.read())) as staging:
            plan.require_unique(connection, staging)
    schema = plan.target.schema
    at = progress.begin(connection, schema, of)
    if not rows.count:
        with connection.begin():
            progress.end(connection, schema, of)
    elif at.rows_done and not _is_there(connection, plan, rows, at.rows_done - 1):
        # Somebody has emptied the table since, or made it anew.
        at = progress.restart(connection, schema, of)
    resumed = at.rows_done
    while at.rows_done < rows.count:
        start, stop = at.rows_done, min(at.rows_done + batch_rows, rows.count)
        batch = _retry(partial(_write_batch, connection, plan, rows, of, start, stop))
        if batch is not None:
            at = Progress(stop, at.written.add(batch))
        else:
            at = _catch_up(connection, plan, of, at)
            resumed += max(at.rows_done - start, 0)
    return replace(at.written, rows=rows.count, resumed=resumed)


def _is_there(connection: Connection, plan: _Plan, rows: SortedRows, number: int) -> bool:
    """Whether the table has the row of a number."""
    with plan.stage(connection, plan.convert(rows.read(number, number + 1))) as staging:
        return count_missing(connection, plan.build_upsert(staging), 1) == 0


def _write_batch(
    connection: Connection, plan: _Plan, rows: SortedRows, of: Partition, start: int, stop: int
) -> Written | None:
    """Write the rows from `start` up to before `stop`; None: another run has written them meanwhile."""
    schema = plan.target.schema
    with plan.stage(connection, plan.convert(rows.read(start, stop))) as staging:
        if not progress.claim(connection, schema, of, start, stop):
            return None
        written = plan.write(connection, staging, stop - start)
        if stop < rows.count:
            progress.note(connection, schema, of, written)
        else:
            progress.end(connection, schema, of)
        return written


def _retry(write: Callable[[], _Result]) -> _Result:
    """Run a transaction again that the server ended to let another one through."""
    import sqlalchemy as sa
    import tenacity

    again = tenacity.Retrying(
        # A rule of the table that refuses rows does so again.
        retry=tenacity.retry_if_exception(lambda e: lost_to_another(e) and not isinstance(e, sa.exc.IntegrityError)),
        wait=tenacity.wait_random_exponential(multiplier=0.1, max=5),
        stop=tenacity.stop_after_attempt(_TRIES),
        reraise=True,
    )
    return again(write)


def _catch_up(connection: Connection, plan: _Plan, of: Partition, at: Progress) -> Progress:
    with connection.begin():
        found = progress.find(connection, plan.target.schema, of)
        otherwise = progress.is_begun_otherwise(connection, plan.target.schema, of)
    if otherwise:
        raise Superseded(plan.target.full_name, of.asset, of.partition, at.rows_done)
    # No row of it any more: the other run has written the last batch. What is there is gone over once more.
    return found if found is not None else progress.begin(connection, plan.target.schema, of)


def _build_digest(of: Partition, target: Target, rows: Rows) -> str:
    """Of the files, and of everything else that decides what is written."""
    how = (target.full_name, target.keys, target.guard, dict(rows.columns), dict(rows.constants))
    return hashlib.sha256(repr((of.digest, how)).encode()).hexdigest()
