"""Reading, writing and copying memory at an address, in compiled code.

Compiled code that is kept on disk has these built in: after a change here, change `sqlite_kernels.py`, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

_HIGH_BITS = 0x8080_8080_8080_8080


def compiled(signature: str) -> Callable[[Callable[..., Any]], Any]:
    """Compile for one signature without the GIL, kept on disk where there is a folder that can be written."""

    def compile_function(function: Callable[..., Any]) -> Any:
        try:
            return njit(signature, nogil=True, error_model="numpy", cache=True)(function)
        except RuntimeError:  # numba finds no folder for its cache: a read-only installation without a home
            return njit(signature, nogil=True, error_model="numpy")(function)

    return compile_function


def _make_store(llvm: Any, numba_type: Any) -> Any:
    @intrinsic  # type: ignore[untyped-decorator, unused-ignore]
    def store(typing_context: Any, address: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            pointer = builder.inttoptr(arguments[0], llvm.as_pointer())
            value = arguments[1]
            if isinstance(llvm, ir.IntType) and llvm.width < 64:
                value = builder.trunc(value, llvm)
            builder.store(value, pointer, align=1)
            return context.get_dummy_value()

        return types.void(types.intp, numba_type), generate

    return store


def _make_load(bits: int) -> Any:
    @intrinsic  # type: ignore[untyped-decorator, unused-ignore]
    def load(typing_context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            integer = ir.IntType(bits)
            value = builder.load(builder.inttoptr(arguments[0], integer.as_pointer()), align=1)
            return value if bits == 64 else builder.zext(value, ir.IntType(64))

        return types.int64(types.intp), generate

    return load


store8, store32 = _make_store(ir.IntType(8), types.int64), _make_store(ir.IntType(32), types.int64)
store64, store_real = _make_store(ir.IntType(64), types.int64), _make_store(ir.DoubleType(), types.float64)
load8, load32, load64 = _make_load(8), _make_load(32), _make_load(64)


@compiled("boolean(intp, int64)")
def _is_utf8(text: int, size: int) -> bool:
    at = 0
    while at < size:
        if at + 8 <= size and load64(text + at) & _HIGH_BITS == 0:
            at += 8
            continue
        lead = load8(text + at)
        if lead < 0x80:
            at += 1
            continue
        if lead < 0xC2 or lead > 0xF4:
            return False
        more = 1 if lead < 0xE0 else 2 if lead < 0xF0 else 3
        if at + more >= size:
            return False
        second = load8(text + at + 1)
        # No longer form than needed, no surrogates, nothing above U+10FFFF.
        low = 0xA0 if lead == 0xE0 else 0x90 if lead == 0xF0 else 0x80
        high = 0x9F if lead == 0xED else 0x8F if lead == 0xF4 else 0xBF
        if second < low or second > high:
            return False
        for follower in range(2, more + 1):
            byte = load8(text + at + follower)
            if byte < 0x80 or byte > 0xBF:
                return False
        at += more + 1
    return True


@compiled("boolean(intp, int64, intp)")
def copy_text(text: int, size: int, target: int) -> bool:
    """Copy text of UTF-8; False: it is not."""
    if size < 8:
        high = 0
        for at in range(size):
            byte = load8(text + at)
            high |= byte
            store8(target + at, byte)
        return high < 0x80 or _is_utf8(text, size)
    bits = 0
    for at in range(0, size - 7, 8):
        word = load64(text + at)
        bits |= word
        store64(target + at, word)
    # The last eight bytes, some of them once more.
    word = load64(text + size - 8)
    store64(target + size - 8, word)
    return (bits | word) & _HIGH_BITS == 0 or _is_utf8(text, size)
