"""The table whose rows are scored where they are: whether it has what a model takes, by name and type."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adfml_assets.in_database.scoring_errors import ColumnsDiffer
from adfml_assets.scoring.errors import ScoredDateInvalid
from adfml_assets.scoring.model_features import ModelFeatures
from adfml_assets.scoring.source_rows import SourceSpec
from adfml_assets.training.feature_lists import describe_difference
from resources.database import Databases
from resources.errors import NotFound
from resources.servers.base import Column, TableName
from resources.servers.opening import open_server
from resources.servers.sqlite_types import UNDECLARED
from resources.settings import database_setting

if TYPE_CHECKING:
    import pyarrow as pa


# Without a precision, or of more digits than Arrow has, they are archived as text; to the database they are numbers.
_NUMBERS = re.compile(r"(NUMERIC|DECIMAL|DEC|NUMBER|U?HUGEINT)\s*(\(.*\))?", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class SourceTable:
    """A table as its server declares it.

    Attributes:
        spec: which rows of which table.
        columns: all of them, in order.
        primary_key: its columns, in order; empty where there is none.
    """

    spec: SourceSpec
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()

    @property
    def key_type(self) -> pa.DataType:
        """The Arrow type of the key."""
        return self._column(self.spec.key).arrow_type

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that may be features: all but the key and the date that is set."""
        taken = {self.spec.key, self.spec.scored_date}
        return tuple(column.name for column in self.columns if column.name not in taken)

    def list_booleans(self, features: Sequence[str]) -> list[str]:
        """Those of some columns that are boolean."""
        import pyarrow as pa

        return [name for name in features if pa.types.is_boolean(self._column(name).arrow_type)]

    def _column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)


def read_source(databases: Databases, spec: SourceSpec) -> SourceTable:
    """Ask the server what the table's columns are.

    Raises:
        NotFound: the table, its key or `scored_date` does not exist; with those that do.
        ScoredDateInvalid: `scored_date` cannot hold a date.
        Unreachable, NotPermitted, UnsupportedColumn: see `Snapshot.describe`.
    """
    import pyarrow as pa

    server = open_server(databases.engine(spec.database), spec.database, database_setting(spec.database))
    with server.open_snapshot() as snapshot:
        described = snapshot.describe(TableName(spec.schema, spec.table))
    names = [column.name for column in described.columns]
    for name in (spec.key, spec.scored_date):
        if name is not None and name not in names:
            raise NotFound("column", name, spec.full_name, names)
    dated = described.column(spec.scored_date) if spec.scored_date is not None else None
    if dated is not None and not (pa.types.is_date(dated.arrow_type) or pa.types.is_timestamp(dated.arrow_type)):
        raise ScoredDateInvalid(spec.full_name, dated.name, dated.source_type)
    return SourceTable(spec, described.columns, described.primary_key)


def check_columns(
    table: SourceTable, takes: ModelFeatures, numbers: Collection[str], texts: Collection[str] = ()
) -> None:
    """Make sure that a table has what a model takes.

    Args:
        numbers: the features that are read as numbers; booleans are such, too.
        texts: those that are read as texts.

    Raises:
        ColumnsDiffer: it has not; with both lists side by side.
    """
    found = {column.name: column for column in table.columns}
    missing = [name for name in takes.names if name not in table.names]
    if missing:
        reason = f"missing are {', '.join(missing)}.\n{describe_difference(takes.names, table.names)}"
        _differ(table, takes, reason)
    read = [name for name in takes.names if name in numbers or name in texts]
    wrong = [name for name in read if not _is_of_kind(found[name], is_text=name in texts)]
    if wrong:
        wanted = [f"{name}: {'a text' if name in texts else 'a number'}" for name in wrong]
        given = [f"{name}: {found[name].source_type}" for name in wrong]
        reason = f"these columns are of another type: {', '.join(wrong)}.\n{describe_difference(wanted, given)}"
        _differ(table, takes, reason)


def _differ(table: SourceTable, takes: ModelFeatures, reason: str) -> None:
    raise ColumnsDiffer(takes.model, takes.version, table.spec.full_name, takes.names, table.names, reason)


def _is_of_kind(column: Column, *, is_text: bool) -> bool:
    import pyarrow as pa

    # A column of a SQLite view is declared by nobody: what it holds is seen row by row.
    if column.source_type == UNDECLARED:
        return True
    if _NUMBERS.fullmatch(column.source_type):
        return not is_text
    kinds = pa.types
    tests = (
        (kinds.is_string, kinds.is_large_string)
        if is_text
        else (kinds.is_integer, kinds.is_floating, kinds.is_decimal, kinds.is_boolean)
    )
    return any(test(column.arrow_type) for test in tests)
