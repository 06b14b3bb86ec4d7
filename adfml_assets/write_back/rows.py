"""A partition's rows in the order of their keys, in constant memory: what is too much goes to a temporary file.

Written in key order, a table's index is walked once from one end to the other, and two writers lock rows in one order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from adfml_assets.archive.current import open_duckdb
from adfml_assets.write_back.arrow_types import find_family
from adfml_assets.write_back.errors import DuplicateKeys, NullKeys

if TYPE_CHECKING:
    import pyarrow as pa

READ_ROWS = 65_536
IN_MEMORY_BYTES = 64_000_000
"""Up to so many, a partition's staged columns are sorted at once; more take longer, but no more memory."""

_MEMORY = "256MB"
_EXAMPLES = 5


Read = Callable[[Sequence[int], int, int], "Iterator[pa.RecordBatch]"]
"""Gives columns, by their positions, of the rows from a number up to before another one."""


@dataclass(frozen=True)
class SortedRows:
    """Rows that are sorted by their keys.

    Attributes:
        schema: of the batches that `read` gives.
        count: how many rows.
    """

    schema: pa.Schema
    count: int
    _read: Read

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[pa.RecordBatch]:
        """The rows from number `start` up to before `stop`, in order."""
        return self._read(range(len(self.schema)), start, self.count if stop is None else stop)

    def check_keys(self, table: str, keys: Mapping[str, str], constants: Mapping[str, Any]) -> bool:
        """Make sure that each row has a key of its own.

        Args:
            table: for messages.
            keys: the table's key columns and the rows' columns they come from.
            constants: those key columns that have one value in all rows.

        Returns:
            Whether the keys differ even without those that a table may take for the same: texts by its collation, and
            what it holds in fewer digits, such as moments.

        Raises:
            NullKeys, DuplicateKeys: some have none, or not their own.
        """
        import pyarrow.compute as pc

        positions = [self.schema.get_field_index(source) for source in keys.values()]
        exact = [index for index, position in enumerate(positions) if self._is_exact(position)]
        names, alone = [*keys, *constants], bool(exact)
        if not keys:
            if self.count > 1:
                raise DuplicateKeys(table, names, [tuple(constants.values())])
            return True
        null_rows, nulls, doubled = 0, list[tuple[Any, ...]](), dict[tuple[Any, ...], None]()
        last: list[Any] | None = None
        for batch in self._read(positions, 0, self.count):
            columns = batch.columns
            if any(column.null_count for column in columns):
                missing = _any(*(pc.is_null(column) for column in columns))
                null_rows += pc.sum(missing).as_py()
                nulls += _pick(batch.filter(missing), constants, _EXAMPLES - len(nulls))
                continue
            same = [_compare_neighbours(column, last[i] if last else None) for i, column in enumerate(columns)]
            last = [column[-1] for column in columns]
            alone = alone and not pc.any(_all(*(same[index] for index in exact))).as_py()
            equal = _all(*same)
            if len(doubled) < _EXAMPLES and pc.any(equal).as_py():
                doubled.update(dict.fromkeys(_pick(batch.filter(equal), constants, _EXAMPLES)))
        if null_rows:
            raise NullKeys(table, names, null_rows, nulls)
        if doubled:
            raise DuplicateKeys(table, names, list(doubled)[:_EXAMPLES])
        return alone

    def _is_exact(self, position: int) -> bool:
        return find_family(self.schema.types[position]) in ("boolean", "integer", "date")


@contextmanager
def sort_rows(schema: pa.Schema, batches: Iterator[pa.RecordBatch], keys: Sequence[str]) -> Iterator[SortedRows]:
    """Sort rows by their keys; those that are no text first, so that text is compared as rarely as can be.

    Args:
        schema: of the batches.
        batches: read once.
        keys: columns of the batches.
    """
    import pyarrow as pa

    plain = pa.schema([field.with_type(_find_plain(field.type)) for field in schema])
    texts = {name for name in keys if find_family(schema.field(name).type) == "text"}
    order = [schema.get_field_index(name) for name in sorted(keys, key=lambda name: name in texts)]
    read = (_flatten(batch, plain) for batch in batches)
    held: list[pa.RecordBatch] = []
    size = 0
    for batch in read:
        held.append(batch)
        size += batch.nbytes
        if size > IN_MEMORY_BYTES:
            with _sort_outside(plain, chain(held, read), order) as ordered:
                yield ordered
            return
    yield _sort_in_memory(plain, held, order)


