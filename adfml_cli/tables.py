"""`adfml tables`: what a database has, as a defs.yaml that archives it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from adfml_cli.errors import CommandFailed
from adfml_cli.output import print_json

if TYPE_CHECKING:
    from adfml_assets.archive.suggestions import WatermarkCandidate
    from resources.servers.base import Snapshot, TableName, TableSchema

LARGE_BYTES = 1 << 28
"""A table above it counts as large whatever its rows: as many are read by several readers."""


@dataclass(frozen=True)
class FoundTable:
    """A table of a database, and what is suggested for it.

    Attributes:
        name: at the server.
        schema: its declaration; None: it cannot be archived.
        rows: how many it has; None: they were not counted.
        watermarks: columns it could be followed by, the best first.
        personal: columns whose names look like personal data, and what they look like.
        large: whether it is worth following by a watermark.
        without_watermark: rows in which the best of the watermarks is NULL; None: not counted.
        problem: why it cannot be archived.
    """

    name: TableName
    schema: TableSchema | None
    rows: int | None = None
    watermarks: tuple[WatermarkCandidate, ...] = ()
    personal: dict[str, str] | None = None
    large: bool = False
    without_watermark: int | None = None
    problem: str | None = None

    @property
    def watermark(self) -> WatermarkCandidate | None:
        """The one that is suggested: large tables only."""
        return self.watermarks[0] if self.large and self.watermarks else None

    def describe(self) -> dict[str, Any]:
        """As JSON."""
        columns = self.schema.columns if self.schema else ()
        return {
            "table": str(self.name),
            "rows": self.rows,
            "estimated_bytes": self.schema.estimated_bytes if self.schema else None,
            "primary_key": list(self.schema.primary_key) if self.schema else [],
            "columns": [
                {
                    "name": one.name,
                    "type": one.source_type,
                    "archived_as": str(one.arrow_type),
                    "nullable": one.nullable,
                    "note": one.note,
                }
                for one in columns
            ],
            "watermarks": list(self.watermarks),
            "suggested_watermark": self.watermark.column if self.watermark else None,
            "rows_without_watermark": self.without_watermark,
            "personal_data": self.personal or {},
            "problem": self.problem,
        }


def discover(
    database: str, include: Sequence[str], exclude: Sequence[str], *, count: bool, large_rows: int
) -> list[FoundTable]:
    """The tables of a database that the patterns choose, each as one state of it has them.

    Args:
        include, exclude: patterns over `schema.table`.
        count: whether rows are counted.
        large_rows: from how many rows on a table counts as large.

    Raises:
        CommandFailed: no table is chosen; says which there are.
        SettingMissing, SettingInvalid, Unreachable: the database's address, or the database.
    """
    from resources.database import Databases
    from resources.servers.opening import open_server
    from resources.servers.patterns import TablePatterns
    from resources.settings import database_setting

    server = open_server(Databases().engine(database), database, database_setting(database))
    names = server.list_tables()
    chosen = TablePatterns(tuple(include) or ("*",), tuple(exclude)).choose(names)
    if not chosen:
        shown = ", ".join(map(str, names[:40])) or "none that this login can see"
        raise CommandFailed(f"No table of {database} is chosen by the patterns; it has: {shown}.")
    with server.open_snapshot() as snapshot:
        return [_look_at(snapshot, name, count=count, large_rows=large_rows) for name in chosen]


def show_tables(found: Sequence[FoundTable], text: str, output: Path | None, *, as_json: bool) -> None:
    """Print the declaration, or write it to a file that is not there yet.

    Raises:
        CommandFailed: the file is there, or cannot be written.
    """
    if output is not None:
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            with output.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            raise CommandFailed(f"{output} is there already, and stays as it is: name another file.") from None
        except OSError as error:
            raise CommandFailed(f"{output} cannot be written: {error.strerror}.") from None
    if as_json:
        print_json({"tables": [one.describe() for one in found], "yaml": text, "file": str(output) if output else None})
    elif output is None:
        typer.echo(text, nl=False)
    else:
        left = sum(one.problem is not None for one in found)
        problems = f", {left} of them as comments, with why" if left else ""
        typer.echo(
            f"{output} declares {len(found) - left} tables{problems}. `dg check yaml` and `dg check defs` look at it."
        )


def _look_at(snapshot: Snapshot, name: TableName, *, count: bool, large_rows: int) -> FoundTable:
    from adfml_assets.archive.suggestions import find_personal, find_watermarks
    from resources.errors import ResourceError
    from resources.servers.base import TableQuery

    try:
        schema = snapshot.describe(name)
        columns = tuple(column.name for column in schema.columns)
        rows = snapshot.count(TableQuery(schema, columns)) if count else None
        watermarks = tuple(find_watermarks(schema))
        large = (rows or 0) >= large_rows or (schema.estimated_bytes or 0) >= LARGE_BYTES
        missing = snapshot.count_null(schema, watermarks[0].column) if large and count and watermarks else None
    except ResourceError as error:
        # One table that cannot be read is no reason not to declare the others.
        return FoundTable(name, None, problem=str(error))
    return FoundTable(name, schema, rows, watermarks, find_personal(schema), large, missing)
