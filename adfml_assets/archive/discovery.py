"""Which tables of a database the patterns of a declaration choose, kept between loads of the code location."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from resources.errors import Corrupt
from resources.servers.base import TableName


@dataclass(frozen=True)
class DiscoveredTables:
    """The tables that were found, by database.

    Attributes:
        tables: database -> its tables, sorted.
        listed_at: when they were listed, UTC; None: never.
    """

    tables: Mapping[str, tuple[TableName, ...]] = field(default_factory=dict)
    listed_at: datetime | None = None

    def of(self, database: str) -> tuple[TableName, ...]:
        """The tables of a database; empty where it was never listed."""
        return self.tables.get(database, ())

    def keep_missing(self, before: DiscoveredTables) -> DiscoveredTables:
        """With the tables found before that are gone now: their snapshots are still assets."""
        databases = {*self.tables, *before.tables}
        merged = {name: tuple(sorted({*self.of(name), *before.of(name)})) for name in databases}
        return DiscoveredTables(merged, self.listed_at)


def find_undeclared(found: Iterable[TableName], known: Iterable[TableName]) -> list[TableName]:
    """The tables that are at the server and not known here, sorted."""
    return sorted(set(found) - set(known))


def write_tables(path: Path, discovered: DiscoveredTables) -> None:
    """Keep what was found as JSON."""
    databases = {
        database: [{"schema": t.schema, "table": t.table} for t in tables]
        for database, tables in sorted(discovered.tables.items())
    }
    listed_at = None if discovered.listed_at is None else discovered.listed_at.isoformat()
    path.write_text(json.dumps({"listed_at": listed_at, "databases": databases}, indent=2))


def read_tables(path: Path | None) -> DiscoveredTables:
    """What was found last; nothing where there is no such file.

    Raises:
        Corrupt: the file is not what `write_tables` writes.
    """
    if path is None or not path.exists():
        return DiscoveredTables()
    try:
        state = json.loads(path.read_text())
        tables = {
            database: tuple(TableName(entry["schema"], entry["table"]) for entry in entries)
            for database, entries in state["databases"].items()
        }
        listed_at = state["listed_at"] and datetime.fromisoformat(state["listed_at"])
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt(str(path), "a list of discovered tables", repr(error)) from None
    return DiscoveredTables(tables, listed_at)
