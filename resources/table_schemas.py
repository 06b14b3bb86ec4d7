"""The columns each archived table had when it was copied last, to tell what changed since."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resources.control import run_transaction, utc_now
from resources.control_tables import table_schemas as table

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine


@dataclass(frozen=True)
class SchemaChange:
    """How a table's columns differ from those it had before.

    Attributes:
        added: name -> type.
        removed: name -> the type it had.
        retyped: name -> (type before, type now).
    """

    added: Mapping[str, str]
    removed: Mapping[str, str]
    retyped: Mapping[str, tuple[str, str]]

    @property
    def breaks(self) -> bool:
        """Whether readers of the old columns would fail or read something else."""
        return bool(self.removed or self.retyped)

    def __bool__(self) -> bool:
        """Whether anything changed."""
        return bool(self.added or self.breaks)

    def describe(self) -> str:
        """The difference, one line a column; empty where there is none."""
        lines = [f"+ {name} {kind}" for name, kind in self.added.items()]
        lines += [f"- {name} {kind}" for name, kind in self.removed.items()]
        lines += [f"~ {name} {before} -> {after}" for name, (before, after) in self.retyped.items()]
        return "\n".join(lines)


def compare_columns(before: Mapping[str, str], after: Mapping[str, str]) -> SchemaChange:
    """The difference of two schemas, each as name -> type. The order of columns does not count."""
    return SchemaChange(
        added={name: kind for name, kind in after.items() if name not in before},
        removed={name: kind for name, kind in before.items() if name not in after},
        retyped={name: (before[name], kind) for name, kind in after.items() if before.get(name, kind) != kind},
    )


class TableSchemas:
    """The last schema of every archived table, one row an asset."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def remember(self, asset: str, columns: Mapping[str, str]) -> SchemaChange | None:
        """Keep a table's columns (name -> type), and say how they differ from those kept before; None: the first."""
        import sqlalchemy as sa

        query = sa.select(table.c.columns).where(table.c.asset == asset)
        text = json.dumps(dict(columns))

        def remember(connection: Connection) -> SchemaChange | None:
            found = connection.execute(query).scalar()
            if found is None:
                connection.execute(table.insert().values(asset=asset, columns=text, changed_at=utc_now()))
                return None
            if found != text:
                connection.execute(
                    table.update().where(table.c.asset == asset).values(columns=text, changed_at=utc_now())
                )
            return compare_columns(json.loads(found), columns)

        return run_transaction(self._engine, remember)
