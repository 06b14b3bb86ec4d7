"""The type tables of the documentation, from the tables the readers themselves use.

`python -m resources.servers.type_tables > docs/types.md` writes them; a test holds the file to it.
"""

from __future__ import annotations

from collections.abc import Iterable

_HEAD = """# What becomes of every SQL type

Types come from the declaration alone, never from the rows: a column has the same type in every partition. *Exact* means
that the Parquet value is the same value; otherwise the note says in which form it is there, and nothing of it is lost.
What a note calls refused fails the table with an error that names the column: no Parquet type could hold it, and
leaving it out silently would be worse. Leave the column out, or archive a view that casts it to text.

Times of day are archived as text (`12:34:56.123456`) unless the declaration says `times: time`: Spark refuses a whole
file in which one column is a Parquet `time`. Columns with `hash` become strings of 64 hexadecimal digits.
"""

_SQLITE = """
SQLite keeps any value in any column. The declared type decides, by SQLite's own rules of affinity; a value that is not
of it (text in an INTEGER column, a date that is none, a REAL with more digits than its DECIMAL(p,s)) fails the table
(`mismatches: fail`), or is kept as text in the column `_mismatched`, a JSON object of column and text, and counted in
the manifest (`mismatches: keep`).
"""

_SQLSERVER = """
Columns named `x_100ns`, `x_offset` and `x_type` stand beside column `x`: together they are the whole value. These types
are tested by the statements they give, not yet against a server.
"""


def build_document() -> str:
    """The whole of docs/types.md."""
    from resources.servers import duckdb_types, postgresql_types, sqlite_types, sqlserver_types

    parts = [
        _HEAD,
        _build_section("SQLite", _SQLITE, sqlite_types.list_types()),
        _build_section("PostgreSQL", "", postgresql_types.list_types()),
        _build_section("DuckDB", "", duckdb_types.list_types()),
        _build_section("SQL Server and Azure SQL", _SQLSERVER, sqlserver_types.list_types()),
    ]
    return "\n".join(parts)


def _build_section(title: str, text: str, rows: Iterable[tuple[str, str, str | None]]) -> str:
    lines = [f"## {title}", text, "| declared | Arrow and Parquet | |", "|---|---|---|"]
    lines += [f"| `{source}` | `{arrow}` | {note or 'exact'} |" for source, arrow, note in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(build_document(), end="")
