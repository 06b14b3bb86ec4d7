"""Watermarks of SQL Server: exact text out of the database, and back as a value of the column's own type.

A datetime watermark is `yyyy-MM-dd HH:mm:ss.nnnnnnn`, 27 characters whatever its column's type (a datetimeoffset in
UTC), so that the text's order is time's, and so that it is what dbo.usp_UpdateWatermark writes. A row version is `0x`
and 16 hexadecimal digits.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from resources.errors import ResourceError

if TYPE_CHECKING:
    from resources.servers.base import Column, TableName, Watermark, WatermarkKind

_MOMENT = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)(?:[ T](?P<time>\d\d:\d\d:\d\d)(?:\.(?P<digits>\d{1,7}))?)?(?: ?(?:\+00:00|Z))?"
)
_ROW_VERSION = re.compile(r"0x[0-9A-F]{16}")
_INTEGER = re.compile(r"-?\d{1,38}")
_TYPES: dict[WatermarkKind, re.Pattern[str]] = {
    "datetime": re.compile(r"date|smalldatetime|datetime|datetime2\(\d\)|datetimeoffset\(\d\)"),
    "integer": re.compile(r"bigint|int|smallint|tinyint|(?:decimal|numeric)\(\d+,0\)"),
    "rowversion": re.compile(r"rowversion|timestamp"),
}
_EXPECTED: dict[WatermarkKind, str] = {
    "datetime": "date, datetime, smalldatetime, datetime2 or datetimeoffset",
    "integer": "bigint, int, smallint, tinyint or decimal(p,0)",
    "rowversion": "rowversion",
}


class UnfitWatermark(ResourceError):
    """A watermark that its column cannot have: the column is of another type, or the text is no value of it."""

    def __init__(self, table: str, column: str, kind: str, found: str, expected: str) -> None:
        self.table = table
        self.column = column
        self.kind = kind
        self.found = found
        self.expected = expected
        super().__init__(
            f"{table}.{column} cannot be followed as a watermark of kind {kind}: found {found}, expected {expected}. "
            "Correct the watermark's column or kind in the declaration."
        )


def require_fit(table: TableName, watermark: Watermark, column: Column) -> None:
    """Make sure a column can be followed as declared.

    Raises:
        UnfitWatermark: its type is of another kind.
    """
    if not _TYPES[watermark.kind].fullmatch(column.source_type):
        expected = f"a column of type {_EXPECTED[watermark.kind]}"
        raise UnfitWatermark(str(table), column.name, watermark.kind, f"type {column.source_type}", expected)


def unify_moment(text: str) -> str | None:
    """A moment as 27 characters, missing digits as zeros; None: the text is none, or not in UTC."""
    match = _MOMENT.fullmatch(text.strip())
    if match is None:
        return None
    return f"{match['date']} {match['time'] or '00:00:00'}.{(match['digits'] or '').ljust(7, '0')}"


def unify_watermark(table: TableName, watermark: Watermark, text: str) -> str:
    """A watermark in the one form of its kind.

    Raises:
        UnfitWatermark: the text is none of its kind.
    """
    unified: str | None = text.strip()
    if watermark.kind == "datetime":
        unified = unify_moment(text)
        expected = "text such as 2026-03-10 09:30:00.1234567"
    elif watermark.kind == "rowversion":
        unified = f"0x{text.strip()[2:].upper()}"
        unified = unified if _ROW_VERSION.fullmatch(unified) else None
        expected = "text such as 0x00000000000007D1"
    else:
        unified = unified if _INTEGER.fullmatch(unified or "") else None
        expected = "an integer"
    if unified is None:
        raise UnfitWatermark(str(table), watermark.column, watermark.kind, repr(text[:40]), expected)
    return unified


def express_largest(column: Column, quoted: str) -> str:
    """The select expression of a column's largest value as exact text; `unify_watermark` makes it uniform."""
    source_type = column.source_type
    if source_type == "date":
        return f"CONVERT(varchar(10), MAX({quoted}), 23)"
    if source_type == "smalldatetime":
        return f"CONVERT(varchar(19), CONVERT(datetime2(0), MAX({quoted})), 121)"
    if source_type == "datetime":
        # By way of datetime2 the text would be 1/300 s spelled out (.1233333), which no other writer of it has.
        return f"CONVERT(varchar(23), MAX({quoted}), 121)"
    if source_type.startswith("datetimeoffset"):
        return f"CONVERT(varchar(34), SWITCHOFFSET(MAX({quoted}), '+00:00'), 121)"
    if source_type.startswith("datetime2"):
        return f"CONVERT(varchar(27), MAX({quoted}), 121)"
    return f"CONVERT(varchar(40), MAX({quoted}))"


def express_bound(column: Column) -> str:
    """The SQL value of a bound watermark, in the column's own type: another type would compare other values.

    A `datetime` compared with a datetime2 is 1/300 s spelled out, and lies beside the value that is shown of it.
    """
    source_type = column.source_type
    if source_type in ("rowversion", "timestamp"):
        return "CONVERT(binary(8), ?, 1)"
    if source_type.startswith(("datetime2", "datetimeoffset")):
        return f"CONVERT({source_type}, ?, 121)"
    if source_type in ("date", "datetime", "smalldatetime"):
        return f"CONVERT({source_type}, CONVERT(datetime2(7), ?, 121))"
    return f"CONVERT({source_type}, ?)"


def bind_watermark(column: Column, unified: str) -> str:
    """The parameter of `express_bound`."""
    return f"{unified} +00:00" if column.source_type.startswith("datetimeoffset") else unified


def express_settled(column: Column, quoted: str) -> str:
    """The condition that a row is older than the lag: parameters are the lag in seconds and the snapshot's clock.

    Of types coarser than a second, the step the lag ends in is left out whole: it is not over yet.
    """
    source_type = column.source_type
    settled = "DATEADD(SECOND, -CONVERT(int, ?), CONVERT(datetime2(7), ?, 121))"
    if source_type.startswith("datetimeoffset"):
        settled = f"TODATETIMEOFFSET({settled}, '+00:00')"
    operator = "<" if source_type in ("date", "smalldatetime") else "<="
    return f"{quoted} {operator} CONVERT({source_type}, {settled})"


def settle_row_version(oldest_active: str) -> str:
    """The largest row version no transaction can still fall below, from MIN_ACTIVE_ROWVERSION() as 0x text."""
    # In SQL the subtraction would convert the eight bytes to an int of four.
    return f"0x{max(int(oldest_active, 16) - 1, 0):016X}"
