"""Running an ibis expression over archived tables: tables in by name, record batches out."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import date
from typing import TYPE_CHECKING

from adfml_assets.features.errors import ExpressionNotFound
from resources.errors import NotFound
from resources.lake import Lake
from resources.manifest import Manifest, list_data_paths

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend
    from ibis.expr.types import Table

__all__ = ["ExpressionNotFound", "load_function", "make_dates", "open_tables", "require_columns"]


def load_function(reference: str) -> Callable[..., Table]:
    """The function named `package.module.function`.

    Raises:
        ExpressionNotFound: there is none.
    """
    module_name, _, name = reference.rpartition(".")
    try:
        function = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ExpressionNotFound(reference, str(error)) from None
    if not callable(function):
        raise ExpressionNotFound(reference, f"it is a {type(function).__name__}, no function")
    return function


@contextmanager
def open_tables(
    lake: Lake, partitions: Mapping[str, tuple[str, Manifest]]
) -> Iterator[tuple[Backend, dict[str, Table]]]:
    """A DuckDB session in which archived partitions are tables.

    Args:
        partitions: name -> (folder in the lake, manifest). Only files that the manifest names are read.
    """
    import ibis

    with ExitStack() as stack:
        backend = ibis.duckdb.connect()
        stack.callback(backend.disconnect)
        tables = {}
        for name, (folder, manifest) in partitions.items():
            files = [stack.enter_context(lake.local_copy(path)) for path in list_data_paths(folder, manifest)]
            tables[name] = backend.read_parquet([str(file) for file in files], table_name=name, hive_partitioning=False)
        yield backend, tables


def make_dates(dates: Sequence[date]) -> Table:
    """A table of one column, `feature_date`."""
    import ibis
    import pyarrow as pa

    return ibis.memtable(pa.table({"feature_date": pa.array(dates, pa.date32())}))


def require_columns(name: str, found: Sequence[str], wanted: Sequence[str]) -> None:
    """Make sure columns exist.

    Raises:
        NotFound: the first that does not; with those that do.
    """
    for column in wanted:
        if column not in found:
            raise NotFound("column", column, name, found)
