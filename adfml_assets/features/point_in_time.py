"""Whether a definition looks into the future: what it gives for an earlier time, where nothing later is there."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adfml_assets.duckdb_sql import build_scan, quote
from adfml_assets.features.definition import FEATURE_DATE, hash_definition
from adfml_assets.features.duckdb_engine import build_cut, open_duckdb
from adfml_assets.features.feature_set import Plan, end_of, run_statement
from adfml_assets.features.hash_parts import count_parts
from adfml_assets.features.statement import compile_statement
from resources.lake import Lake
from resources.manifest import Manifest, list_data_paths

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

TOLERANCE = 1e-9
"""How far floats may be apart, as a share of the larger one; below 1 absolutely: sums have no order."""

MOST_COMPARED = 1_000_000
"""About how many rows are compared: of more, those of some keys."""


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
    They are compared with the stored ones. Where there are none of an earlier date, where a table was archived anew or
    the definition changed since they were made, or where they are so many that the work is done in parts, they are
    compared with what the definition gives of the tables as they are; of parts with the first one. Of more than
    `MOST_COMPARED` rows those of some keys are compared.

    Args:
        plan: of the partition.
        stored: its folder and manifest.

    Raises:
        OutOfMemory, EngineFailed: the engine could not do it.
    """
    earlier = _find_earlier(plan)
    if earlier is None:
        return None
    before, asked, chosen = earlier
    whole = plan.spec.engine != "duckdb" or count_parts(plan.spec, plan.sources) == 1
    has_date = plan.spec.rows == "event" or asked.dates[0] in (plan.dates or ())  # type: ignore[index]  # one date
    is_stored = has_date and _is_made_of(stored[1], plan)
    with (
        tempfile.TemporaryDirectory(prefix="adfml-") as folder,
        open_duckdb(Path(folder)) as connection,
        ExitStack() as stack,
    ):
        if whole and is_stored:
            files = [stack.enter_context(lake.local_copy(path)) for path in list_data_paths(*stored)]
        else:
            files = [_compute(lake, asked, Path(folder) / "as_stored.parquet", None)]
        past = _compute(lake, asked, Path(folder) / "from_past.parquet", before)
        some = _choose_some(connection, files, chosen, plan.spec.key)
        _load(connection, "as_stored", files, f"({chosen}) AND {some}")
        _load(connection, "from_past", [past], some)
        return _compare(connection, plan.spec.identity, plan.statement.schema, before)


def _is_made_of(stored: Manifest, plan: Plan) -> bool:
    """Whether stored features are what the plan would give: where they are not, a difference says nothing of time."""
    tables = {name: stored.source.get(name) for name in plan.origin}
    return tables == plan.origin and stored.facts.get("definition_sha256") == hash_definition(plan.spec)


def _find_earlier(plan: Plan) -> tuple[datetime, Plan, str] | None:
    """An earlier end of the tables, what to compute for it, and which rows that is, as SQL."""
    if plan.first_event is None or plan.last_event is None:
        return None
    middle = end_of((plan.first_event + (plan.last_event - plan.first_event) / 2).date())
    if plan.spec.rows == "event":
        before = min(middle, plan.before - timedelta(days=1))
        cut = build_cut(plan.statement.schema.field(plan.spec.time).type, before)
        asked, chosen = plan, f"{quote(plan.spec.time)} < {cut}"
    else:
        dates = [d for d in plan.dates or () if end_of(d) < plan.before]
        day = dates[len(dates) // 2] if dates else middle.date() - timedelta(days=1)
        before = end_of(day)
        asked, chosen = _with_date(plan, day), f"{FEATURE_DATE} = DATE '{day}'"
    is_earlier = before < plan.before and before.replace(tzinfo=None) > plan.first_event
    return (before, asked, chosen) if is_earlier else None


def _with_date(plan: Plan, day: date) -> Plan:
    schemas = {name: source.schema for name, source in plan.sources.items()}
    return replace(plan, dates=[day], statement=compile_statement(plan.spec, schemas, [day]))


def _choose_some(connection: DuckDBPyConnection, files: Sequence[Path], chosen: str, key: str) -> str:
    """Which keys to compare, as SQL: all, or by their hash so many that about `MOST_COMPARED` rows have them."""
    count = f"SELECT count(*) FROM {_scan(files)} WHERE {chosen}"  # noqa: S608
    found: Any = connection.execute(count).fetchone()
    return f"hash({quote(key)}) % {max(1, math.ceil(found[0] / MOST_COMPARED))} = 0"


def _load(connection: DuckDBPyConnection, name: str, files: Sequence[Path], condition: str) -> None:
    connection.execute(f"CREATE TABLE {name} AS SELECT * FROM {_scan(files)} WHERE {condition}")  # noqa: S608


def _scan(files: Sequence[Path]) -> str:
    return build_scan([str(file) for file in files], by_name=False)


def _compute(lake: Lake, plan: Plan, file: Path, before: datetime | None) -> Path:
    """Write the first part of a plan's result into a file."""
    with closing(run_statement(lake, plan, lambda _index, _count: file, before)) as parts:
        return next(parts)


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
