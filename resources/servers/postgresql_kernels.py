"""Compiled loops that fetch PostgreSQL's binary COPY rows and turn them into Arrow's buffers.

Each reads `data`, a staging buffer of whole rows as the server sent them (big-endian, each field after its length, a
NULL as length -1), and `positions`, where in it each value's length lies. `valid` comes with all bits set; a NULL
clears its own, and is counted in `nulls[0]`. A decoder returns the row of the first value it cannot hold, or -1.
Nothing is checked twice: `find_fields` makes sure that all positions and lengths lie within the buffer.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

_raw_memcpy: Any = cgutils.raw_memcpy
_UniTuple: Any = types.UniTuple

SLACK = 32
"""Bytes that must follow the used ones of every buffer that is copied from or to: short copies overshoot."""

FULL = 1
"""State of `fetch_rows`: there is more. Others are PQgetCopyData's: -1 all was sent, -2 it failed."""


def compiled(signature: str) -> Callable[[Callable[..., Any]], Any]:
    """Compile for one signature without the GIL, kept on disk where there is a folder that can be written."""

    def compile_function(function: Callable[..., Any]) -> Any:
        try:
            return njit(signature, nogil=True, cache=True)(function)
        except RuntimeError:  # numba finds no folder for its cache: a read-only installation without a home
            return njit(signature, nogil=True)(function)

    return compile_function


def _make_loader(bits: int) -> Any:
    def load(typing_context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            integer = ir.IntType(bits)
            value = builder.load(builder.inttoptr(arguments[0], integer.as_pointer()), align=1)
            if sys.byteorder == "little":
                value = builder.bswap(value)
            return value if bits == 64 else builder.sext(value, ir.IntType(64))

        return types.int64(types.intp), generate

    return intrinsic(load)


load16, load32, load64 = _make_loader(16), _make_loader(32), _make_loader(64)


def _copy_bytes(typing_context: Any, target: Any, source: Any, count: Any) -> Any:

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = ir.IntType(8).as_pointer()
        target, source = (builder.inttoptr(argument, pointer) for argument in arguments[:2])
        _raw_memcpy(builder, target, source, arguments[2], 1)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.int64), generate


def _copy16(typing_context: Any, target: Any, source: Any) -> Any:

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = ir.IntType(128).as_pointer()
        target, source = (builder.inttoptr(argument, pointer) for argument in arguments)
        builder.store(builder.load(source, align=1), target, align=1)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), generate


copy_bytes: Any = intrinsic(_copy_bytes)
"""memcpy of any number of bytes: target, source, count."""
copy16: Any = intrinsic(_copy16)
"""memcpy of 16 bytes: target, source."""


