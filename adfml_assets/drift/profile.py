"""How the values of columns lie: bins from the training data, and how many rows of a file fall into each (DuckDB)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adfml_assets.drift.errors import FeaturesMissing, NotNumeric
from adfml_assets.duckdb_sql import quote

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

DECILES = tuple(tenth / 10 for tenth in range(1, 10))
MOST_VALUES = 10
"""Columns of up to so many different values have a bin a value."""
SAMPLE_ROWS = 100_000
"""Bins are chosen from about so many rows, spread evenly over the file; every row is counted into them."""

_PART = 50
_NUMBERS = re.compile(r'U?(TINY|SMALL|BIG|HUGE)?INT|U?INTEGER|FLOAT|DOUBLE|DECIMAL\(.*\)|BOOLEAN|"NULL"')


@dataclass(frozen=True)
class Bins:
    """The bins of a column; there is always one more than there are edges.

    Attributes:
        edges: rising. A bin holds the values above the edge before it, up to and with its own; the last one those above
            the last edge. Where `by_value`, each edge is a bin of its own, and the last one holds every other value.
        by_value: whether the edges are the values themselves.
    """

    edges: tuple[float, ...]
    by_value: bool = False

    @property
    def labels(self) -> tuple[str, ...]:
        """What the bins are called."""
        shown = [f"{edge:.4g}" for edge in self.edges]
        if self.by_value:
            return (*shown, "other")
        return (*(f"≤ {edge}" for edge in shown), f"> {shown[-1]}") if shown else ("any",)


@dataclass(frozen=True)
class Profile:
    """How the values of a column lie in one file.

    Attributes:
        bins: the same for all files that are compared.
        counts: rows by bin.
        missing: rows that are NULL, NaN or infinite: a model takes all of these for missing.
    """

    bins: Bins
    counts: tuple[int, ...]
    missing: int = 0

    @property
    def rows(self) -> int:
        """All rows, missing ones included."""
        return sum(self.counts) + self.missing

    @property
    def missing_share(self) -> float:
        """The share of missing values; 0 without rows."""
        return self.missing / self.rows if self.rows else 0.0


def choose_bins(file: Path, columns: Sequence[str], shown_as: str) -> dict[str, Bins]:
    """The bins of each column: its values where they are few, else its deciles, equal ones once.

    Args:
        file: a Parquet file on this machine.
        shown_as: how messages name it.

    Raises:
        FeaturesMissing, NotNumeric: a column is not there, or holds no numbers.
    """
    if not columns:
        return {}
    names = _name_columns(columns)
    found: list[Any] = []
    with _open(file, columns, shown_as) as connection:
        rows = _fetch_one(connection, "SELECT count(*) FROM columns")[0]
        step = max(1, math.ceil(rows / SAMPLE_ROWS))
        # In parts: the sample of so many columns is held at a time.
        for begin in range(0, len(names), _PART):
            chosen = ", ".join(
                f"CASE WHEN count(DISTINCT {c}) <= {MOST_VALUES} THEN list(DISTINCT {c}) FILTER ({c} IS NOT NULL) END, "
                f"quantile_disc({c}, {list(DECILES)})"
                for c in names[begin : begin + _PART]
            )
            query = f"SELECT {chosen} FROM columns WHERE file_row_number % {step} = 0"  # noqa: S608
            found += _fetch_one(connection, query)
    return {name: _build_bins(found[2 * at], found[2 * at + 1]) for at, name in enumerate(columns)}


def count_rows(file: Path, bins: Mapping[str, Bins], shown_as: str) -> dict[str, Profile]:
    """How many rows fall into each bin of each column: one pass over the file.

    Raises:
        FeaturesMissing, NotNumeric: a column is not there, or holds no numbers.
    """
    columns = list(bins)
    if not columns:
        return {}
    counts = []
    for c, name in zip(_name_columns(columns), columns, strict=True):
        function = "histogram_exact" if bins[name].by_value else "histogram"
        # From texts: a number with a point is a DECIMAL to DuckDB, which is not always the same DOUBLE.
        edges = ", ".join(f"'{edge!r}'::DOUBLE" for edge in bins[name].edges)
        counts += [f"count({c})", f"{function}({c}, [{edges}])" if edges else "NULL"]
    with _open(file, columns, shown_as) as connection:
        row = _fetch_one(connection, f"SELECT count(*), {', '.join(counts)} FROM columns")  # noqa: S608
    profiles = {}
    for at, name in enumerate(columns):
        present, histogram = row[1 + 2 * at], row[2 + 2 * at] or {}
        inside = [histogram.get(edge, 0) for edge in bins[name].edges]
        profiles[name] = Profile(bins[name], (*inside, present - sum(inside)), row[0] - present)
    return profiles


@contextmanager
def _open(file: Path, columns: Sequence[str], shown_as: str) -> Iterator[DuckDBPyConnection]:
    """A session with the table `columns`: c0, c1, ... as DOUBLE, NULL for what is missing, and `file_row_number`."""
    import duckdb

    with duckdb.connect(config={"enable_external_file_cache": False}) as connection:
        connection.execute("SET enable_progress_bar = false")
        source = connection.read_parquet(str(file), file_row_number=True, hive_partitioning=False)
        types = {name: str(kind) for name, kind in zip(source.columns, source.types, strict=True)}
        del types["file_row_number"]
        missing = [name for name in columns if name not in types]
        if missing:
            raise FeaturesMissing(shown_as, missing, list(types))
        wrong = {name: types[name] for name in columns if not _NUMBERS.fullmatch(types[name])}
        if wrong:
            raise NotNumeric(shown_as, wrong)
        source.create_view("source")
        numbers = [f"{quote(name)}::DOUBLE" for name in columns]
        chosen = ", ".join(
            f"CASE WHEN isfinite({number}) THEN {number} END AS {c}"
            for number, c in zip(numbers, _name_columns(columns), strict=True)
        )
        connection.execute(f"CREATE VIEW columns AS SELECT {chosen}, file_row_number FROM source")  # noqa: S608
        yield connection


def _build_bins(values: Sequence[float] | None, deciles: Sequence[float] | None) -> Bins:
    if deciles is None:
        return Bins((), by_value=True)
    if values is not None:
        return Bins(tuple(sorted(values)), by_value=True)
    return Bins(tuple(sorted(set(deciles))))


def _name_columns(columns: Sequence[str]) -> list[str]:
    return [f"c{at}" for at in range(len(columns))]


def _fetch_one(connection: DuckDBPyConnection, query: str) -> tuple[Any, ...]:
    row = connection.execute(query).fetchone()
    assert row is not None  # noqa: S101 - an aggregate without groups has one row
    return row
