"""What a method of `benchmarks.features` has written, as figures that must be the same of all of them.

`python -m benchmarks.features_truth features <files> categories <files>` prints a line a figure: name, tab, value.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence


def summarise_features(files: Sequence[str]) -> Iterator[tuple[str, float]]:
    """Rows, and of every column the sum, plain and by the transaction: equal values in other rows would not do."""
    import duckdb

    rows = duckdb.read_parquet(list(files))
    yield "features", float(rows.count("*").fetchall()[0][0])
    for name in sorted(name for name in rows.columns if name != "TransactionDate"):
        value = f"CAST({name} AS DOUBLE)"
        ((plain, weighted),) = rows.aggregate(f"sum({value}), sum({value} * (TransactionId % 97))").fetchall()
        yield name, plain
        yield f"{name} by transaction", weighted


def summarise_categories(files: Sequence[str]) -> Iterator[tuple[str, float]]:
    """Customers, and of every category the lines, plain and by the customer; from lists or from columns."""
    import duckdb

    rows = duckdb.read_parquet(list(files))
    yield "customers", float(rows.count("*").fetchall()[0][0])
    if "categories" in rows.columns:
        flat = rows.project("CustomerId, unnest(categories, recursive := true)")
    else:
        flat = rows.query("wide", "UNPIVOT wide ON COLUMNS(* EXCLUDE CustomerId) INTO NAME name VALUE count")
    sums = flat.aggregate("name, sum(count), sum(count * (CustomerId % 97))", "name").order("name")
    for name, plain, weighted in sums.fetchall():
        yield f"lines of {name}", float(plain)
        yield f"lines of {name} by customer", float(weighted)


def main(arguments: Sequence[str]) -> None:
    """Print the figures of both results."""
    split = arguments.index("categories")
    for summary in (summarise_features(arguments[1:split]), summarise_categories(arguments[split + 1 :])):
        for name, value in summary:
            print(f"{name}\t{value!r}")


if __name__ == "__main__":
    main(sys.argv[1:])
