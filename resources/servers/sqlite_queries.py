"""The SQL that SQLite is asked: names quoted, values bound."""

from __future__ import annotations

from resources.servers.base import TableName, TableQuery, TableSchema

ROW_IDS = ("rowid", "_rowid_", "oid")
"""The names a row id has, as long as no column has them."""


def quote(name: str) -> str:
    """A name as SQL has it."""
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def quote_table(name: TableName) -> str:
    """A table with its schema, as SQL has it."""
    return f"{quote(name.schema)}.{quote(name.table)}"


def quote_column(name: TableName, column: str) -> str:
    """A column with its table, as SQL has it: alone, SQLite would take a column that is not there for a text."""
    return f"{quote(name.table)}.{quote(column)}"


def select_rows(query: TableQuery, row_id: str | None) -> tuple[str, list[int | str]]:
    """The statement of a query's rows and its parameters; the row id is the last column where there is one."""
    name = query.table.name
    columns = [quote_column(name, column) for column in query.columns]
    if row_id is not None:
        columns.append(f"{quote(name.table)}.{row_id}")
    condition, parameters = build_condition(query, row_id)
    return f"SELECT {', '.join(columns)} FROM {quote_table(name)}{condition}", parameters  # noqa: S608 - quoted


def count_rows(query: TableQuery, row_id: str | None) -> tuple[str, list[int | str]]:
    """The statement that counts a query's rows, and its parameters."""
    condition, parameters = build_condition(query, row_id)
    return f"SELECT count(*) FROM {quote_table(query.table.name)}{condition}", parameters  # noqa: S608 - quoted


def filter_rows(table: TableSchema, where: str | None, *conditions: str) -> str:
    """A WHERE clause of the declared condition and others; '' where there is none."""
    # On lines of its own: a comment at the end of the condition ends with it.
    every = [f"(\n{where}\n)"] if where else []
    every += conditions
    return f" WHERE {' AND '.join(every)}" if every else ""


def build_condition(query: TableQuery, row_id: str | None) -> tuple[str, list[int | str]]:
    """The WHERE clause of a query and its parameters."""
    conditions: list[str] = []
    parameters: list[int | str] = []
    if query.watermark is not None and query.upper is None:
        conditions.append("0")
    elif query.watermark is not None and query.upper is not None:
        integer = query.watermark.kind == "integer"
        column = compared_column(query.table.name, query.watermark.column, integer)
        for operator, bound in ((">", query.lower), ("<=", query.upper)):
            if bound is not None:
                conditions.append(f"{column} {operator} ?")
                parameters.append(int(bound) if integer else bound)
    if query.part is not None:
        conditions.append(f"{quote(query.table.name.table)}.{row_id} BETWEEN ? AND ?")
        parameters += [query.part.lower, query.part.upper]
    return filter_rows(query.table, query.where, *conditions), parameters


def compared_column(name: TableName, column: str, integer: bool) -> str:
    """A watermark as it is compared: texts byte by byte, whatever the column's collation."""
    quoted = quote_column(name, column)
    return quoted if integer else f"{quoted} COLLATE BINARY"
