"""Compiled loops for numeric, uuid and arrays; see `postgresql_kernels`."""

from __future__ import annotations

from typing import Any

import numpy as np

from resources.servers.postgresql_kernels import compiled, load16, load32

_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
_LOW = np.uint64(0xFFFFFFFF)
_TEN_THOUSAND = np.uint64(10000)


@compiled("int64(uint8[::1], int32[::1], int64, int64, int64, uint64, uint64, uint64[::1], uint8[::1], int64[::1])")
def decode_numeric(
    data: Any,
    positions: Any,
    groups: int,
    kept: int,
    dropped: int,
    limit_high: int,
    limit_low: int,
    values: Any,
    valid: Any,
    nulls: Any,
) -> int:
    """numeric with a declared scale as decimal128: two words a value, the low one first.

    Args:
        groups: base-10000 digits behind the point.
        kept: 10 to the number of decimal digits kept of the last of them.
        dropped: 10 to the number of decimal digits behind the scale in it; they are zero.
        limit_high, limit_low: the first magnitude that the precision excludes, as two words.
    """
    base = data.ctypes.data
    # What is above them would overflow, and the limit.
    most_before, most_before_last = limit_high // _TEN_THOUSAND, limit_high // np.uint64(kept)
    for row in range(positions.size):
        at = base + positions[row]
        length = load32(at)
        if length == -1:
            values[2 * row] = 0
            values[2 * row + 1] = 0
            valid[row >> 3] &= ~(1 << (row & 7))
            nulls[0] += 1
            continue
        digits, weight, sign = load16(at + 4), load16(at + 6), load16(at + 8)
        if length < 8 or length != 8 + 2 * digits or (sign != 0 and sign != 0x4000):
            return row
        if digits > 0 and (weight > 9 or weight - digits + 1 < -groups):
            return row
        high, low = np.uint64(0), np.uint64(0)
        first = weight if digits > 0 else -groups - 1
        for position in range(first, -groups - 1, -1):
            index = weight - position
            digit = load16(at + 12 + 2 * index) if index < digits else 0
            factor, most = _TEN_THOUSAND, most_before
            if position == -groups and groups > 0:
                if digit % dropped != 0:
                    return row
                digit //= dropped
                factor, most = np.uint64(kept), most_before_last
            if high > most:
                return row
            part = (low & _LOW) * factor + np.uint64(digit)
            upper = (low >> np.uint64(32)) * factor + (part >> np.uint64(32))
            low = (upper << np.uint64(32)) | (part & _LOW)
            high = high * factor + (upper >> np.uint64(32))
        if high > limit_high or (high == limit_high and low >= limit_low):
            return row
        if sign != 0:
            low = ~low + np.uint64(1)
            high = ~high + (np.uint64(1) if low == 0 else np.uint64(0))
        values[2 * row] = low
        values[2 * row + 1] = high
    return -1


@compiled("int64(uint8[::1], int32[::1], int64, int64, int64, int64, uint64[::1], uint8[::1], int64[::1])")
def decode_small_numeric(
    data: Any,
    positions: Any,
    groups: int,
    kept: int,
    dropped: int,
    limit: int,
    values: Any,
    valid: Any,
    nulls: Any,
) -> int:
    """`decode_numeric` for at most 18 decimal digits, which one word holds."""
    base = data.ctypes.data
    # What is above them would overflow, and the limit.
    most_before, most_before_last = limit // 10000, limit // kept
    for row in range(positions.size):
        at = base + positions[row]
        length = load32(at)
        if length == -1:
            values[2 * row] = 0
            values[2 * row + 1] = 0
            valid[row >> 3] &= ~(1 << (row & 7))
            nulls[0] += 1
            continue
        digits, weight, sign = load16(at + 4), load16(at + 6), load16(at + 8)
        if length < 8 or length != 8 + 2 * digits or (sign != 0 and sign != 0x4000):
            return row
        if digits > 0 and (weight > 4 or weight - digits + 1 < -groups):
            return row
        total = 0
        first = weight if digits > 0 else -groups - 1
        for position in range(first, -groups - 1, -1):
            index = weight - position
            digit = load16(at + 12 + 2 * index) if index < digits else 0
            if position == -groups and groups > 0:
                if digit % dropped != 0 or total > most_before_last:
                    return row
                total = total * kept + digit // dropped
            elif total > most_before:
                return row
            else:
                total = total * 10000 + digit
            if total >= limit:
                return row
        if sign != 0:
            total = -total
        values[2 * row] = np.uint64(total)
        values[2 * row + 1] = np.uint64(total >> 63)
    return -1


@compiled("int64(uint8[::1], int32[::1], int32[::1], uint8[::1], uint8[::1], int64[::1])")
def decode_uuid(data: Any, positions: Any, offsets: Any, values: Any, valid: Any, nulls: Any) -> int:
    """uuid as its 36 characters in lower case; `values` has room for all."""
    base = data.ctypes.data
    end = 0
    offsets[0] = 0
    for row in range(positions.size):
        at = positions[row]
        length = load32(base + at)
        if length == 16:
            for byte in range(16):
                if byte == 4 or byte == 6 or byte == 8 or byte == 10:
                    values[end] = 45
                    end += 1
                value = data[at + 4 + byte]
                values[end] = _HEX[value >> 4]
                values[end + 1] = _HEX[value & 15]
                end += 2
        elif length == -1:
            valid[row >> 3] &= ~(1 << (row & 7))
            nulls[0] += 1
        else:
            return row
        offsets[row + 1] = end
    return -1


@compiled("int64(uint8[::1], int32[::1], int32[::1], uint8[::1], int64[::1])")
def measure_lists(data: Any, positions: Any, offsets: Any, valid: Any, nulls: Any) -> int:
    """Arrow's offsets of arrays of one dimension that begin at 1; others cannot be held."""
    base = data.ctypes.data
    total = 0
    offsets[0] = 0
    for row in range(positions.size):
        at = base + positions[row]
        length = load32(at)
        if length == -1:
            valid[row >> 3] &= ~(1 << (row & 7))
            nulls[0] += 1
        elif length < 12:
            return row
        else:
            dimensions = load32(at + 4)
            if dimensions == 1:
                if load32(at + 20) != 1:
                    return row
                total += load32(at + 16)
            elif dimensions != 0:
                return row
        offsets[row + 1] = total
    return -1


@compiled("int64(uint8[::1], int32[::1], int32[::1], int32[::1])")
def find_elements(data: Any, positions: Any, offsets: Any, elements: Any) -> int:
    """Where each element of each array lies."""
    base = data.ctypes.data
    for row in range(positions.size):
        at = positions[row]
        end = at + 4 + load32(base + at)
        at += 24
        for index in range(offsets[row], offsets[row + 1]):
            if at + 4 > end:
                return row
            elements[index] = at
            length = load32(base + at)
            at += 4
            if length > 0:
                at += length
            if at > end:
                return row
    return -1
