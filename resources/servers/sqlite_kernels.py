"""The compiled loop that steps through a statement of SQLite and writes its values into Arrow's buffers.

It decides what is common; a value that it cannot decide it hands back (ASK), and `sqlite_values.convert` does.
Import it through `sqlite_library.load_kernels`, which binds SQLite's functions first. Numba keeps on disk what it
compiled, by the time of this file alone: after a change in `sqlite_memory.py` or of a `Kind`, change this file, too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from resources.servers.sqlite_library import PREFIX
from resources.servers.sqlite_memory import (
    compiled,
    copy_text,
    load8,
    load32,
    store8,
    store32,
    store64,
    store_real,
)
from resources.servers.sqlite_types import Kind

# What `fill` returns besides SQLite's own codes.
FULL, ASK, GROW = -1, -2, -3
DONE = 101
_ROW = 100

# What `fill` keeps in `state`: rows that are whole, the next column of the row it is on (if it is on one), the limits
# of a batch, how many bytes it holds and each row adds at least, and how many more a column needs.
ROWS, COLUMN, ON_ROW, MOST_ROWS, MOST_BYTES, USED, ROW_BYTES, NEEDED, STATE_SIZE = range(9)

# What `fill` is told of each column, in `columns`: addresses, the size of its data, and how to convert.
KIND, VALID, DATA, OFFSETS, CAPACITY, SCALE, LIMIT, NOT_NULL, COLUMN_SIZE = range(9)

_INTEGER, _FLOAT, _TEXT, _BLOB, _NULL = 1, 2, 3, 4, 5
_K_INTEGER, _K_BOOLEAN, _K_REAL, _K_DECIMAL = (int(k) for k in (Kind.INTEGER, Kind.BOOLEAN, Kind.REAL, Kind.DECIMAL))
_K_TIMESTAMP, _K_UTC, _K_DATE = int(Kind.TIMESTAMP), int(Kind.TIMESTAMP_UTC), int(Kind.DATE)
_K_TIME, _K_TEXT, _K_BINARY = int(Kind.TIME), int(Kind.TEXT), int(Kind.BINARY)

_WIDEST, _LONGEST_NUMBER = 2**31 - 1, 32
_EXACT_INTEGER = 2**53
_ROUND_TRIP = 10.0**15  # a decimal of up to 15 digits is told from all others by the double nearest to it
_POWERS = np.array([10**power for power in range(19)], np.int64)
_REAL_POWERS = np.array([float(10**power) for power in range(23)])  # all exact
_INVALID = -(2**63)
_DAY = 86_400_000_000
_FIRST, _LAST = -62_135_596_800_000_000, 253_402_300_799_999_999  # years 1 to 9999
_DAYS_BEFORE = np.array([0, 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334], np.int64)
_DAYS_IN = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31], np.int64)


def _find(result: Any, name: str) -> Any:
    return types.ExternalFunction(f"{PREFIX}sqlite3_{name}", result(types.intp, types.int32))


_step: Any = types.ExternalFunction(f"{PREFIX}sqlite3_step", types.int32(types.intp))
_type_of, _bytes_of = _find(types.int32, "column_type"), _find(types.int32, "column_bytes")
_integer_of, _real_of = _find(types.int64, "column_int64"), _find(types.float64, "column_double")
_text_of, _blob_of = _find(types.intp, "column_text"), _find(types.intp, "column_blob")
_copy: Any = types.ExternalFunction("memcpy", types.intp(types.intp, types.intp, types.uintp))


@compiled("int64(intp)")
def _parse_pair(text: int) -> int:
    tens, ones = load8(text) - 48, load8(text + 1) - 48
    if tens < 0 or tens > 9 or ones < 0 or ones > 9:
        return -1
    return tens * 10 + ones


@compiled("int64(intp)")
def _parse_day(text: int) -> int:
    """Days since 1970-01-01 of the ten bytes `YYYY-MM-DD`."""
    century, rest, month, day = _parse_pair(text), _parse_pair(text + 2), _parse_pair(text + 5), _parse_pair(text + 8)
    dashed = load8(text + 4) == 45 and load8(text + 7) == 45
    if not dashed or century < 0 or rest < 0 or month < 1 or month > 12 or day < 1:
        return _INVALID
    year = century * 100 + rest
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if year == 0 or day > _DAYS_IN[month] + (1 if leap and month == 2 else 0):
        return _INVALID
    before = year - 1
    days = before * 365 + before // 4 - before // 100 + before // 400 - 719_162
    return days + _DAYS_BEFORE[month] + (1 if leap and month > 2 else 0) + day - 1


@compiled("UniTuple(int64, 2)(intp, int64)")
def _parse_clock(text: int, size: int) -> tuple[int, int]:
    """Microseconds of `HH:MM[:SS[.f...]]`, and how many bytes that is."""
    if size < 5 or load8(text + 2) != 58:
        return _INVALID, 0
    hour, minute, second = _parse_pair(text), _parse_pair(text + 3), 0
    if hour < 0 or hour > 23 or minute < 0 or minute > 59:
        return _INVALID, 0
    micros, end = 0, 5
    if size >= 8 and load8(text + 5) == 58:
        second, end = _parse_pair(text + 6), 8
        if second < 0 or second > 59:
            return _INVALID, 0
        if size > 9 and load8(text + 8) == 46:
            end, unit = 9, 100_000
            while end < size:
                digit = load8(text + end) - 48
                if digit < 0 or digit > 9:
                    break
                if unit == 0 and digit != 0:
                    return _INVALID, 0
                micros += digit * unit
                unit //= 10
                end += 1
            if end == 9:
                return _INVALID, 0
    return ((hour * 60 + minute) * 60 + second) * 1_000_000 + micros, end


@compiled("int64(intp, int64)")
def _parse_zone(text: int, size: int) -> int:
    """Microseconds east of UTC of `Z`, `+HH`, `+HHMM` or `+HH:MM`."""
    sign = load8(text)
    if sign == 90:
        return 0 if size == 1 else _INVALID
    if (sign != 43 and sign != 45) or (size != 3 and size != 5 and size != 6):
        return _INVALID
    hour, minute = _parse_pair(text + 1), 0
    if size == 5:
        minute = _parse_pair(text + 3)
    if size == 6:
        minute = _parse_pair(text + 4) if load8(text + 3) == 58 else -1
    if hour < 0 or hour > 14 or minute < 0 or minute > 59:
        return _INVALID
    offset = (hour * 60 + minute) * 60_000_000
    return offset if sign == 43 else -offset


@compiled("int64(intp, int64, boolean)")
def _parse_timestamp(text: int, size: int, zoned: bool) -> int:
    """Microseconds since 1970-01-01, in UTC where `zoned`."""
    if size < 10:
        return _INVALID
    day = _parse_day(text)
    if day == _INVALID or size == 10:
        return day if day == _INVALID else day * _DAY
    separator = load8(text + 10)
    if separator != 32 and separator != 84:
        return _INVALID
    clock, length = _parse_clock(text + 11, size - 11)
    if clock == _INVALID:
        return _INVALID
    moment = day * _DAY + clock
    rest = size - 11 - length
    if rest == 0:
        return moment
    offset = _parse_zone(text + 11 + length, rest) if zoned else _INVALID
    if offset == _INVALID:
        return _INVALID
    moment -= offset
    return moment if _FIRST <= moment <= _LAST else _INVALID


@compiled("boolean(intp, int64, int64, int64, float64, intp)")
def _store_decimal(target: int, kind: int, scale: int, limit: int, real: float, integer: int) -> bool:
    """Write an unscaled value of 128 bits; False: it is not decided here."""
    if kind == _INTEGER:
        if scale > 18 or abs(integer) >= limit // _POWERS[scale] or integer == _INVALID:
            return False
        unscaled = integer * _POWERS[scale]
    else:
        if scale > 22:
            return False
        rounded = float(np.rint(real * _REAL_POWERS[scale]))
        # Up to 15 digits the quotient of two exact doubles is the double nearest to the decimal.
        if not abs(rounded) <= _ROUND_TRIP or rounded / _REAL_POWERS[scale] != real:
            return False
        unscaled = int(rounded)
        if abs(unscaled) >= limit:
            return False
    store64(target, unscaled)
    store64(target + 8, unscaled >> 63)
    return True


@compiled("int64(intp, int64, int64)")
def _write_digits(target: int, number: int, places: int) -> int:
    """Write a number of 0 or more with that many digits behind a point, or none; how many bytes that is."""
    digits, rest = 1, number // 10
    while rest != 0:
        digits, rest = digits + 1, rest // 10
    digits = max(digits, places + 1)
    size = digits + (1 if places > 0 else 0)
    at = size
    for written in range(digits):
        if places > 0 and written == places:
            at -= 1
            store8(target + at, 46)
        at -= 1
        store8(target + at, 48 + number % 10)
        number //= 10
    return size


@compiled("int64(intp, int64, int64, float64)")
def _write_number(target: int, kind: int, integer: int, real: float) -> int:
    """Write a number as Python's repr does; how many bytes that is, 0: it is not decided here."""
    sign = 1 if integer < 0 or real < 0 else 0
    if sign:
        store8(target, 45)
    if kind == _INTEGER:
        return 0 if integer == _INVALID else sign + _write_digits(target + sign, abs(integer), 0)
    size = abs(real)
    if size < 1e-4 or size >= _ROUND_TRIP:
        return 0
    for places in range(20):
        scaled = float(np.rint(size * _REAL_POWERS[places]))
        if scaled > _ROUND_TRIP:
            return 0
        if scaled / _REAL_POWERS[places] == size:
            whole, behind = (int(scaled), places) if places > 0 else (int(scaled) * 10, 1)
            return sign + _write_digits(target + sign, whole, behind)
    return 0


