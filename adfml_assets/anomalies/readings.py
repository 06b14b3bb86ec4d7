"""Readings of the windows, sorted by series and time: from the lake, or from a table in its database.

DuckDB holds and sorts them in bounded memory; a series is taken out of it as NumPy arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from adfml_assets.anomalies.declared import DetectorSpec, Window, Windows
from adfml_assets.anomalies.errors import MissingGroups, UnreadableTimestamps, WrongColumnType
from adfml_assets.archive.current import open_duckdb
from adfml_assets.duckdb_sql import quote
from resources.database import Databases
from resources.errors import NotFound
from resources.lake import Lake
from resources.manifest import Manifest, list_data_paths
from resources.servers.base import TableName, TableQuery, Watermark
from resources.servers.opening import open_server
from resources.settings import database_setting

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from duckdb import DuckDBPyConnection
    from numpy.typing import NDArray

_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL", "BOOLEAN")
_MOMENTS = ("TIMESTAMP", "DATE")
Choose = Callable[[datetime | None], Windows]
"""The windows to be read, from the newest reading (UTC; None: there is none)."""


@dataclass(frozen=True)
class Readings:
    """The readings of the windows, open to be taken out series by series.

    Attributes:
        windows: what was chosen.
        newest: the newest reading up to the partition's day, UTC; of a table in its database the newest of all; None:
            there is none.
        group_type: the type of the `by` column; None: without one.
    """

    windows: Windows
    newest: datetime | None
    group_type: pa.DataType | None
    _connection: DuckDBPyConnection
    _variables: Sequence[str]

    def list_groups(self, window: Window) -> list[Any]:
        """The series that have readings in a window, sorted; `[None]` without a `by` column, [] without readings."""
        sql = "SELECT DISTINCT grp FROM readings WHERE t >= ? AND t < ? ORDER BY grp"
        return [row[0] for row in self._connection.execute(sql, [window.begin_us, window.end_us]).fetchall()]

    def read(self, group: Any, window: Window) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """A series: times (microseconds since 1970, UTC, ascending) and values (a column a variable, NaN for NULL)."""
        import numpy as np

        names = ", ".join(f"v{number}" for number in range(len(self._variables)))
        sql = f"SELECT t, {names} FROM readings WHERE grp IS NOT DISTINCT FROM ? AND t >= ? AND t < ? ORDER BY t"  # noqa: S608
        table = self._connection.execute(sql, [group, window.begin_us, window.end_us]).to_arrow_table()
        values = np.empty((table.num_rows, len(self._variables)))
        for number in range(len(self._variables)):
            values[:, number] = table.column(number + 1).to_numpy()
        return table.column(0).to_numpy(), values


class Source(Protocol):
    """Where readings come from."""

    @property
    def name(self) -> str:
        """`database.schema.table`."""
        ...

    def attach(
        self, connection: DuckDBPyConnection, spec: DetectorSpec, before: int, choose: Choose, stack: ExitStack
    ) -> tuple[Windows, datetime | None]:
        """Make a relation `source` of at least the windows' rows. Returns the windows and the newest reading.

        Args:
            before: microseconds: what is not before it does not count as the newest reading.
        """
        ...


@dataclass(frozen=True)
class ArchivedSource:
    """A partition in the lake.

    Attributes:
        name: `database.schema.table`.
        lake: that has it.
        folder, manifest: of the partition.
    """

    name: str
    lake: Lake
    folder: str
    manifest: Manifest

    def attach(
        self, connection: DuckDBPyConnection, spec: DetectorSpec, before: int, choose: Choose, stack: ExitStack
    ) -> tuple[Windows, datetime | None]:
        """See `Source`."""
        paths = [
            str(stack.enter_context(self.lake.local_copy(path))) for path in list_data_paths(self.folder, self.manifest)
        ]
        connection.read_parquet(paths, union_by_name=True, hive_partitioning=False).create_view("source")
        moment = _check_columns(connection, self.name, spec)
        _require_moments(connection, self.name, spec.timestamp, moment)
        newest_before = f"SELECT max({moment}) FROM source WHERE {moment} < ?"  # noqa: S608 - quoted
        found = connection.execute(newest_before, [before]).fetchone()
        newest = _to_datetime(found[0]) if found and found[0] is not None else None
        return choose(newest), newest


@dataclass(frozen=True)
class LiveSource:
    """A table in its database, read from one state of it.

    Attributes:
        name: `database.schema.table`.
        databases: that have it.
        database, schema, table: its names.
    """

    name: str
    databases: Databases
    database: str
    schema: str
    table: str

    def attach(
        self, connection: DuckDBPyConnection, spec: DetectorSpec, before: int, choose: Choose, stack: ExitStack
    ) -> tuple[Windows, datetime | None]:
        """See `Source`. Only the windows' days, and one more at either end for other time zones, leave the database.

        The newest reading is that of the whole table: one after the partition's day means that the day is not the end.
        """
        import pyarrow as pa

        server = open_server(self.databases.engine(self.database), self.database, database_setting(self.database))
        columns = [spec.timestamp, *spec.variables, *([spec.by] if spec.by else [])]
        with server.open_snapshot() as snapshot:
            described = snapshot.describe(TableName(self.schema, self.table))
            for column in columns:
                if described.column(column) is None:
                    raise NotFound("column", column, self.name, [c.name for c in described.columns])
            followed = Watermark(spec.timestamp)
            largest = snapshot.find_largest(described, followed)
            newest = _parse_moment(connection, largest) if largest else None
            missing = snapshot.count_null(described, spec.timestamp)
            if missing:
                raise UnreadableTimestamps(self.name, spec.timestamp, missing, 0, ())
            windows = choose(newest)
            first = min(windows.detect.first, windows.fit.first) - timedelta(days=1)
            last = max(windows.detect.end, windows.fit.end) + timedelta(days=1)
            bounds = [f"{day} 00:00:00.000000" if largest else None for day in (first, last)]
            query = TableQuery(described, tuple(dict.fromkeys(columns)), None, followed, bounds[0], bounds[1])
            reader = pa.RecordBatchReader.from_batches(snapshot.schema_of(query), snapshot.read(query))
            connection.register("rows_of_table", reader)
            connection.execute("CREATE TABLE source AS SELECT * FROM rows_of_table")
            connection.unregister("rows_of_table")
        _require_moments(connection, self.name, spec.timestamp, _check_columns(connection, self.name, spec))
        return windows, newest


@contextmanager
def open_readings(source: Source, spec: DetectorSpec, before: int, choose: Choose) -> Iterator[Readings]:
    """Read the rows of the windows; rows outside of them are not looked at further.

    Args:
        before: microseconds since 1970: the end of the partition's day.

    Raises:
        NotFound: a column does not exist.
        WrongColumnType: a variable is no number, or the timestamp no moment.
        UnreadableTimestamps: timestamps are NULL or no moments.
        MissingGroups: `by` is NULL somewhere in the windows.
    """
    with ExitStack() as stack, open_duckdb() as connection:
        windows, newest = source.attach(connection, spec, before, choose, stack)
        moment = _check_columns(connection, source.name, spec)
        group = quote(spec.by) if spec.by else "NULL"
        values = ", ".join(f"{quote(name)}::DOUBLE AS v{number}" for number, name in enumerate(spec.variables))
        inside = " OR ".join(
            f"({moment} >= {w.begin_us} AND {moment} < {w.end_us})" for w in (windows.fit, windows.detect)
        )
        connection.execute(
            f"CREATE TABLE readings AS SELECT {group} AS grp, {moment} AS t, {values} FROM source "  # noqa: S608 - quoted
            f"WHERE {inside} ORDER BY grp, t"
        )
        group_type = None
        if spec.by:
            without = connection.execute("SELECT count(*) FROM readings WHERE grp IS NULL").fetchone()
            if without and without[0]:
                raise MissingGroups(source.name, spec.by, without[0])
            group_type = connection.execute("SELECT grp FROM readings LIMIT 0").to_arrow_table().schema.field(0).type
        yield Readings(windows, newest, group_type, connection, spec.variables)


def _check_columns(connection: DuckDBPyConnection, name: str, spec: DetectorSpec) -> str:
    """Make sure the columns are there and of a fitting type. Returns the SQL of a timestamp in microseconds."""
    types = {row[0]: str(row[1]) for row in connection.execute("DESCRIBE source").fetchall()}
    for column in (spec.timestamp, *spec.variables, *([spec.by] if spec.by else [])):
        if column not in types:
            raise NotFound("column", column, name, types)
    for column in spec.variables:
        if not types[column].removeprefix("U").startswith(_NUMBERS):
            raise WrongColumnType(name, column, types[column], "a column of numbers")
    kind = types[spec.timestamp]
    if kind == "VARCHAR":
        # With the session's time zone: an offset in the text is heeded, without one it is UTC.
        return f"epoch_us(try_cast({quote(spec.timestamp)} AS TIMESTAMPTZ))"
    if not kind.startswith(_MOMENTS):
        raise WrongColumnType(name, spec.timestamp, kind, "a timestamp, a date, or text in ISO 8601")
    return f"epoch_us({quote(spec.timestamp)})"


def _require_moments(connection: DuckDBPyConnection, name: str, column: str, moment: str) -> None:
    quoted = quote(column)
    found = connection.execute(
        f"SELECT count(*) FILTER ({quoted} IS NULL), count(*) FILTER ({quoted} IS NOT NULL AND {moment} IS NULL), "  # noqa: S608
        f"array_agg(DISTINCT {quoted}::VARCHAR ORDER BY {quoted}::VARCHAR) "
        f"FILTER ({quoted} IS NOT NULL AND {moment} IS NULL) FROM source"
    ).fetchone()
    if found and (found[0] or found[1]):
        raise UnreadableTimestamps(name, column, found[0], found[1], [str(text)[:40] for text in (found[2] or ())[:3]])


def _parse_moment(connection: DuckDBPyConnection, text: str) -> datetime | None:
    found = connection.execute("SELECT epoch_us(try_cast(? AS TIMESTAMPTZ))", [text]).fetchone()
    return _to_datetime(found[0]) if found and found[0] is not None else None


def _to_datetime(microseconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
