"""Whether a definition looks into the future: what it gives for an earlier time, where nothing later is there."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adfml_assets.features.definition import FEATURE_DATE
from adfml_assets.features.duckdb_engine import build_cut, open_duckdb
from adfml_assets.features.feature_set import Plan, end_of, run_statement
from adfml_assets.features.quoting import build_scan, quote
from adfml_assets.features.result import conform
from adfml_assets.features.statement import compile_statement
from resources.lake import Lake
from resources.manifest import Manifest, list_data_paths

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

TOLERANCE = 1e-9
"""How far floats may be apart, as a share of the larger one; below 1 absolutely: sums have no order."""


@dataclass(frozen=True)
class Comparison:
    """Features of an earlier time, compared with what the same definition gives from tables that end there.

    Attributes:
        before: the tables' end; with time zone UTC.
        rows: compared.
        only_stored, only_recomputed: rows that only one of the two has.
        columns: feature -> rows in which it differs; only those that do.
    """

    before: datetime
    rows: int
    only_stored: int
    only_recomputed: int
    columns: Mapping[str, int]

    @property
    def passed(self) -> bool:
        """Whether nothing differs."""
        return not (self.only_stored or self.only_recomputed or self.columns)

    def describe(self) -> str:
        """The finding in a sentence."""
        moment = f"{self.before:%Y-%m-%d %H:%M} UTC"
        if self.passed:
            return f"{self.rows} rows are the same when computed from tables that end at {moment}."
        parts = [f"{name} in {rows} rows" for name, rows in self.columns.items()]
        if self.only_stored:
            parts.append(f"{self.only_stored} rows are there only with the later data")
        if self.only_recomputed:
            parts.append(f"{self.only_recomputed} rows are there only without it")
        return (
            f"The definition looks into the future: with tables that end at {moment} other features come out: "
            f"{', '.join(parts)}, of {self.rows} rows. Of each feature date (or event) use only what happened before "
            "its end."
        )


def compare_with_past(lake: Lake, plan: Plan, stored: tuple[str, Manifest]) -> Comparison | None:
    """Compute an earlier time's features anew from tables cut there, and compare; None: there is no earlier time.

    The earlier time is in the middle: something is before it, and something that a definition could see too early.

    Args:
        plan: of the partition.
        stored: its folder and manifest. Where it has no earlier feature date, the features of one are computed from
            the tables as they are.

    Raises:
        OutOfMemory, EngineFailed: the engine could not do it.
    """
    if plan.first_event is None or plan.last_event is None:
        return None
    with tempfile.TemporaryDirectory(prefix="adfml-") as folder, open_duckdb(Path(folder)) as connection:
        if plan.spec.rows == "event":
            before = _find_middle(plan.first_event, plan.last_event, plan.before)
            recomputed, chosen = plan, f"{quote(plan.spec.time)} < {_build_cut(plan, before)}"
            _store(lake, connection, stored, "as_stored", chosen)
        else:
            earlier = [d for d in plan.dates or () if end_of(d) < plan.before]
            chosen_date = (
                earlier[len(earlier) // 2]
                if earlier
                else _find_middle(plan.first_event, plan.last_event, plan.before).date() - timedelta(days=1)
            )
            before = end_of(chosen_date)
            recomputed = _with_dates(plan, [chosen_date])
            if before >= plan.before or chosen_date < plan.first_event.date():
                return None
            if earlier:
                chosen = f"{FEATURE_DATE} = DATE '{chosen_date}'"
                _store(lake, connection, stored, "as_stored", chosen)
            else:
                _compute(lake, connection, recomputed, "as_stored", None)
        _compute(lake, connection, recomputed, "from_past", before)
        return _compare(connection, plan.spec.identity, plan.statement.schema, before)


def _find_middle(first: datetime, last: datetime, before: datetime) -> datetime:
    """The end of the day in the middle of a period, before its end."""
    middle = end_of((first + (last - first) / 2).date())
    return min(middle, datetime.combine(before.date(), time(), UTC))


def _build_cut(plan: Plan, before: datetime) -> str:
    return build_cut(plan.statement.schema.field(plan.spec.time).type, before)


def _with_dates(plan: Plan, dates: Sequence[date]) -> Plan:
    schemas = {name: source.schema for name, source in plan.sources.items()}
    return replace(plan, dates=dates, statement=compile_statement(plan.spec, schemas, dates))


def _store(lake: Lake, connection: DuckDBPyConnection, stored: tuple[str, Manifest], name: str, chosen: str) -> None:
    with ExitStack() as stack:
        files = [str(stack.enter_context(lake.local_copy(path))) for path in list_data_paths(*stored)]
        connection.execute(f"CREATE TABLE {name} AS SELECT * FROM {build_scan(files)} WHERE {chosen}")  # noqa: S608


def _compute(lake: Lake, connection: DuckDBPyConnection, plan: Plan, name: str, before: datetime | None) -> None:
    schema = plan.statement.schema
    connection.register("adfml_batch", schema.empty_table())
    connection.execute(f"CREATE TABLE {name} AS SELECT * FROM adfml_batch")  # noqa: S608
    with closing(run_statement(lake, plan, before)) as parts:
        for part in parts:
            for batch in part:
                connection.register("adfml_batch", conform(plan.spec, batch, schema))
                connection.execute(f"INSERT INTO {name} SELECT * FROM adfml_batch")  # noqa: S608


def _compare(
    connection: DuckDBPyConnection, identity: Sequence[str], schema: pa.Schema, before: datetime
) -> Comparison:
    features = [column for column in schema if column.name not in identity]
    same = " AND ".join(f"s.{quote(name)} = p.{quote(name)}" for name in identity)
    both = f"s.{quote(identity[0])} IS NOT NULL AND p.{quote(identity[0])} IS NOT NULL"
    counts = [
        f"count(*) FILTER (WHERE {both})",
        f"count(*) FILTER (WHERE p.{quote(identity[0])} IS NULL)",
        f"count(*) FILTER (WHERE s.{quote(identity[0])} IS NULL)",
        *(f"count(*) FILTER (WHERE {both} AND {_differs(column)})" for column in features),
    ]
    query = f"SELECT {', '.join(counts)} FROM as_stored s FULL JOIN from_past p ON {same}"  # noqa: S608
    found: Any = connection.execute(query).fetchone()
    columns = {column.name: count for column, count in zip(features, found[3:], strict=True) if count}
    return Comparison(before, found[0], found[1], found[2], columns)


def _differs(column: pa.Field) -> str:
    import pyarrow as pa

    stored, past = f"s.{quote(column.name)}", f"p.{quote(column.name)}"
    different = f"{stored} IS DISTINCT FROM {past}"
    if not pa.types.is_floating(column.type):
        return different
    near = f"abs({stored} - {past}) <= {TOLERANCE} * greatest(1, abs({stored}), abs({past}))"
    return f"({different} AND NOT coalesce({near}, false))"
