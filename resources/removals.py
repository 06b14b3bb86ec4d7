"""What retention removes: an intent a partition, written before the first file is deleted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from resources.control import run_transaction, utc_now
from resources.control_tables import removals as table

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine


@dataclass(frozen=True)
class Removal:
    """A partition that is being removed, or was.

    Attributes:
        id: grows with every removal.
        asset, partition: its keys.
        folder: in the lake.
        reason: the rule, in words.
        manifest: the manifest's text as it was.
        intended_at: when it was decided; files written later belong to nobody's removal.
        removed_at: when no file of it was left.
        reported_at: when Dagster was told.
    """

    id: int
    asset: str
    partition: str
    folder: str
    reason: str
    manifest: str
    intended_at: datetime
    removed_at: datetime | None = None
    reported_at: datetime | None = None


class Removals:
    """The removals of a deployment."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def intend(self, asset: str, partition: str, folder: str, reason: str, manifest: str) -> Removal:
        """Note that a partition is to be removed; one that is noted and not ended is returned as it is."""
        import sqlalchemy as sa

        def intend(connection: Connection) -> Removal:
            same = (table.c.asset == asset) & (table.c.partition == partition) & _unended()
            found = _list(connection, same)
            if found:
                return found[0]
            values = {"folder": folder, "reason": reason, "manifest": manifest, "intended_at": utc_now()}
            connection.execute(table.insert().values(asset=asset, partition=partition, **values))
            newest = sa.select(sa.func.max(table.c.id)).where(same).scalar_subquery()
            return _list(connection, table.c.id == newest)[0]

        return run_transaction(self._engine, intend)

    def list_unended(self) -> list[Removal]:
        """What is not removed yet, or not told to Dagster yet, in the order it was decided."""
        with self._engine.connect() as connection:
            return _list(connection, _unended())

    def find_last(self, asset: str, partition: str) -> Removal | None:
        """The last removal of a partition that was carried out."""
        same = (table.c.asset == asset) & (table.c.partition == partition) & table.c.removed_at.is_not(None)
        with self._engine.connect() as connection:
            return next(iter(reversed(_list(connection, same))), None)

    def mark_removed(self, removal: Removal) -> None:
        """No file of it is left."""
        self._mark(removal, "removed_at")

    def mark_reported(self, removal: Removal) -> None:
        """Dagster was told."""
        self._mark(removal, "reported_at")

    def withdraw(self, removal: Removal) -> None:
        """The partition was made again: what is there now stays."""
        self._mark(removal, "withdrawn_at")

    def _mark(self, removal: Removal, column: str) -> None:
        change = table.update().where(table.c.id == removal.id).values({column: utc_now()})
        run_transaction(self._engine, lambda connection: connection.execute(change))


def _unended() -> object:
    return table.c.reported_at.is_(None) & table.c.withdrawn_at.is_(None)


def _list(connection: Connection, condition: object) -> list[Removal]:
    columns = [table.c[name] for name in Removal.__dataclass_fields__]
    query = table.select().with_only_columns(*columns).where(condition).order_by(table.c.id)  # type: ignore[arg-type]
    return [Removal(**row) for row in connection.execute(query).mappings()]
