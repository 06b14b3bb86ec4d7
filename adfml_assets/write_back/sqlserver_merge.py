"""SQL Server's MERGE, which SQLAlchemy has no words for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlalchemy as sa
    from sqlalchemy import Connection

    from adfml_assets.write_back.upsert import Upsert


def build_merge(upsert: Upsert, dialect: sa.Dialect) -> tuple[str, tuple[Any, ...] | dict[str, Any]]:
    """The batch that merges staged rows and returns how many were inserted and updated, and its parameters.

    HOLDLOCK keeps two of them from inserting one key each. Rows are compared by EXCEPT: it takes NULLs for equal, and
    every version of the server has it.
    """
    import sqlalchemy as sa

    quote = dialect.identifier_preparer.quote
    into = dialect.identifier_preparer.format_table(upsert.target)
    values = [_cast(value, upsert.target.c[name]).label(name) for name, value in upsert.values.items()]
    source = sa.select(*values).select_from(upsert.staging).compile(dialect=dialect)

    def pair(name: str, between: str = " = ") -> str:
        return f"t.{quote(name)}{between}s.{quote(name)}"

    names = ", ".join(quote(name) for name in upsert.values)
    lines = [
        "SET NOCOUNT ON;",
        "DECLARE @done TABLE (done NVARCHAR(10) NOT NULL);",
        f"MERGE INTO {into} WITH (HOLDLOCK) AS t",
        f"USING ({source}) AS s",
        f"ON {' AND '.join(map(pair, upsert.keys))}",
    ]
    if upsert.others:
        new, there = (", ".join(f"{alias}.{quote(name)}" for name in upsert.others) for alias in "st")
        condition = f"EXISTS (SELECT {new} EXCEPT SELECT {there})"
        if upsert.guard is not None:
            guard = quote(upsert.guard)
            condition = f"(t.{guard} IS NULL OR t.{guard} <= s.{guard}) AND {condition}"
        lines += [
            f"WHEN MATCHED AND {condition}",
            f"THEN UPDATE SET {', '.join(map(pair, upsert.others))}",
        ]
    given = ", ".join(f"s.{quote(name)}" for name in upsert.values)
    lines += [
        f"WHEN NOT MATCHED BY TARGET THEN INSERT ({names}) VALUES ({given})",  # noqa: S608 - quoted
        "OUTPUT $action INTO @done;",
        "SELECT COUNT(CASE WHEN done = 'INSERT' THEN 1 END), COUNT(CASE WHEN done = 'UPDATE' THEN 1 END) FROM @done;",
        # The connection's later statements have to say how many rows they changed.
        "SET NOCOUNT OFF;",
    ]
    bound = source.params
    order = getattr(source, "positiontup", None)
    return "\n".join(lines), tuple(bound[name] for name in order) if order is not None else bound


def _cast(value: sa.ColumnElement[Any], column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """A value that all rows have gets the column's type: compared with another one, an index would be of no use."""
    import sqlalchemy as sa

    return value if isinstance(value, (sa.Column, sa.Cast)) else sa.cast(value, column.type)


def merge(connection: Connection, upsert: Upsert) -> tuple[int, int]:
    """Merge staged rows. Returns how many were inserted and updated."""
    statement, parameters = build_merge(upsert, connection.dialect)
    inserted, updated = connection.exec_driver_sql(statement, parameters or None).one()
    return int(inserted), int(updated)
