"""What a feature set is: its declaration, what can be wrong with it, and the identity of its definition."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, get_args

from adfml_assets.errors import DeclarationInvalid
from adfml_assets.features.errors import ExpressionNotFound

AsOf = Literal["snapshot_date", "last_transaction"]
Rows = Literal["feature_date", "event"]
State = Literal["snapshot", "current"]
EngineName = Literal["duckdb", "spark", "databricks"]

FEATURE_DATE = "feature_date"
"""The result's column that says as of which day's end (UTC) a row is."""

FEATURE_DATES = "feature_dates"
"""The table of dates that features are wanted for."""

_SIMPLE = (str, int, float, bool, date, datetime, Decimal, type(None))


@dataclass(frozen=True)
class TableRef:
    """A table that features are made of.

    Attributes:
        reference: `database.schema.table`.
        timestamp: the column that says when a row happened, UTC; None: the table is a dimension, its rows have no time.
        state: `snapshot`: the day's full snapshot; `current`: the state as of the day, put together from full
            snapshots and incremental extracts.
    """

    reference: str
    timestamp: str | None = None
    state: State = "snapshot"


@dataclass(frozen=True)
class FeatureSetSpec:
    """What a feature set is.

    Attributes:
        name: of the set and its folder in the lake.
        key: the column that says whose features they are; for `rows: event` the event's own id.
        tables: name in the definition -> table.
        function: `package.module.function` of an ibis expression; exactly one of it and `sql`.
        sql: a SELECT in DuckDB's SQL over the tables and `feature_dates`, parameters as `$name`.
        rows: one row a key and feature date, or one row an event.
        event_time: for `rows: event`, the result's column with the event's time.
        parameters: what the definition is given besides tables and dates.
        as_of: features as of the snapshot date, or as of the last transaction where that is earlier (closed data).
        step_days, count: earlier feature dates, every so many days, at most so many.
        partition_by: a column of the tables; rows with different values of it have nothing to do with each other.
        engine: what runs the definition.

    Raises:
        DeclarationInvalid: it cannot be; says which field.
    """

    name: str
    key: str
    tables: Mapping[str, TableRef]
    function: str | None = None
    sql: str | None = None
    rows: Rows = "feature_date"
    event_time: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    as_of: AsOf = "snapshot_date"
    step_days: int = 30
    count: int = 0
    partition_by: str | None = None
    engine: EngineName = "duckdb"

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        self._check_definition()
        self._check_tables()
        self._check_rows()
        self._check_parameters()

    @property
    def identity(self) -> tuple[str, ...]:
        """The columns of which no two rows have the same values."""
        return (self.key,) if self.rows == "event" else (self.key, FEATURE_DATE)

    @property
    def time(self) -> str:
        """The result's column that says as of when a row is: `feature_date`, or the event's time."""
        return self.event_time if self.rows == "event" and self.event_time else FEATURE_DATE

    @property
    def definition(self) -> str:
        """How messages name the definition."""
        return f"function {self.function}" if self.function else "its SQL"

    @property
    def timestamped(self) -> dict[str, str]:
        """The tables whose rows have a time: name -> column."""
        return {name: table.timestamp for name, table in self.tables.items() if table.timestamp}

    def _refuse(self, where: str, found: object, expected: str) -> DeclarationInvalid:
        return DeclarationInvalid(f"Feature set {self.name}", where, found, expected)

    def _check_definition(self) -> None:
        if self.function and self.sql:
            raise self._refuse("sql", self.sql, "either function or sql, not both")
        if not self.function and not self.sql:
            raise self._refuse("function", self.function, "package.module.function, or sql in its place")
        if self.engine not in get_args(EngineName):
            raise self._refuse("engine", self.engine, f"one of {', '.join(get_args(EngineName))}")

    def _check_tables(self) -> None:
        if not self.tables:
            raise self._refuse("tables", {}, "at least one table")
        for name, table in self.tables.items():
            if not name.isidentifier() or name == FEATURE_DATES:
                expected = f"names as Python takes them, other than {FEATURE_DATES}"
                raise self._refuse("tables", name, expected)
            if table.reference.count(".") < 2 and "{{" not in table.reference:
                raise self._refuse(f"tables.{name}", table.reference, "database.schema.table")
            if table.state not in get_args(State):
                raise self._refuse(f"tables.{name}.state", table.state, "snapshot or current")
        if not self.timestamped and (self.count or self.rows == "event" or self.as_of == "last_transaction"):
            expected = "at least one table with a `timestamp`: otherwise nothing says what was known when"
            raise self._refuse("tables", ", ".join(self.tables), expected)

    def _check_rows(self) -> None:
        if self.rows == "event" and not self.event_time:
            raise self._refuse("event_time", self.event_time, "the result's column with the event's time (rows: event)")
        if self.rows != "event" and self.event_time:
            raise self._refuse("event_time", self.event_time, "nothing: it belongs to rows: event")
        if self.rows == "event" and self.count:
            raise self._refuse("feature_dates.count", self.count, "nothing: events have their own times (rows: event)")
        if self.count < 0:
            raise self._refuse("feature_dates.count", self.count, "0 or more")
        if self.step_days < 1:
            raise self._refuse("feature_dates.step_days", self.step_days, "1 or more")
        if not self.key:
            raise self._refuse("key", self.key, "the column that says whose features they are")
        if self.key in (FEATURE_DATE, self.event_time):
            raise self._refuse("key", self.key, "another column than that of the time")

    def _check_parameters(self) -> None:
        for name, value in self.parameters.items():
            if name in self.tables or name == FEATURE_DATES:
                raise self._refuse("parameters", name, "other names than those of the tables")
            values = value if isinstance(value, list) else [value]
            if self.sql and not all(isinstance(one, _SIMPLE) for one in values):
                raise self._refuse(f"parameters.{name}", value, "a text, number, date, true, false, or a list of them")


def hash_definition(spec: FeatureSetSpec) -> str:
    """The identity of what a feature set computes: the same in every process, another when a value may change.

    It covers the function's module (or the SQL) without comments and docstrings, the parameters, the key, and the
    tables with their timestamps; neither the engine, nor where rows come from, nor which dates are asked for. Modules
    that the function imports are not covered.

    Raises:
        ExpressionNotFound: there is no such module.
    """
    parts = {
        "definition": _read_sql(spec.sql) if spec.sql else _read_module(str(spec.function)),
        "parameters": dict(spec.parameters),
        "tables": {name: [table.reference, table.timestamp] for name, table in spec.tables.items()},
        "rows": [spec.rows, spec.key, spec.time],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _read_sql(text: str) -> list[list[str]]:
    from sqlglot.dialects.duckdb import DuckDB

    return [[token.token_type.name, token.text] for token in DuckDB().tokenize(text)]


def _read_module(reference: str) -> list[str]:
    module = reference.rpartition(".")[0]
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError) as error:
        raise ExpressionNotFound(reference, str(error)) from None
    if found is None or not found.origin or not Path(found.origin).is_file():
        raise ExpressionNotFound(reference, f"no module {module} with a source file")
    tree = ast.parse(Path(found.origin).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [line for line in node.body if not _is_text(line)]
    return [reference, ast.unparse(ast.fix_missing_locations(tree))]


def _is_text(line: ast.stmt) -> bool:
    """Whether a line is a docstring, or a text below an attribute."""
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)
