"""Scoring the same rows by a model and by its SQL, in every database that runs here."""

from __future__ import annotations

import itertools
import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import sqlglot
from sqlalchemy.engine import URL
from sqlglot import exp

from adfml_assets.in_database.compile import CompiledModel, compile_model
from adfml_assets.in_database.query import quote_table, to_sql
from adfml_assets.in_database.verify import build_frame, score_in_python
from tests.postgresql_server import connect

DIALECTS = ("sqlite", "duckdb", "postgresql")
DOUBLE = "DOUBLE PRECISION"
HARD = (
    None,
    0.0,
    -0.0,
    1.0,
    -1.0,
    5e-324,
    -5e-324,
    2.2250738585072014e-308,
    1e-200,
    1e-10,
    1e10,
    2.0**53 + 2,
    1e19,
    3.4028234663852886e38,
    3.402823567797336e38,
    3.4028235677973366e38,
    1e39,
    -1e39,
    1e154,
    1e200,
    1e308,
    -1e308,
    1.7976931348623157e308,
    math.inf,
    -math.inf,
)
"""Values of a column that arithmetic stumbles over."""


@dataclass
class Servers:
    """Connections to all databases, and tables that are made and dropped."""

    connections: Mapping[str, Any]
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @contextmanager
    def table(self, names: Sequence[str], rows: Sequence[Sequence[Any]], types: Mapping[str, str]) -> Iterator[str]:
        """A table of rows in every database, with a column `row id` that counts them. Gives its name."""
        name = f"rows of {next(self._numbers)}"
        for dialect, connection in self.connections.items():
            columns = ", ".join(f"{quote_table(dialect, one)} {types.get(one, DOUBLE)}" for one in names)
            table = quote_table(dialect, name)
            connection.execute(f'CREATE TABLE {table} ("row id" INTEGER, {columns})')
            numbered = [(number, *row) for number, row in enumerate(rows)]
            if dialect == "duckdb":  # one row at a time takes it a millisecond each
                given = pa.table(
                    {f"c{place}": pa.array(values) for place, values in enumerate(zip(*numbered, strict=True))}
                )
                connection.execute(f"INSERT INTO {table} FROM given")
                del given
                continue
            marks = ", ".join(["%s" if dialect == "postgresql" else "?"] * (len(names) + 1))
            connection.cursor().executemany(f"INSERT INTO {table} VALUES ({marks})", numbered)
        try:
            yield name
        finally:
            for dialect, connection in self.connections.items():
                connection.execute(f"DROP TABLE {quote_table(dialect, name)}")

    def score(
        self, compiled: CompiledModel, rows: Sequence[Sequence[Any]], types: Mapping[str, str] | None = None
    ) -> dict[str, list[float | None]]:
        """The scores of rows by each database."""
        found: dict[str, list[float | None]] = {}
        booleans = [name for name, declared in (types or {}).items() if declared == "BOOLEAN"]
        with self.table(compiled.features, rows, types or {}) as name:
            for dialect, connection in self.connections.items():
                source = quote_table(dialect, name)
                sql = to_sql(compiled, dialect, source, keep=["row id"], booleans=booleans)
                scores = dict(connection.execute(sql).fetchall())
                found[dialect] = [scores[number] for number in range(len(rows))]
        return found


@contextmanager
def open_servers(url: URL) -> Iterator[Servers]:
    """Connect to a PostgreSQL, and to a SQLite and a DuckDB in memory."""
    with (
        closing(sqlite3.connect(":memory:")) as sqlite,
        closing(duckdb.connect()) as duck,
        connect(url) as postgresql,
    ):
        duck.execute("SET threads = 1")
        yield Servers({"sqlite": sqlite, "duckdb": duck, "postgresql": postgresql})


def assert_same_scores(
    servers: Servers,
    model: Any,
    rows: Sequence[Sequence[Any]],
    features: Sequence[str],
    *,
    positive_class: object = None,
    types: Mapping[str, str] | None = None,
    relative: float = 1e-12,
) -> list[float | None]:
    """Every database gives each row the score that the model gives; T-SQL can be read. Returns the scores."""
    compiled = compile_model(model, features, positive_class)
    expected = score_in_python(model, compiled, build_frame(compiled, rows))
    for dialect, scores in servers.score(compiled, rows, types).items():
        for row, python, sql in zip(rows, expected, scores, strict=True):
            assert (python is None) == (sql is None), f"{dialect}: {row}: {python} is {sql}"
            if python is not None and sql is not None:
                assert math.isclose(python, sql, rel_tol=relative, abs_tol=1e-14), (
                    f"{dialect}: {row}: {python} is {sql}"
                )
    assert_fits_tsql(to_sql(compiled, "mssql", "T", keep=["row id"]))
    return expected


def assert_fits_tsql(sql: str) -> None:
    """It can be read as T-SQL, has no condition where a value must be, and no more than 10 CASE in each other."""
    (statement,) = sqlglot.parse(sql, dialect="tsql")
    assert isinstance(statement, exp.Select)
    pending: list[tuple[exp.Expression, int, bool]] = [(statement, 0, False)]
    while pending:
        node, depth, may_be_condition = pending.pop()
        assert may_be_condition or not isinstance(node, exp.Predicate | exp.Connector | exp.Not), node.sql("tsql")
        depth += isinstance(node, exp.Case)
        assert depth <= 10
        for name, child in ((name, child) for name, value in node.args.items() for child in _list(value)):
            inherits = may_be_condition and isinstance(node, exp.Connector | exp.Paren | exp.Not)
            is_condition = inherits or (isinstance(node, exp.If | exp.Where) and name == "this")
            pending.append((child, 0 if isinstance(child, exp.Subquery) else depth, is_condition))


def _list(value: Any) -> list[exp.Expression]:
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, exp.Expression)]


def make_rows(count: int, width: int, seed: int = 0, missing: float = 0.0) -> pd.DataFrame:
    """Numbers around 0, some of them missing."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(random.normal(0, 10, (count, width)), columns=[f"f {number}" for number in range(width)])
    return frame.mask(random.random(frame.shape) < missing) if missing else frame


def list_rows(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    """A frame's rows as a database driver takes them."""
    return [tuple(None if value != value else value for value in row) for row in frame.astype(object).to_numpy()]


def spread_hard_values(rows: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
    """Rows in which one value after the other is replaced by each of the hard ones."""
    result = []
    for number, value in enumerate(HARD):
        for position in range(len(rows[0])):
            row = list(rows[(number * 7 + position) % len(rows)])
            row[position] = value
            result.append(tuple(row))
    return result


def find_edges(thresholds: Sequence[float]) -> list[float]:
    """Thresholds and their neighbours as float64 and as float32."""
    found: list[float] = []
    for threshold in thresholds:
        single = np.float32(threshold)
        for one in (single, np.nextafter(single, np.float32(-np.inf)), np.nextafter(single, np.float32(np.inf))):
            middle = (float(one) + float(np.nextafter(one, np.float32(np.inf)))) / 2
            found += [float(one), middle]
            found += [float(np.nextafter(middle, -np.inf)), float(np.nextafter(middle, np.inf))]
        found += [float(threshold), math.nextafter(threshold, -math.inf), math.nextafter(threshold, math.inf)]
    return found