def _flatten(batch: pa.RecordBatch, plain: pa.Schema) -> pa.RecordBatch:
    import pyarrow as pa

    arrays = [column.cast(kind) for column, kind in zip(batch.columns, plain.types, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=plain)


def _sort_in_memory(schema: pa.Schema, batches: Sequence[pa.RecordBatch], order: Sequence[int]) -> SortedRows:
    import pyarrow as pa
    import pyarrow.compute as pc

    # By position: two columns may have one name but for the case, or the same.
    named = [f"c{position}" for position in range(len(schema))]
    table = pa.Table.from_batches(batches, schema).rename_columns(named).combine_chunks()
    if order:
        table = table.take(pc.sort_indices(table, sort_keys=[(named[position], "ascending") for position in order]))
    table = table.rename_columns(schema.names)

    def read(positions: Sequence[int], start: int, stop: int) -> Iterator[pa.RecordBatch]:
        part = table.select(list(positions)).slice(start, stop - start)
        return iter(part.to_batches(max_chunksize=READ_ROWS))

    return SortedRows(schema, table.num_rows, read)


@contextmanager
def _sort_outside(schema: pa.Schema, batches: Iterator[pa.RecordBatch], order: Sequence[int]) -> Iterator[SortedRows]:
    """In DuckDB, which uses a temporary file for what is too much."""
    import pyarrow as pa

    # DuckDB takes names that differ in case only for one.
    numbered = pa.schema([(f"c{position}", kind) for position, kind in enumerate(schema.types)])
    renamed = (pa.RecordBatch.from_arrays(batch.columns, schema=numbered) for batch in batches)
    sort = f" ORDER BY {', '.join(numbered.names[position] for position in order)}" if order else ""
    with open_duckdb() as connection:
        connection.execute(f"SET memory_limit = '{_MEMORY}'")
        with feed(numbered, renamed) as reader:
            connection.register("given", reader)
            connection.execute(f"CREATE TABLE rows AS SELECT * FROM given{sort}")  # noqa: S608 - numbers
        connection.unregister("given")
        (count,) = connection.execute("SELECT count(*) FROM rows").fetchall()[0]

        def read(positions: Sequence[int], start: int, stop: int) -> Iterator[pa.RecordBatch]:
            wanted = pa.schema([schema.field(position) for position in positions])
            columns = ", ".join(numbered.names[position] for position in positions)
            query = f"SELECT {columns} FROM rows WHERE rowid >= {start:d} AND rowid < {stop:d}"  # noqa: S608 - numbers
            # A cursor of its own: whoever reads may be interrupted by another reader.
            with connection.cursor() as cursor:
                for batch in cursor.execute(query).to_arrow_reader(READ_ROWS):
                    yield _flatten(batch, wanted)

        yield SortedRows(schema, count, read)


@contextmanager
def feed(schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatchReader]:
    """Batches as a reader for libraries that are not Python: what the batches raise is raised, not their text of it."""
    import pyarrow as pa

    failed: list[Exception] = []

    def read() -> Iterator[pa.RecordBatch]:
        try:
            yield from batches
        except Exception as error:
            failed.append(error)
            raise

    try:
        yield pa.RecordBatchReader.from_batches(schema, read())
    except Exception:
        if failed:
            raise failed[0] from None
        raise


def _find_plain(kind: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _find_plain(kind.value_type)
    if pa.types.is_large_string(kind):
        return pa.string()
    return pa.binary() if pa.types.is_large_binary(kind) else kind


def _compare_neighbours(column: pa.Array, last: Any) -> pa.Array:
    """Of each value, whether it is the one before; `last` is the one before the first."""
    import pyarrow as pa
    import pyarrow.compute as pc

    first = pa.array([last is not None and last == column[0]])
    return pa.concat_arrays([first, pc.equal(column.slice(1), column.slice(0, len(column) - 1))])


def _all(first: pa.Array, *others: pa.Array) -> pa.Array:
    import pyarrow.compute as pc

    for other in others:
        first = pc.and_(first, other)
    return first


def _any(first: pa.Array, *others: pa.Array) -> pa.Array:
    import pyarrow.compute as pc

    for other in others:
        first = pc.or_(first, other)
    return first


def _pick(batch: pa.RecordBatch, constants: Mapping[str, Any], most: int) -> list[tuple[Any, ...]]:
    rows = batch.slice(0, max(most, 0)).to_pydict()
    return [(*row, *constants.values()) for row in zip(*rows.values(), strict=True)]
