"""Which tables of which database the declarations read and write, and by which sign-in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from adfml_cli.doctor.declared import Declared
from resources.secret_values import DatabaseSecrets

Access = Literal["read", "update", "write"]
"""update: columns of rows that are there. write: rows are added and changed, and the table is made where missing."""


@dataclass(frozen=True)
class TableUse:
    """A table that is used.

    Attributes:
        schema: None: the login's own.
        by: whose declaration says so.
    """

    schema: str | None
    table: str
    access: Access
    by: str

    def __str__(self) -> str:
        """`schema.table`."""
        return f"{self.schema}.{self.table}" if self.schema else self.table


@dataclass(frozen=True)
class DatabaseUse:
    """A database as one sign-in uses it."""

    database: str
    secrets: DatabaseSecrets
    tables: tuple[TableUse, ...]


def list_database_uses(declared: Declared) -> list[DatabaseUse]:
    """Every database that is declared, once for each sign-in, with its tables."""
    found: dict[tuple[str, DatabaseSecrets], dict[TableUse, None]] = {}
    for database, secrets, use in _list_uses(declared):
        tables = found.setdefault((database, secrets), {})
        if use is not None:
            tables[use] = None
    return [DatabaseUse(database, secrets, tuple(tables)) for (database, secrets), tables in found.items()]


def _list_uses(declared: Declared) -> Iterator[tuple[str, DatabaseSecrets, TableUse | None]]:
    yield from _list_archived(declared)
    for database, schema, table, access, by in _list_others(declared):
        yield database, DatabaseSecrets(), TableUse(schema or None, table, access, by)


def _list_archived(declared: Declared) -> Iterator[tuple[str, DatabaseSecrets, TableUse | None]]:
    from adfml_assets.asset_keys import parse_table
    from adfml_assets.components.archived_database import ArchivedDatabase

    for what, one in declared.of(ArchivedDatabase):
        secrets = DatabaseSecrets(one.url_secret, one.password_secret)
        for database in one.databases or [str(one.database)]:
            yield database, secrets, None
            for table in one.tables:
                yield database, secrets, TableUse(*parse_table(table.table), "read", what)
            if one.watermarks_in == "source":
                yield database, secrets, TableUse(None, "ArchiveWatermark", "update", what)


def _list_others(declared: Declared) -> Iterator[tuple[str, str, str, Access, str]]:
    from adfml_assets.archived_partitions import parse_reference
    from adfml_assets.components import DetectedAnomalies, ScoredModel, ScoredText, TrainedModel
    from adfml_assets.components.language_engine import LanguageEngine

    for what, trained in declared.of(TrainedModel):
        if trained.from_query is not None:
            yield *parse_reference(trained.from_query.table), "read", what
    for what, scored in declared.of(ScoredModel):
        if scored.from_query is not None:
            access: Access = "update" if scored.from_query.scored_date else "read"
            yield *parse_reference(scored.from_query.table), access, what
        yield *parse_reference(scored.write_back.table), "write", what
    for what, text in declared.of(ScoredText):
        if isinstance(text.engine, LanguageEngine):
            yield *parse_reference(text.source), "update", what
        elif text.write_back is not None:
            yield *parse_reference(text.write_back.table), "update", what
    for what, anomalies in declared.of(DetectedAnomalies):
        if anomalies.read_from == "database":
            yield *parse_reference(anomalies.source), "read", what
        if anomalies.write_back is not None:
            yield *parse_reference(anomalies.write_back.table), "write", what
