"""A partition's rows in the order of their keys, in constant memory: what is too much goes to a temporary file.

Written in key order, a table's index is walked once from one end to the other, and two writers lock rows in one order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from adfml_assets.archive.current import open_duckdb
from adfml_assets.write_back.arrow_types import find_family
from adfml_assets.write_back.errors import DuplicateKeys, NullKeys

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

READ_ROWS = 65_536
_MEMORY = "256MB"
_EXAMPLES = 5


class SortedRows:
    """Rows that are sorted by their keys.

    Attributes:
        schema: of the batches that `read` gives.
        count: how many rows.
    """

    def __init__(self, connection: DuckDBPyConnection, schema: pa.Schema, count: int) -> None:
        self._connection = connection
        self.schema = schema
        self.count = count

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[pa.RecordBatch]:
        """The rows from number `start` up to before `stop`, in order."""
        return self._query(range(len(self.schema)), start, self.count if stop is None else stop)

    def check_keys(self, table: str, keys: Mapping[str, str], constants: Mapping[str, Any]) -> bool:
        """Make sure that each row has a key of its own.

        Args:
            table: for messages.
            keys: the table's key columns and the rows' columns they come from.
            constants: those key columns that have one value in all rows.

        Returns:
            Whether the keys differ even without those that are text: a database may take two texts for the same.

        Raises:
            NullKeys, DuplicateKeys: some have none, or not their own.
        """
        import pyarrow.compute as pc

        positions = [self.schema.get_field_index(source) for source in keys.values()]
        exact = [index for index, position in enumerate(positions) if not self._is_text(position)]
        names, alone = [*keys, *constants], bool(exact)
        if not keys:
            if self.count > 1:
                raise DuplicateKeys(table, names, [tuple(constants.values())])
            return True
        null_rows, nulls, doubled = 0, list[tuple[Any, ...]](), dict[tuple[Any, ...], None]()
        last: list[Any] | None = None
        for batch in self._query(positions, 0, self.count):
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

    def _is_text(self, position: int) -> bool:
        return find_family(self.schema.types[position]) == "text"

    def _query(self, positions: Sequence[int], start: int, stop: int) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        schema = pa.schema([self.schema.field(position) for position in positions])
        columns = ", ".join(f"c{position}" for position in positions)
        query = f"SELECT {columns} FROM rows WHERE rowid >= {start:d} AND rowid < {stop:d}"  # noqa: S608 - numbers
        # A cursor of its own: whoever reads may be interrupted by another reader.
        with self._connection.cursor() as cursor:
            for batch in cursor.execute(query).to_arrow_reader(READ_ROWS):
                yield pa.RecordBatch.from_arrays(
                    [column.cast(kind) for column, kind in zip(batch.columns, schema.types, strict=True)], schema=schema
                )


@contextmanager
def sort_rows(schema: pa.Schema, batches: Iterator[pa.RecordBatch], keys: Sequence[str]) -> Iterator[SortedRows]:
    """Sort rows by their keys; those that are no text first, so that text is compared as rarely as can be.

    Args:
        schema: of the batches.
        batches: read once.
        keys: columns of the batches.
    """
    import pyarrow as pa

    plain = pa.schema([(f"c{index}", _find_plain(kind)) for index, kind in enumerate(schema.types)])

    def read() -> Iterator[pa.RecordBatch]:
        for batch in batches:
            arrays = [column.cast(kind) for column, kind in zip(batch.columns, plain.types, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, schema=plain)

    texts = {name for name in keys if find_family(schema.field(name).type) == "text"}
    order = [schema.get_field_index(name) for name in sorted(keys, key=lambda name: name in texts)]
    sort = f" ORDER BY {', '.join(f'c{position}' for position in order)}" if order else ""
    with open_duckdb() as connection:
        connection.execute(f"SET memory_limit = '{_MEMORY}'")
        with feed(plain, read()) as reader:
            connection.register("given", reader)
            connection.execute(f"CREATE TABLE rows AS SELECT * FROM given{sort}")  # noqa: S608 - numbers
        connection.unregister("given")
        (count,) = connection.execute("SELECT count(*) FROM rows").fetchall()[0]
        named = pa.schema([field.with_type(kind) for field, kind in zip(schema, plain.types, strict=True)])
        yield SortedRows(connection, named, count)


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
