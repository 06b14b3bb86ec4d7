"""The rows of an archived snapshot that are to be scored: checked first, then streamed in batches of bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from adfml_assets.duckdb_sql import build_scan, quote
from adfml_assets.errors import AdfmlError
from resources.errors import NotFound
from resources.lake import Lake
from resources.manifest import Manifest, list_data_paths

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

    from adfml_assets.text.prompts import Prompt

_BATCH_BYTES = 32 * 1024 * 1024
_BATCH_ROWS = 20_000
_EXAMPLES = 5


class PredicateInvalid(AdfmlError):
    """The declared choice of rows is no predicate over the snapshot's columns."""

    def __init__(self, declaration: str, where: str, reason: str) -> None:
        self.declaration = declaration
        self.where = where
        self.reason = reason
        super().__init__(
            f"{declaration}: where: {where!r} cannot be used: {reason}. Expected a SQL predicate (DuckDB) over the "
            "columns of the archived table, for example scored = 0."
        )


class KeysInvalid(AdfmlError):
    """Rows cannot be told apart by the declared key."""

    def __init__(self, declaration: str, source: str, key: Sequence[str], problem: str) -> None:
        self.declaration = declaration
        self.source = source
        self.key = tuple(key)
        self.problem = problem
        super().__init__(
            f"{declaration}: key {', '.join(key)} of {source}: {problem}. Nothing was sent. Declare the columns that "
            "identify a row."
        )


class SourceSpec(Protocol):
    """What a choice of rows is made of; see `ScoredText`."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def source(self) -> str: ...  # noqa: D102
    @property
    def key(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def text(self) -> str: ...  # noqa: D102
    @property
    def where(self) -> str | None: ...  # noqa: D102
    @property
    def prompt(self) -> Prompt: ...  # noqa: D102


@dataclass(frozen=True)
class BatchRows:
    """Some rows.

    Attributes:
        keys: the key columns of those that hold a text.
        inputs: the columns of the prompt, of the same rows.
        blank_keys: the key columns of those that hold none.
    """

    keys: pa.Table
    inputs: pa.Table
    blank_keys: pa.Table


@dataclass(frozen=True)
class SourceRows:
    """The rows to be scored.

    Attributes:
        key_types: the key columns' types.
    """

    key_types: Mapping[str, pa.DataType]
    _spec: SourceSpec
    _query: str
    _connection: DuckDBPyConnection
    _batch_rows: int

    def batches(self) -> Iterator[BatchRows]:
        """The rows, in the snapshot's order and in constant memory."""
        import pyarrow as pa

        for batch in self._connection.execute(self._query).to_arrow_reader(self._batch_rows):
            # Texts may be of any length: a batch is cut where it would become too large to be rendered at once.
            parts = max(1, -(-batch.nbytes // _BATCH_BYTES))
            step = max(1, -(-batch.num_rows // parts))
            for start in range(0, batch.num_rows, step):
                yield self._divide(pa.Table.from_batches([batch.slice(start, step)]))

    def _divide(self, rows: pa.Table) -> BatchRows:
        import pyarrow.compute as pc

        blank = rows["adfml_blank"]
        filled, empty = rows.filter(pc.invert(blank)), rows.filter(blank)
        key, names = list(self._spec.key), list(self._spec.prompt.columns)
        first = len(key)
        return BatchRows(
            filled.select(range(first)).rename_columns(key),
            filled.select(range(first, first + len(names))).rename_columns(names),
            empty.select(range(first)).rename_columns(key),
        )


def open_source(
    lake: Lake, spec: SourceSpec, snapshot: tuple[str, Manifest], connection: DuckDBPyConnection, stack: ExitStack
) -> SourceRows:
    """Look at a snapshot before anything is written or paid for.

    Args:
        stack: holds local copies of the snapshot's files until it is closed.

    Raises:
        NotFound: a column that the key, the text or the template names is not there.
        PredicateInvalid: `where` cannot be evaluated.
        KeysInvalid: a key is NULL, or several rows have it.
    """
    folder, manifest = snapshot
    existing = [column.name for column in manifest.columns]
    for column in (*spec.key, spec.text, *spec.prompt.columns):
        if column not in existing:
            raise NotFound("column", column, f"the archived table {spec.source} ({spec.name})", existing)
    files = [str(stack.enter_context(lake.local_copy(path))) for path in list_data_paths(folder, manifest)]
    connection.execute("SET arrow_large_buffer_size = true")
    connection.execute(f"CREATE VIEW snapshot AS SELECT * FROM {build_scan(files)}")  # noqa: S608
    _create_chosen(connection, spec)
    _check_keys(connection, spec)
    types = {row[0]: row[1] for row in connection.execute("DESCRIBE chosen").fetchall()}
    keys = ", ".join(f"{quote(name)} AS adfml_k{index}" for index, name in enumerate(spec.key))
    inputs = "".join(
        f", {_show(name, types[name])} AS adfml_c{index}" for index, name in enumerate(spec.prompt.columns)
    )
    text = f"CAST({quote(spec.text)} AS VARCHAR)"
    blank = f"{text} IS NULL OR NOT regexp_matches({text}, '[^\\s\\p{{Z}}\\p{{Cc}}]')"
    query = f"SELECT {keys}{inputs}, {blank} AS adfml_blank FROM chosen"  # noqa: S608
    schema = connection.execute(f"SELECT {keys} FROM chosen LIMIT 0").to_arrow_table().schema  # noqa: S608
    stored = max(1, manifest.bytes // max(1, manifest.rows))
    # Texts are some five times as long as they are stored.
    rows = max(500, min(_BATCH_ROWS, _BATCH_BYTES // (5 * stored)))
    return SourceRows(dict(zip(spec.key, schema.types, strict=True)), spec, query, connection, rows)


def _create_chosen(connection: DuckDBPyConnection, spec: SourceSpec) -> None:
    import duckdb

    # On a line of its own a comment at its end ends with it.
    where = f"WHERE (\n{spec.where}\n)" if spec.where is not None else ""
    try:
        connection.execute(f"CREATE VIEW chosen AS SELECT * FROM snapshot {where}")  # noqa: S608
        connection.execute("SELECT count(*) FROM chosen").fetchall()
    except duckdb.Error as error:
        if spec.where is None:
            raise
        raise PredicateInvalid(spec.name, spec.where, str(error).splitlines()[0]) from None


def _check_keys(connection: DuckDBPyConnection, spec: SourceSpec) -> None:
    keys = [quote(name) for name in spec.key]
    unset = " OR ".join(f"{key} IS NULL" for key in keys)
    nulls = _count(connection.execute(f"SELECT count(*) FROM chosen WHERE {unset}").fetchone())  # noqa: S608
    if nulls:
        raise KeysInvalid(spec.name, spec.source, spec.key, f"NULL in {nulls} rows")
    listed = ", ".join(keys)
    doubled = connection.execute(
        f"SELECT {listed} FROM chosen GROUP BY {listed} HAVING count(*) > 1 ORDER BY {listed} LIMIT {_EXAMPLES}"  # noqa: S608
    ).fetchall()
    if doubled:
        shown = "; ".join(", ".join(map(str, row)) for row in doubled)
        raise KeysInvalid(spec.name, spec.source, spec.key, f"several rows have the same, for example {shown}")


def _count(row: tuple[Any, ...] | None) -> int:
    return int(row[0]) if row else 0


def _show(name: str, kind: str) -> str:
    """A column for a template: 100 ns have no Python type."""
    return f"CAST({quote(name)} AS TIMESTAMP)" if kind == "TIMESTAMP_NS" else quote(name)
