"""The copy of SQLite that this process has, called directly.

There must be one copy only: two copies of SQLite that open one file release each other's locks on it. So the library is
always the one that Python's own `sqlite3` module runs on; where its functions cannot be reached there is none.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any

PREFIX = "adfml_"
"""Before the names under which compiled code finds SQLite's functions: no other library can be meant."""

COMPILED = tuple(
    f"sqlite3_{name}"
    for name in ("step", "column_type", "column_int64", "column_double", "column_text", "column_blob", "column_bytes")
)
"""The functions that compiled code calls."""

_POINTER, _INT = ctypes.c_void_p, ctypes.c_int
_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "sqlite3_sourceid": (ctypes.c_char_p, ()),
    "sqlite3_open_v2": (_INT, (ctypes.c_char_p, ctypes.POINTER(_POINTER), _INT, ctypes.c_char_p)),
    "sqlite3_close_v2": (_INT, (_POINTER,)),
    "sqlite3_busy_timeout": (_INT, (_POINTER, _INT)),
    "sqlite3_extended_errcode": (_INT, (_POINTER,)),
    "sqlite3_errmsg": (ctypes.c_char_p, (_POINTER,)),
    "sqlite3_errstr": (ctypes.c_char_p, (_INT,)),
    "sqlite3_prepare_v2": (_INT, (_POINTER, _POINTER, _INT, ctypes.POINTER(_POINTER), ctypes.POINTER(_POINTER))),
    "sqlite3_finalize": (_INT, (_POINTER,)),
    "sqlite3_bind_null": (_INT, (_POINTER, _INT)),
    "sqlite3_bind_int64": (_INT, (_POINTER, _INT, ctypes.c_int64)),
    "sqlite3_bind_text": (_INT, (_POINTER, _INT, ctypes.c_char_p, _INT, _POINTER)),
    "sqlite3_step": (_INT, (_POINTER,)),
    "sqlite3_column_count": (_INT, (_POINTER,)),
    "sqlite3_column_type": (_INT, (_POINTER, _INT)),
    "sqlite3_column_int64": (ctypes.c_int64, (_POINTER, _INT)),
    "sqlite3_column_double": (ctypes.c_double, (_POINTER, _INT)),
    "sqlite3_column_text": (_POINTER, (_POINTER, _INT)),
    "sqlite3_column_blob": (_POINTER, (_POINTER, _INT)),
    "sqlite3_column_bytes": (_INT, (_POINTER, _INT)),
}


class Library:
    """SQLite's functions by their names, with the types of their arguments.

    Raises:
        AttributeError: the handle does not give one of them.
    """

    def __init__(self, handle: ctypes.CDLL) -> None:
        self._functions: dict[str, Any] = {}
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(handle, name)
            function.restype, function.argtypes = result, arguments
            self._functions[name] = function

    def __getattr__(self, name: str) -> Any:
        """The function `sqlite3_<name>`."""
        return self._functions[f"sqlite3_{name}"]

    def find_address(self, name: str) -> int:
        """Where a function is in memory, by its whole name."""
        return ctypes.cast(self._functions[name], _POINTER).value or 0


@cache
def find_library() -> Library | None:
    """The SQLite that Python's `sqlite3` runs on; None where it is built in and hides its functions."""
    for handle in _open_handles():
        try:
            library = Library(handle)
        except AttributeError:
            continue
        if library.sourceid().decode() == _read_source_id():
            return library
    return None


@cache
def load_kernels() -> ModuleType | None:
    """The compiled loops, bound to the library; None where there is no library."""
    library = find_library()
    if library is None:
        return None
    import llvmlite.binding

    for name in COMPILED:
        llvmlite.binding.add_symbol(f"{PREFIX}{name}", library.find_address(name))
    from resources.servers import sqlite_kernels

    return sqlite_kernels


def _open_handles() -> Iterator[ctypes.CDLL]:
    import _sqlite3
    from pathlib import Path

    file = getattr(_sqlite3, "__file__", None)
    if sys.platform == "win32":
        # A DLL's handle does not lead to those it depends on; Python's lies beside the module.
        if file and (Path(file).parent / "sqlite3.dll").is_file():
            yield ctypes.CDLL(str(Path(file).parent / "sqlite3.dll"))
        return
    # The handle of the module finds names in the libraries it was linked to, in the order of the linker.
    yield ctypes.CDLL(file)


def _read_source_id() -> str:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(":memory:")) as connection:
        return str(connection.execute("SELECT sqlite_source_id()").fetchone()[0])