@compiled("int64(intp, int64[:,::1], int64[::1])")
def fill(statement: int, columns: Any, state: Any) -> int:
    """Step through a statement until a batch is full; see the constants above for `columns` and `state`.

    Returns:
        DONE, or another code of SQLite: the statement has ended, or failed. FULL: the batch is; call again for the
        next. ASK: the value in `state[COLUMN]` is not decided: write it, and count the column up. GROW: the data of
        `state[COLUMN]` needs `state[NEEDED]` more bytes.
    """
    row, column, on_row, used = state[ROWS], state[COLUMN], state[ON_ROW], state[USED]
    most_rows, most_bytes, count = state[MOST_ROWS], state[MOST_BYTES], columns.shape[0]
    result: Any = 0
    while result == 0:
        if on_row == 0:
            if row >= most_rows or used >= most_bytes:
                result = FULL
                break
            code = np.int64(_step(statement))
            if code != _ROW:
                result = code
                break
            on_row, column = 1, 0
        while column < count:
            kind = columns[column, KIND]
            at = np.int32(column)
            stored = np.int64(_type_of(statement, at))
            valid = 1
            if kind >= _K_TEXT:
                start = load32(columns[column, OFFSETS] + row * 4)
                end = start
                if (stored == _TEXT and kind == _K_TEXT) or (stored == _BLOB and kind == _K_BINARY):
                    source = _text_of(statement, at) if stored == _TEXT else _blob_of(statement, at)
                    size = np.int64(_bytes_of(statement, at))
                    end = start + size
                    if end > _WIDEST and row > 0:
                        column, result = 0, FULL
                        break
                    if end > columns[column, CAPACITY]:
                        state[NEEDED], result = size, GROW
                        break
                    if size > 0:
                        if source == 0:
                            result = ASK
                            break
                        if stored == _BLOB:
                            _copy(columns[column, DATA] + start, source, np.uint64(size))
                        elif not copy_text(source, size, columns[column, DATA] + start):
                            result = ASK
                            break
                        used += size
                elif kind == _K_TEXT and (stored in (_INTEGER, _FLOAT)):
                    if start + _LONGEST_NUMBER > columns[column, CAPACITY]:
                        state[NEEDED], result = _LONGEST_NUMBER, GROW
                        break
                    real = _real_of(statement, at) if stored == _FLOAT else 0.0
                    integer = _integer_of(statement, at) if stored == _INTEGER else 0
                    size = _write_number(columns[column, DATA] + start, stored, integer, real)
                    if size == 0:
                        result = ASK
                        break
                    end, used = start + size, used + size
                elif stored == _NULL and columns[column, NOT_NULL] == 0:
                    valid = 0
                else:
                    result = ASK
                    break
                store32(columns[column, OFFSETS] + row * 4 + 4, end)
            elif stored == _NULL:
                if columns[column, NOT_NULL] != 0:
                    result = ASK
                    break
                valid = 0
            elif kind == _K_INTEGER:
                if stored != _INTEGER:
                    result = ASK
                    break
                store64(columns[column, DATA] + row * 8, _integer_of(statement, at))
            elif kind == _K_REAL:
                real = 0.0
                if stored == _FLOAT:
                    real = _real_of(statement, at)
                else:
                    integer = _integer_of(statement, at) if stored == _INTEGER else _INVALID
                    if integer > _EXACT_INTEGER or integer < -_EXACT_INTEGER:
                        result = ASK
                        break
                    real = np.float64(integer)
                store_real(columns[column, DATA] + row * 8, real)
            elif kind == _K_DECIMAL:
                if stored != _INTEGER and stored != _FLOAT:
                    result = ASK
                    break
                real = _real_of(statement, at) if stored == _FLOAT else 0.0
                integer = _integer_of(statement, at) if stored == _INTEGER else 0
                if not _store_decimal(
                    columns[column, DATA] + row * 16,
                    stored,
                    columns[column, SCALE],
                    columns[column, LIMIT],
                    real,
                    integer,
                ):
                    result = ASK
                    break
            elif kind == _K_BOOLEAN:
                integer = _integer_of(statement, at) if stored == _INTEGER else -1
                if integer != 0 and integer != 1:
                    result = ASK
                    break
                store8(columns[column, DATA] + row, integer)
            else:
                if stored != _TEXT:
                    result = ASK
                    break
                source = _text_of(statement, at)
                size = np.int64(_bytes_of(statement, at))
                moment = _INVALID
                if source == 0:
                    moment = _INVALID
                elif kind == _K_DATE:
                    moment = _parse_day(source) if size == 10 else _INVALID
                elif kind == _K_TIME:
                    moment, length = _parse_clock(source, size)
                    if length != size:
                        moment = _INVALID
                else:
                    moment = _parse_timestamp(source, size, kind == _K_UTC)
                if moment == _INVALID:
                    result = ASK
                    break
                if kind == _K_DATE:
                    store32(columns[column, DATA] + row * 4, moment)
                else:
                    store64(columns[column, DATA] + row * 8, moment)
            store8(columns[column, VALID] + row, valid)
            column += 1
        if result == 0:
            row, on_row, used = row + 1, 0, used + state[ROW_BYTES]
    state[ROWS], state[COLUMN], state[ON_ROW], state[USED] = row, column, on_row, used
    return result
