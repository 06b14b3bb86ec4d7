"""One value of SQLite as a Python value of its column's type: what every way of reading agrees with."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from typing import Any, TypeAlias

from resources.servers.sqlite_types import Conversion, Kind


class Text(bytes):
    """A TEXT as it is stored, in UTF-8 or not; plain bytes are a BLOB."""


Stored: TypeAlias = "int | float | Text | bytes | None"
"""A value as SQLite keeps it: INTEGER, REAL, TEXT, BLOB, NULL."""


class Mismatched(ValueError):
    """A value is not of its column's declared type; the message says what was expected."""


_SHOWN = 40
_WIDE = Context(prec=800, rounding=ROUND_HALF_EVEN)  # a double has up to 767 significant digits
_DAY = rb"(\d{4})-(\d\d)-(\d\d)"
_CLOCK = rb"(\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?"
_DATE = re.compile(_DAY)
_TIME = re.compile(_CLOCK)
_DATETIME = re.compile(_DAY + rb"(?:[ T]" + _CLOCK + rb"(?:(Z)|([+-])(\d\d)(?::?(\d\d))?)?)?")
_DIGITS = re.compile(rb"[+-]?(?:\d+\.?\d*|\.\d+)")


def convert(conversion: Conversion, value: int | float | Text | bytes) -> Any:
    """The Python value that pyarrow makes the archived value of.

    Raises:
        Mismatched: the value is not of the declared type.
    """
    return _CONVERTERS[conversion.kind](value, conversion)


def write_text(value: Stored) -> str | None:
    """A value of any kind as text that loses nothing: BLOBs, and TEXT that is not UTF-8, in hexadecimal digits."""
    if value is None:
        return None
    if isinstance(value, Text):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value.hex()
    return value.hex() if isinstance(value, bytes) else repr(value)


def describe_value(value: Stored) -> str:
    """A value for a message: its kind in SQLite and at most 40 characters of it."""
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        # Only the beginning is decoded: a value may have gigabytes.
        start = bytes(value[: 4 * _SHOWN])
        shown = repr(start.decode(errors="backslashreplace")) if isinstance(value, Text) else f"x'{start.hex()}'"
        kind = "TEXT" if isinstance(value, Text) else "BLOB"
    else:
        shown, kind = repr(value), "INTEGER" if isinstance(value, int) else "REAL"
    return f"{kind} {shown if len(shown) <= _SHOWN else shown[: _SHOWN - 3] + '...'}"


def _to_integer(value: Any, _: Conversion) -> int:
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer() and -(2.0**63) <= value < 2.0**63:
        return int(value)
    raise Mismatched("an integer of 64 bits")


def _to_boolean(value: Any, _: Conversion) -> bool:
    if isinstance(value, int) and value in (0, 1):
        return bool(value)
    raise Mismatched("0 or 1")


def _to_real(value: Any, _: Conversion) -> float:
    if isinstance(value, float):
        return value
    if isinstance(value, int) and int(float(value)) == value:
        return float(value)
    raise Mismatched("a number that a double holds exactly")


def _to_decimal(value: Any, conversion: Conversion) -> Decimal:
    unit = Decimal(1).scaleb(-conversion.scale)
    expected = f"a decimal of {conversion.precision} digits, {conversion.scale} behind the point"
    try:
        if isinstance(value, Text) and _DIGITS.fullmatch(value) and len(value) <= 700:
            exact = Decimal(value.decode())
            rounded = exact.quantize(unit, context=_WIDE)
            same = rounded == exact
        elif isinstance(value, int):
            rounded, same = Decimal(value).quantize(unit, context=_WIDE), True
        elif isinstance(value, float):
            # A decimal that was stored as REAL became the nearest double. The shortest decimal that it is nearest to
            # stands for it; doubles of 2**53 and more are whole, and are what they are.
            exact = Decimal(int(value)) if value.is_integer() else Decimal(repr(value))
            rounded = exact.quantize(unit, context=_WIDE)
            same = rounded == exact
        else:
            raise Mismatched(expected)
    except InvalidOperation:
        raise Mismatched(expected) from None
    if not same or abs(rounded) >= Decimal(1).scaleb(conversion.precision - conversion.scale):
        raise Mismatched(expected)
    return rounded


def _to_timestamp(value: Any, conversion: Conversion) -> datetime:
    zoned = conversion.kind is Kind.TIMESTAMP_UTC
    zone = " and a zone or none (UTC)" if zoned else ", no zone"
    expected = f"YYYY-MM-DD HH:MM:SS[.ffffff] (a blank or T between) as text{zone}"
    match = _DATETIME.fullmatch(value) if isinstance(value, Text) else None
    if match is None:
        raise Mismatched(expected)
    year, month, day, hour, minute, second, fraction, utc, sign, zone_hour, zone_minute = match.groups()
    if (utc or sign) and not zoned:
        raise Mismatched(expected)
    offset = timedelta()
    if sign:
        if int(zone_hour) > 14 or int(zone_minute or 0) > 59:
            raise Mismatched(expected)
        offset = timedelta(hours=int(zone_hour), minutes=int(zone_minute or 0)) * (-1 if sign == b"-" else 1)
    try:
        moment = datetime(
            int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), _to_micros(fraction)
        )
        return moment.replace(tzinfo=timezone(offset)).astimezone(UTC) if zoned else moment
    except (ValueError, OverflowError):
        raise Mismatched(expected) from None


def _to_date(value: Any, _: Conversion) -> date:
    match = _DATE.fullmatch(value) if isinstance(value, Text) else None
    if match:
        try:
            return date(*(int(part) for part in match.groups()))
        except ValueError:
            pass  # a day that no calendar has: the same answer as for any other text
    raise Mismatched("YYYY-MM-DD as text")


def _to_time(value: Any, _: Conversion) -> time:
    match = _TIME.fullmatch(value) if isinstance(value, Text) else None
    if match:
        hour, minute, second, fraction = match.groups()
        try:
            return time(int(hour), int(minute), int(second or 0), _to_micros(fraction))
        except ValueError:
            pass  # an hour that no clock has: the same answer as for any other text
    raise Mismatched("HH:MM:SS[.ffffff] as text")


def _to_micros(fraction: bytes | None) -> int:
    if fraction is None:
        return 0
    if fraction[6:].strip(b"0"):
        raise ValueError(fraction)
    return int(fraction[:6].ljust(6, b"0"))


def _to_text(value: Any, _: Conversion) -> str:
    if isinstance(value, Text):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise Mismatched("text in UTF-8") from None
    if isinstance(value, bytes):
        raise Mismatched("text")
    return repr(value)


def _to_binary(value: Any, _: Conversion) -> bytes:
    if isinstance(value, bytes) and not isinstance(value, Text):
        return value
    raise Mismatched("a BLOB")


_CONVERTERS: dict[Kind, Callable[[Any, Conversion], Any]] = {
    Kind.INTEGER: _to_integer,
    Kind.BOOLEAN: _to_boolean,
    Kind.REAL: _to_real,
    Kind.DECIMAL: _to_decimal,
    Kind.TIMESTAMP: _to_timestamp,
    Kind.TIMESTAMP_UTC: _to_timestamp,
    Kind.DATE: _to_date,
    Kind.TIME: _to_time,
    Kind.TEXT: _to_text,
    Kind.BINARY: _to_binary,
}
