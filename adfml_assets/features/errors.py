"""What can be wrong with a feature set, and is said before it is built where it can be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

from adfml_assets.errors import AdfmlError


class ExpressionNotFound(AdfmlError):
    """The function that defines an expression cannot be imported."""

    def __init__(self, reference: str, reason: str) -> None:
        self.reference = reference
        self.reason = reason
        super().__init__(f"function: {reference!r} cannot be used ({reason}). Expected package.module.function.")


class WrongArguments(AdfmlError):
    """A definition does not take what its declaration gives it."""

    def __init__(
        self, feature_set: str, taker: str, unknown: Sequence[str], missing: Sequence[str], taken: Iterable[str]
    ):
        self.feature_set = feature_set
        self.unknown = tuple(unknown)
        self.missing = tuple(missing)
        self.taken = tuple(taken)
        close = get_close_matches(self.unknown[0], self.taken, n=1) if self.unknown else []
        parts = [
            f"takes no {', '.join(map(repr, self.unknown))}" if self.unknown else "",
            f"is not given {', '.join(map(repr, self.missing))}" if self.missing else "",
        ]
        hint = f" Did you mean {close[0]!r}?" if close else ""
        super().__init__(
            f"Feature set {feature_set}: {taker} {' and '.join(filter(None, parts))}. It takes: "
            f"{', '.join(self.taken) or 'nothing'}.{hint} Change `parameters` or `tables`, or the definition."
        )


class ExpressionFailed(AdfmlError):
    """A definition cannot be applied to its tables: nothing was read yet."""

    def __init__(self, feature_set: str, definition: str, reason: str, tables: Mapping[str, Sequence[str]]) -> None:
        self.feature_set = feature_set
        self.definition = definition
        self.reason = reason
        self.tables = {name: tuple(columns) for name, columns in tables.items()}
        listed = "; ".join(f"{name} has {', '.join(columns)}" for name, columns in self.tables.items())
        super().__init__(f"Feature set {feature_set}: {definition} cannot be used: {reason}. Its tables: {listed}.")


class SqlInvalid(AdfmlError):
    """The SQL of a feature set does not parse, or is no single query."""

    def __init__(self, feature_set: str, line: int, reason: str) -> None:
        self.feature_set = feature_set
        self.line = line
        self.reason = reason
        super().__init__(
            f"Feature set {feature_set}: line {line} of its SQL: {reason}. Expected one SELECT of DuckDB's SQL over "
            "its tables; parameters as $name."
        )


class WrongType(AdfmlError):
    """A column is of a type that cannot be what it is declared to be."""

    def __init__(self, feature_set: str, column: str, role: str, found: str, expected: str) -> None:
        self.feature_set = feature_set
        self.column = column
        self.role = role
        self.found = found
        self.expected = expected
        super().__init__(f"Feature set {feature_set}: {column} is {found} and cannot be {role}: expected {expected}.")


class DuplicateFeatures(AdfmlError):
    """A definition gave several rows for one key and feature date, or for one event."""

    def __init__(self, feature_set: str, columns: Sequence[str], duplicates: int) -> None:
        self.feature_set = feature_set
        self.columns = tuple(columns)
        self.duplicates = duplicates
        named = f"({', '.join(columns)})" if len(columns) > 1 else columns[0]
        super().__init__(
            f"Feature set {feature_set}: {duplicates} rows repeat a {named} that another row has. Aggregate in its "
            "definition so that each has one row. (With `partition_by`, rows of one result row must all have the same "
            "value in that column.)"
        )


class KeyMissing(AdfmlError):
    """A definition gave rows without a key, or without a date."""

    def __init__(self, feature_set: str, column: str, rows: int) -> None:
        self.feature_set = feature_set
        self.column = column
        self.rows = rows
        super().__init__(
            f"Feature set {feature_set}: {rows} rows of the result have no {column}. Leave them out in its definition: "
            "nobody could find them."
        )


class WrongDate(AdfmlError):
    """A definition gave rows of a feature date that was not asked for, or of an event after the cut."""

    def __init__(self, feature_set: str, column: str, found: str, expected: str) -> None:
        self.feature_set = feature_set
        self.column = column
        self.found = found
        self.expected = expected
        super().__init__(
            f"Feature set {feature_set}: the result has {column} {found}; expected {expected}. Take it from the tables "
            "and `feature_dates` as they are given."
        )


class NotPortable(AdfmlError):
    """A definition uses what only one engine has."""

    def __init__(self, feature_set: str, what: str, instead: str) -> None:
        self.feature_set = feature_set
        self.what = what
        super().__init__(f"Feature set {feature_set}: {what} cannot run on every engine. {instead}")


class OutOfMemory(AdfmlError):
    """DuckDB has not the memory for a definition, nor for spilling it to the disk."""

    def __init__(self, feature_set: str, reason: str, partitioned: bool) -> None:
        self.feature_set = feature_set
        self.reason = reason
        first = "`partition_by: <column>` does the work in parts of constant memory; " if not partitioned else ""
        super().__init__(
            f"Feature set {feature_set}: DuckDB is out of memory ({reason}). What to do: {first}`engine: spark`, or a "
            "Databricks job, runs the same definition where there is more."
        )


class EngineFailed(AdfmlError):
    """An engine cannot be started, or stopped in the middle of the work. Nothing of the result is visible."""

    def __init__(self, feature_set: str, engine: str, reason: str, check: str) -> None:
        self.feature_set = feature_set
        self.engine = engine
        self.reason = reason
        super().__init__(f"Feature set {feature_set}: {engine} failed ({reason}). Check {check}.")