def _make_caller(result: Any, *parameters: Any) -> Any:
    """A C function called by its address, so that it is the one of the library that made the connection."""
    count = len(parameters)

    def call(typing_context: Any, address: Any, arguments: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            function = ir.FunctionType(result, parameters)
            pointer = builder.inttoptr(values[0], function.as_pointer())
            items = [builder.extract_value(values[1], index) for index in range(count)]
            items = [
                builder.inttoptr(item, parameter)
                if isinstance(parameter, ir.PointerType)
                else builder.trunc(item, parameter)
                if parameter.width < 64
                else item
                for item, parameter in zip(items, parameters, strict=True)
            ]
            value = builder.call(pointer, items)
            if isinstance(result, ir.VoidType):
                return ir.Constant(ir.IntType(64), 0)
            return builder.sext(value, ir.IntType(64))

        return types.int64(types.intp, _UniTuple(types.int64, count)), generate

    return intrinsic(call)


_int, _pointer = ir.IntType(32), ir.IntType(8).as_pointer()
_get_copy_data = _make_caller(_int, _pointer, _pointer, _int)
_free = _make_caller(ir.VoidType(), _pointer)


@compiled("int64(int64, int64, int64, uint8[::1], int64[::1])")
def fetch_rows(get_copy_data: int, free: int, connection: int, data: Any, state: Any) -> int:
    """Fill `data` with whole rows from a libpq connection in COPY, waiting for them; returns the bytes used.

    Args:
        get_copy_data, free: addresses of PQgetCopyData and PQfreemem.
        connection: its PGconn.
        data: SLACK bytes at its end are left free.
        state: [FULL or PQgetCopyData's end; address and length of a row that did not fit; messages fetched; libpq's]
    """
    used = 0
    capacity = data.size - 32
    base = data.ctypes.data
    slot = state.ctypes.data + 32
    state[3] = 0
    while True:
        if state[1] == 0:
            # Not asking for what is there already but waiting: libpq knows what TLS still holds, poll does not.
            length = _get_copy_data(get_copy_data, (connection, slot, 0))
            if length < 0:
                state[0] = length
                return used
            state[1] = state[4]
            state[2] = length
        row, length = state[1], state[2]
        if used + length > capacity:
            state[0] = 1
            return used
        copy_bytes(base + used, row, length)
        _free(free, (row,))
        state[1] = 0
        used += length
        state[3] += 1


@compiled("int64(uint8[::1], int64, int64, int64, int64, int32[::1])")
def find_fields(data: Any, start: int, used: int, columns: int, capacity: int, positions: Any) -> int:
    """Where each field of each row lies: `positions[column * capacity + row]`. Returns the rows; -1: not COPY's format.

    `capacity` is the most rows there can be; COPY's trailer ends them.
    """
    base = data.ctypes.data
    at, row = start, 0
    while at < used:
        fields = load16(base + at)
        at += 2
        if fields == -1:
            return row if at == used else -1
        if fields != columns or row >= capacity:
            return -1
        for column in range(columns):
            if at + 4 > used:
                return -1
            positions[column * capacity + row] = at
            length = load32(base + at)
            at += 4
            if length > 0:
                at += length
        if at > used:
            return -1
        row += 1
    return row


@compiled("int64(uint8[::1], int32[::1], int16[::1], uint8[::1], int64[::1])")
def decode_int16(data: Any, positions: Any, values: Any, valid: Any, nulls: Any) -> int:
    """smallint."""
    base = data.ctypes.data
    for row in range(positions.size):
        at = base + positions[row]
        length = load32(at)
        if length == 2:
            values[row] = load16(at + 4)
        elif length == -1:
            values[row] = 0
            valid[row >> 3] &= ~(1 << (row & 7))
            nulls[0] += 1
        else:
            return row
    return -1


@compiled("int64(uint8[::1], int32[::1], int32[::1], int64, int64, int64, uint8[::1], int64[::1])")
def decode_int32(
    data: Any, positions: Any, values: Any, shift: int, low: int, high: int, valid: Any, nulls: Any
) -> int:
    """Four bytes as they are, plus `shift`; those outside of [low, high] cannot be held."""
    base = data.ctypes.data
    for row in range(positions.size):
        at = base + positions[row]
        length = load32(at)
        if length == 4:
            value = load32(at + 4)
            if value < low or value > high:
                return row
            values[row] = value + shift
        elif length == -1:
            values[row] = 0
            valid[row >> 3] &= ~(1 << (row & 7))
            nulls[0] += 1
        else:
            return row
    return -1


@compiled("int64(uint8[::1], int32[::1], int64[::1], int64, int64, int64, uint8[::1], int64[::1])")
def decode_int64(
    data: Any, positions: Any, values: Any, shift: int, low: int, high: int, valid: Any, nulls: Any
) -> int:
    """Eight bytes as they are, plus `shift`; those outside of [low, high] cannot be held."""
    base = data.ctypes.data
    for row in range(positions.size):
        at = base + positions[row]
        length = load32(at)
        if length == 8:
            value = load64(at + 4)
            if value < low or value > high:
                return row
            values[row] = value + shift
        elif length == -1:
            values[row] = 0
            valid[row >> 3] &= ~(1 << (row & 7))
            nulls[0] += 1
        else:
            return row
    return -1


@compiled("int64(uint8[::1], int32[::1], uint8[::1], uint8[::1], int64[::1])")
def decode_bool(data: Any, positions: Any, values: Any, valid: Any, nulls: Any) -> int:
    """boolean, into a bitmap of zeros."""
    base = data.ctypes.data
    for row in range(positions.size):
        at = positions[row]
        length = load32(base + at)
        if length == 1:
            values[row >> 3] |= (data[at + 4] & 1) << (row & 7)
        elif length == -1:
            valid[row >> 3] &= ~(1 << (row & 7))
            nulls[0] += 1
        else:
            return row
    return -1


@compiled("int64(uint8[::1], int32[::1], int32[::1], uint8[::1], int64[::1])")
def measure_bytes(data: Any, positions: Any, offsets: Any, valid: Any, nulls: Any) -> int:
    """Arrow's offsets of values of varying length; returns the bytes of all."""
    base = data.ctypes.data
    total = 0
    offsets[0] = 0
    for row in range(positions.size):
        length = load32(base + positions[row])
        if length < 0:
            valid[row >> 3] &= ~(1 << (row & 7))
            nulls[0] += 1
        else:
            total += length
        offsets[row + 1] = total
    return total


@compiled("void(uint8[::1], int32[::1], int32[::1], uint8[::1])")
def gather_bytes(data: Any, positions: Any, offsets: Any, values: Any) -> None:
    """The values of varying length one after the other; SLACK bytes must follow in both buffers."""
    base, target = data.ctypes.data, values.ctypes.data
    for row in range(positions.size):
        length = offsets[row + 1] - offsets[row]
        source, goal = base + positions[row] + 4, target + offsets[row]
        if length <= 16:
            copy16(goal, source)
        elif length <= 32:
            copy16(goal, source)
            copy16(goal + 16, source + 16)
        else:
            copy_bytes(goal, source, length)
