"""Comparing what is archived of a table with what the source has: counts and key sums a day, and deleted rows."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from adfml_assets.archive.copying import build_query
from adfml_assets.archive.current import build_newest_query, find_sources, open_duckdb, open_parts
from adfml_assets.archive.tables import SourceTable, TableRules
from adfml_assets.duckdb_sql import quote
from adfml_assets.errors import NoKey, WatermarkMissing
from resources.lake import Lake

if TYPE_CHECKING:
    from resources.servers.base import Snapshot

_SHOWN_DAYS = 20


@dataclass(frozen=True)
class Reconciliation:
    """The archived state of a table against the source, over rows up to the last archived watermark.

    Attributes:
        rows_at_source, rows_archived: how many there are.
        missing: keys at the source that no partition has.
        deleted: archived keys that the source no longer has.
        days: the first days whose counts or key sums differ: (day, rows at source, rows archived). For watermarks that
            are no datetimes all rows count as one day, ''.
    """

    rows_at_source: int
    rows_archived: int
    missing: int
    deleted: int
    days: tuple[tuple[str, int, int], ...]


def reconcile(lake: Lake, snapshot: Snapshot, source: SourceTable, rules: TableRules, day: str) -> Reconciliation:
    """Compare every key at the source with the state archived as of a day. Reads keys and watermarks only.

    Rows that were changed since the last extract are left out on both sides: their next extract is yet to come.

    Raises:
        NothingArchived: nothing was archived up to that day.
        NoKey: the table has no primary key that is archived as it is.
        WatermarkMissing: the rules name no watermark.
    """
    if rules.watermark is None:
        raise WatermarkMissing(source.full_name)
    found = find_sources(lake, source, day)
    key: list[str] = list(found.manifests[-1].facts.get("primary_key", ()))
    watermark = rules.watermark.column
    if not key or {*key, watermark} & {*rules.leave_out, *rules.hash}:
        raise NoKey(source.full_name)
    upper = next((m.facts["upper"] for m in reversed(found.manifests) if m.facts.get("upper")), None)
    query = replace(build_query(snapshot, source, rules), columns=tuple(dict.fromkeys([*key, watermark])))
    with ExitStack() as stack, open_duckdb() as connection:
        _load_source(connection, snapshot, query)
        newest = build_newest_query(open_parts(lake, found, stack), key, watermark)
        names = ", ".join(quote(name) for name in query.columns)
        connection.execute(f"CREATE TEMP TABLE archived AS SELECT {names} FROM ({newest})")  # noqa: S608
        return _compare(connection, key, watermark, rules.watermark.kind, upper)


def _load_source(connection: Any, snapshot: Snapshot, query: Any) -> None:
    import pyarrow as pa

    reader = pa.RecordBatchReader.from_batches(snapshot.schema_of(query), snapshot.read(query))
    connection.register("source_rows", reader)
    connection.execute("CREATE TEMP TABLE at_source AS SELECT * FROM source_rows")
    connection.unregister("source_rows")


def _compare(connection: Any, key: list[str], watermark: str, kind: str, upper: str | None) -> Reconciliation:
    column, keys = quote(watermark), ", ".join(quote(name) for name in key)
    # A key that moved past the last archived watermark is compared after its next extract.
    moved = "false" if upper is None else f"{column} > {_cast_watermark(connection, column, kind)}"
    bound = [] if upper is None else [upper]
    connection.execute(f"CREATE TEMP TABLE moved AS SELECT {keys} FROM at_source WHERE {moved}", bound)  # noqa: S608
    for table in ("at_source", "archived"):
        connection.execute(
            f"CREATE TEMP VIEW {table}_settled AS SELECT * FROM {table} ANTI JOIN moved USING ({keys}) "  # noqa: S608
            f"WHERE {column} IS NOT NULL"
        )

    def count(query: str) -> int:
        return int(connection.execute(f"SELECT count(*) FROM {query}").fetchone()[0])  # noqa: S608

    return Reconciliation(
        rows_at_source=count("at_source_settled"),
        rows_archived=count("archived_settled"),
        missing=count(f"at_source_settled ANTI JOIN archived USING ({keys})"),
        deleted=count(f"archived ANTI JOIN at_source USING ({keys})"),
        days=_find_different_days(connection, keys, column, kind),
    )


def _find_different_days(connection: Any, keys: str, column: str, kind: str) -> tuple[tuple[str, int, int], ...]:
    """Days whose rows or key sums differ between the two sides."""
    day = f"left(CAST({column} AS VARCHAR), 10)" if kind == "datetime" else "''"
    sums = "SELECT {day} AS day, count(*) AS rows, sum(hash({keys})::HUGEINT) AS keys FROM {table}_settled GROUP BY 1"
    sides = [sums.format(day=day, keys=keys, table=table) for table in ("at_source", "archived")]
    rows = connection.execute(
        f"SELECT day, coalesce(s.rows, 0), coalesce(a.rows, 0) FROM ({sides[0]}) s "  # noqa: S608
        f"FULL JOIN ({sides[1]}) a USING (day) "
        "WHERE s.rows IS DISTINCT FROM a.rows OR s.keys IS DISTINCT FROM a.keys "
        f"ORDER BY day LIMIT {_SHOWN_DAYS}"
    ).fetchall()
    return tuple((str(found[0]), int(found[1]), int(found[2])) for found in rows)


def _cast_watermark(connection: Any, column: str, kind: str) -> str:
    """A bound text as a value of the watermark's own type."""
    if kind == "rowversion":
        return "from_hex(substr(?, 3))"
    declared = connection.execute(f"SELECT typeof({column}) FROM at_source LIMIT 1").fetchone()  # noqa: S608
    return f"CAST(? AS {declared[0] if declared else 'VARCHAR'})"
