"""What is archived of a table, and how."""

from __future__ import annotations

from dataclasses import dataclass

from resources.servers.base import TableName, TableSchema, Watermark


@dataclass(frozen=True)
class SourceTable:
    """A table of a source database, by its names there."""

    database: str
    schema: str
    table: str

    @property
    def full_name(self) -> str:
        """database.schema.table, as messages name it."""
        return f"{self.database}.{self.schema}.{self.table}"

    @property
    def name(self) -> TableName:
        """Its name at the server."""
        return TableName(self.schema, self.table)


@dataclass(frozen=True)
class TableRules:
    """What a declaration says of a table.

    Attributes:
        watermark: what its rows are followed by; None: it is archived whole only.
        leave_out: columns that are not archived.
        hash: columns whose values are replaced by a keyed hash (see `personal_data`).
        personal: columns of personal data that are archived as they are; like hashed ones they are shown nowhere.
        where: a SQL condition in the server's own words; rows for which it does not hold are not archived.
    """

    watermark: Watermark | None = None
    leave_out: tuple[str, ...] = ()
    hash: tuple[str, ...] = ()
    personal: tuple[str, ...] = ()
    where: str | None = None

    def choose_columns(self, source: SourceTable, schema: TableSchema) -> tuple[str, ...]:
        """The names of the columns to read, in the table's order.

        Raises:
            NotFound: a column that the rules name does not exist: a mistyped name would archive what it should not.
        """
        from resources.errors import NotFound

        names = [column.name for column in schema.columns]
        for wanted in (*self.leave_out, *self.hash, *self.personal):
            if wanted not in names:
                raise NotFound("column", wanted, source.full_name, names)
        return tuple(name for name in names if name not in self.leave_out)
