"""The rows of a live table that are still to be scored, page by page in the order of their key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adfml_assets.errors import AdfmlError
from adfml_assets.scoring.update_rows import reflect_table
from resources.database import Databases
from resources.errors import NotFound

if TYPE_CHECKING:
    import sqlalchemy as sa
    from sqlalchemy import Connection


class KeysNotUnique(AdfmlError):
    """The declared key does not identify rows."""

    def __init__(self, table: str, keys: Sequence[str], reason: str) -> None:
        self.table = table
        self.keys = tuple(keys)
        self.reason = reason
        super().__init__(
            f"{table}: {', '.join(keys)} does not identify its rows: {reason}. Name the primary key in the "
            "declaration's `key`; nothing was sent."
        )


class KeyNotExact(AdfmlError):
    """A key's value changes on its way through the driver, so that reading cannot go on after it."""

    def __init__(self, table: str, keys: Sequence[str], value: Any) -> None:
        self.table = table
        self.keys = tuple(keys)
        self.value = value
        super().__init__(
            f"{table}: the rows after key ({', '.join(keys)}) = {value} begin with that key again: its type holds more "
            "than the driver gives (datetime2(7) has 100 ns). Use a key of whole numbers or text."
        )


class MarkImpossible(AdfmlError):
    """The mark of rows that cannot be scored does not fit the column."""

    def __init__(self, table: str, column: str, mark: int) -> None:
        self.table = table
        self.column = column
        self.mark = mark
        super().__init__(
            f"{table}.{column} is yes or no and cannot hold the engine's error_mark {mark}. Make it an integer column, "
            "or set `error_mark: null`: rows that cannot be scored then stay 0 and are tried again by every run."
        )


@dataclass(frozen=True)
class TextRow:
    """One row: the values of its key, its text as the database gave it, and its own language where it has one."""

    key: tuple[Any, ...]
    text: Any
    language: str | None


@dataclass(frozen=True)
class RowsToScore:
    """Which rows are read: `scored` = 0 in a table of a database.

    Attributes:
        databases, database, schema, table: where.
        keys: the columns that identify a row.
        text: the column of the text.
        scored: the column that says whether a row is scored.
        language_column: the column of the row's language, or None.
        where: a further SQL predicate in the database's own words, or None.
    """

    databases: Databases
    database: str
    schema: str | None
    table: str
    keys: tuple[str, ...]
    text: str
    scored: str
    language_column: str | None = None
    where: str | None = None

    @property
    def name(self) -> str:
        """`database.schema.table`."""
        return ".".join(part for part in (self.database, self.schema, self.table) if part)

    def describe(self, columns: Sequence[str], error_mark: int | None) -> sa.Table:
        """The table, once it is certain that reading and updating it can work.

        Args:
            columns: that are written, besides `scored`.

        Raises:
            NotFound: there is no such table or column; with those there are.
            KeysNotUnique: the key does not identify rows.
            MarkImpossible: `scored` cannot hold the mark.
            Unreachable: the database does not answer.
        """
        import sqlalchemy as sa

        with self.databases.connect(self.database) as connection:
            found = reflect_table(connection, self.database, self.schema, self.table)
            languages = [self.language_column] if self.language_column else []
            needed = [*self.keys, self.text, self.scored, *languages, *columns]
            for name in needed:
                if name not in found.columns:
                    raise NotFound("column", name, f"table {self.name}", found.columns.keys())
            if error_mark is not None and isinstance(found.c[self.scored].type, sa.Boolean):
                raise MarkImpossible(self.name, self.scored, error_mark)
            if not self._is_unique_by_declaration(connection):
                self._require_unique(connection, found)
        return found

    def _is_unique_by_declaration(self, connection: Connection) -> bool:
        import sqlalchemy as sa

        inspector = sa.inspect(connection)
        primary = inspector.get_pk_constraint(self.table, schema=self.schema).get("constrained_columns") or []
        # Only a primary key: the columns of a unique index may be NULL, many times.
        return bool(primary) and set(primary) <= set(self.keys)

    def _require_unique(self, connection: Connection, found: sa.Table) -> None:
        import sqlalchemy as sa

        columns = [found.c[key] for key in self.keys]
        unknown = sa.select(sa.func.count()).select_from(found).where(sa.or_(*(column.is_(None) for column in columns)))
        if missing := connection.execute(unknown.where(self._unscored(found))).scalar():
            raise KeysNotUnique(self.name, self.keys, f"{missing} rows to be scored have NULL in it")
        doubled = sa.select(*columns).group_by(*columns).having(sa.func.count() > 1).limit(1)
        if example := connection.execute(doubled).first():
            raise KeysNotUnique(self.name, self.keys, f"several rows have {tuple(example)}")

    def read_pages(self, found: sa.Table, page_rows: int) -> Iterator[list[TextRow]]:
        """Pages of at most `page_rows` rows, each read by its own short transaction when it is asked for.

        Every page begins after the last one's key (WHERE key > last ORDER BY key): no OFFSET, so that rows which are
        marked meanwhile move nothing, and a row that stays 0 is met once a run.

        Raises:
            KeyNotExact: the key cannot be compared with what was read of it.
        """
        import sqlalchemy as sa

        keys = [found.c[key] for key in self.keys]
        language = [found.c[self.language_column]] if self.language_column else []
        query = sa.select(*keys, found.c[self.text], *language).where(self._unscored(found)).order_by(*keys)
        last: tuple[Any, ...] | None = None
        while True:
            page = query.limit(page_rows)
            if last is not None:
                page = page.where(_is_after(keys, last))
            with self.databases.connect(self.database) as connection:
                rows = [self._build_row(tuple(row)) for row in connection.execute(page)]
            if not rows:
                return
            if rows[0].key == last:
                raise KeyNotExact(self.name, self.keys, last)
            last = rows[-1].key
            yield rows
            if len(rows) < page_rows:
                return

    def count_unscored(self, found: sa.Table) -> int:
        """Rows that are still to be scored."""
        import sqlalchemy as sa

        query = sa.select(sa.func.count()).select_from(found).where(self._unscored(found))
        with self.databases.connect(self.database) as connection:
            return int(connection.execute(query).scalar() or 0)

    def _unscored(self, found: sa.Table) -> sa.ColumnElement[bool]:
        import sqlalchemy as sa

        column = found.c[self.scored]
        unscored = column == sa.literal(False if isinstance(column.type, sa.Boolean) else 0, column.type)
        # A colon in the predicate is the user's own, not a parameter's; a comment at its end ends with its line.
        return sa.and_(unscored, sa.text(f"(\n{self.where}\n)".replace(":", r"\:"))) if self.where else unscored

    def _build_row(self, values: tuple[Any, ...]) -> TextRow:
        count = len(self.keys)
        language = values[count + 1] if self.language_column else None
        return TextRow(values[:count], values[count], str(language).strip() or None if language is not None else None)


def _is_after(keys: Sequence[sa.ColumnElement[Any]], last: Sequence[Any]) -> sa.ColumnElement[bool]:
    """Whether a composite key comes after another: (a > x) OR (a = x AND b > y) ..., which every server can use an
    index for."""
    import sqlalchemy as sa

    values = [sa.literal(value, key.type) for key, value in zip(keys, last, strict=True)]
    return sa.or_(
        *(
            sa.and_(*(keys[before] == values[before] for before in range(index)), keys[index] > values[index])
            for index in range(len(keys))
        )
    )
