"""The largest watermark of a table in SQLite, where its values have an order to follow rows by."""

from __future__ import annotations

import re
from typing import Any, Protocol

from resources.errors import NotFound, UnexpectedValue
from resources.servers.base import TableSchema, Watermark
from resources.servers.sqlite_queries import compared_column, filter_rows, quote_table
from resources.servers.sqlite_types import Conversion, Kind
from resources.servers.sqlite_values import Mismatched, Text, convert, describe_value

_DAY = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]"
_CLOCK = "[0-9][0-9]:[0-9][0-9]*"
_ZONE = re.compile(r"([+-])(\d\d):?(\d\d)?")


class Fetching(Protocol):
    """What runs a small query: a connection."""

    def fetch(self, sql: str, parameters: list[int | str | None]) -> list[tuple[Any, ...]]:
        """Its rows."""
        ...


def find_largest(connection: Fetching, table: TableSchema, watermark: Watermark, where: str | None) -> str | None:
    """The largest watermark that an interval may end with now, as the text that is stored; None: there is none.

    Raises:
        NotFound: no such column, or no such kind of watermark in SQLite.
        UnexpectedValue: the column's values have no common form, so that their order is not that of time.
    """
    if table.column(watermark.column) is None:
        raise NotFound("column", watermark.column, str(table.name), [column.name for column in table.columns])
    match watermark.kind:
        case "integer":
            return _find_integer(connection, table, watermark.column, where)
        case "datetime":
            return _find_datetime(connection, table, watermark, where)
        case "rowversion":
            raise NotFound("kind of watermark", "rowversion", "SQLite", ["datetime", "integer"])


def _find_integer(connection: Fetching, table: TableSchema, name: str, where: str | None) -> str | None:
    column = compared_column(table.name, name, True)
    sql = f"SELECT max({column}), sum(typeof({column}) NOT IN ('integer', 'null')) FROM {quote_table(table.name)}"  # noqa: S608
    largest, others = connection.fetch(sql + filter_rows(table, where), [])[0]
    if others:
        raise _refuse(table, name, "integers, as an integer watermark needs", f"{others} values are none")
    return None if largest is None else str(largest)


def _find_datetime(connection: Fetching, table: TableSchema, watermark: Watermark, where: str | None) -> str | None:
    column = compared_column(table.name, watermark.column, False)
    separator, zone = _find_form(connection, table, watermark.column, column, where)
    conditions, parameters = [], []
    if watermark.lag_seconds:
        offset = _ZONE.fullmatch(zone)
        shift = f"{offset[1]}{int(offset[2]) * 60 + int(offset[3] or 0)} minutes" if offset else "+0 minutes"
        # Rows are held back by the text they would have now; thousandths are finer than any lag.
        conditions.append(f"{column} <= strftime('%Y-%m-%d' || ? || '%H:%M:%f', 'now', ?, ?)")
        parameters = [separator, f"-{int(watermark.lag_seconds)} seconds", shift]
    sql = f"SELECT max({column}) FROM {quote_table(table.name)}"  # noqa: S608 - quoted
    largest = connection.fetch(sql + filter_rows(table, where, *conditions), list(parameters))[0][0]
    if largest is None:
        return None
    try:
        convert(Conversion(Kind.TIMESTAMP_UTC), Text(str(largest).encode()))
    except Mismatched as mismatch:
        reason = f"the largest is {describe_value(Text(str(largest).encode()))}"
        raise _refuse(table, watermark.column, str(mismatch), reason) from None
    return str(largest)


def _find_form(connection: Fetching, table: TableSchema, name: str, column: str, where: str | None) -> tuple[str, str]:
    """What is between day and time in every value, and the zone behind it.

    The order of texts is that of time where all have the same of both: fractions and clocks may be cut short, since
    what is shorter comes first; but before a zone they may not.
    """
    zone = f"ltrim(substr({column}, 12), '0123456789:.')"
    sql = f"""SELECT count(*), sum(typeof({column}) IN ('integer', 'real')), sum(typeof({column}) = 'text'),
        sum({column} GLOB '{_DAY}'), sum({column} GLOB '{_DAY} {_CLOCK}'), sum({column} GLOB '{_DAY}T{_CLOCK}'),
        min({zone}), max({zone}), min(length({column})), max(length({column}))
        FROM {quote_table(table.name)}"""  # noqa: S608 - quoted
    some = filter_rows(table, where, f"{column} IS NOT NULL")
    count, numbers, texts, days, blanks, letters, first, last, shortest, longest = connection.fetch(sql + some, [])[0]
    if not count:
        return " ", ""
    expected = "text of one ISO form throughout, as a datetime watermark needs"
    if numbers:
        hint = "; follow the rows with a watermark of kind integer" if numbers == count else ""
        raise _refuse(table, name, expected, f"{numbers} of {count} values are numbers{hint}")
    if texts != count or days + blanks + letters != count:
        others = count - days - blanks - letters
        raise _refuse(table, name, expected, f"{others} of {count} values are no ISO dates or timestamps")
    if blanks and letters:
        raise _refuse(table, name, expected, f"{blanks} values have a blank before the time, {letters} a T")
    if first != last or (last and shortest != longest):
        found = f"{first or 'none'!r} and {last!r}" if first != last else f"{shortest} to {longest} characters"
        raise _refuse(table, name, expected, f"zones or lengths differ before a zone: {found}")
    return "T" if letters else " ", last


def _refuse(table: TableSchema, name: str, expected: str, reason: str) -> UnexpectedValue:
    return UnexpectedValue(str(table.name), name, expected, reason)
