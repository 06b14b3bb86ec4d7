"""The declared databases: reached, signed in to, and each declared table there and usable as it is declared."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from adfml_cli.doctor.findings import Finding, Notes, join_names
from adfml_cli.doctor.identity import judge_skew
from adfml_cli.doctor.privileges import FILES, Login, find_missing, may_create, quote_table, read_clock, read_login
from adfml_cli.doctor.running import Probe, Step
from adfml_cli.doctor.table_uses import DatabaseUse, TableUse, list_database_uses

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from adfml_cli.doctor.declared import Declared

CHECK = "databases"
_NOTES = Notes(CHECK)
_CONNECT_SECONDS = 8
_PRIVILEGES = {"read": ("SELECT",), "update": ("SELECT", "UPDATE"), "write": ("SELECT", "INSERT", "UPDATE", "DELETE")}


def build_probes(declared: Declared) -> Iterator[Probe]:
    """A probe for each database."""
    uses = list_database_uses(declared)
    for use in uses:
        yield Probe(CHECK, use.database, lambda step, use=use: check_database(use, step))  # type: ignore[misc]
    if not uses:
        yield Probe(CHECK, "databases", lambda _: iter([_NOTES.unused("databases", "No database is declared.")]))


def check_database(use: DatabaseUse, step: Step) -> Iterator[Finding]:
    """One database: who is signed in, and what becomes of each table."""
    from resources.database import Databases, describe_address, open_connection
    from resources.settings import database_setting

    setting = database_setting(use.database)
    step(f"reading {setting.name}")
    engine = Databases(connect_timeout_seconds=_CONNECT_SECONDS).engine(use.database, use.secrets)
    step(f"connecting to {describe_address(engine)}")
    with open_connection(engine, use.database, setting) as connection:
        login = read_login(connection)
        yield _NOTES.ok(use.database, f"{login.server} at {describe_address(engine)}, signed in as {login.name}.")
        if (clock := read_clock(connection)) is not None:
            skew = judge_skew(_NOTES, f"clock of {use.database}", time.time() - clock.timestamp())
            yield from [skew] if skew.status != "ok" else []
        known = _Known(connection)
        usable: dict[str, list[str]] = {}
        for table in use.tables:
            step(f"looking at table {table} of {use.database}")
            finding = check_table(connection, known, use.database, table, login)
            connection.rollback()
            if finding is None:
                usable.setdefault(table.access, []).append(str(table))
            else:
                yield finding
    for access, names in usable.items():
        done = {"read": "read", "update": "read and updated", "write": "read and written"}[access]
        yield _NOTES.ok(use.database, f"Can be {done}: {join_names(names)}.")


class _Known:
    """The tables and views of a database, asked for once a schema."""

    def __init__(self, connection: Connection) -> None:
        import sqlalchemy as sa

        self._inspector = sa.inspect(connection)
        self._names: dict[str | None, Sequence[str]] = {}
        self._schemas: Sequence[str] | None = None

    def list_schemas(self) -> Sequence[str]:
        """All there are."""
        if self._schemas is None:
            self._schemas = self._inspector.get_schema_names()
        return self._schemas

    def has_schema(self, schema: str | None) -> bool:
        """Whether there is one of that name; None: the login's own."""
        return schema is None or schema.casefold() in {name.casefold() for name in self.list_schemas()}

    def list_names(self, schema: str | None) -> Sequence[str]:
        """Of a schema; empty where there is none of that name."""
        if schema not in self._names:
            if not self.has_schema(schema):
                self._names[schema] = ()
            else:
                inspector = self._inspector
                self._names[schema] = [*inspector.get_table_names(schema), *inspector.get_view_names(schema)]
        return self._names[schema]

    def has(self, schema: str | None, table: str) -> bool:
        """Whether there is a table or view of that name, as the server compares names."""
        names = self.list_names(schema)
        return table in names or (bool(names) and self._inspector.has_table(table, schema=schema))


def check_table(connection: Connection, known: _Known, database: str, use: TableUse, login: Login) -> Finding | None:
    """What is wrong with a table; None: nothing is."""
    from resources.errors import NotFound

    subject = f"{database}.{use}"
    if not known.has(use.schema, use.table):
        if use.schema is not None and not known.has_schema(use.schema):
            missing = NotFound("schema", use.schema, f"database '{database}'", known.list_schemas())
            return _NOTES.failed(subject, str(missing), f"Correct the name in the {use.by}, or make the schema.")
        if use.access == "write":
            return _check_creatable(connection, subject, use)
        where = f"database '{database}'" + (f", schema '{use.schema}'" if use.schema else "")
        missing = NotFound("table", use.table, where, known.list_names(use.schema))
        return _NOTES.failed(
            subject, str(missing), f"Correct the name in the {use.by}, or let the table be made ({database})."
        )
    if lacking := find_missing(connection, use.schema, use.table, _PRIVILEGES[use.access]):
        table, name = (quote_table(connection, *parts) for parts in ((use.schema, use.table), (None, login.name)))
        advice = (
            "Give the process the right to write the file and its folder."
            if connection.dialect.name in FILES
            else f"Let an administrator run: GRANT {', '.join(lacking)} ON {table} TO {name};"
        )
        what = f"{login.name} lacks {', '.join(lacking)} on it; the declaration ({use.by}) needs that."
        return _NOTES.failed(subject, what, advice)
    return _try_reading(connection, subject, use)


def _try_reading(connection: Connection, subject: str, use: TableUse) -> Finding | None:
    """Read no row: a view whose tables are gone, or a schema that may not be used, shows here."""
    import sqlalchemy as sa

    table = quote_table(connection, use.schema, use.table)
    try:
        connection.execute(sa.text(f"SELECT 1 FROM {table} WHERE 1 = 0"))  # noqa: S608 - quoted
    except sa.exc.DBAPIError as error:
        return _NOTES.failed(subject, f"Cannot be read: {error.orig}", f"Grant SELECT on {table} and its schema.")
    return None


def _check_creatable(connection: Connection, subject: str, use: TableUse) -> Finding:
    if may_create(connection, use.schema):
        return _NOTES.ok(subject, "Is not there yet; it is made when something is first written, and may be made.")
    schema = use.schema or "its own schema"
    return _NOTES.failed(
        subject,
        f"Is not there, and this login may make no table in {schema}.",
        f"Let an administrator make the table for the {use.by}, or grant CREATE on {schema}.",
    )
