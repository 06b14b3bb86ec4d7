"""Is a copy what the source holds? Its types and every value, against the values computed anew.

`python -m benchmarks.archive_truth <server> <rows> <file>...` prints what is wrong, a column a line.
"""

from __future__ import annotations

import sys

from benchmarks.archive_sources import COLUMNS, select_truth


def find_errors(server: str, rows: int, paths: list[str]) -> list[str]:
    """What is wrong with a copy of the large table: `amount is double`, `created differs in 3 rows`."""
    import duckdb
    import pyarrow.parquet as pq

    schema = pq.read_schema(paths[0])
    errors = []
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"CREATE VIEW truth AS {select_truth(rows)}")
        connection.read_parquet(paths).create_view("copy")
        (count,) = connection.execute("SELECT count(*) FROM copy").fetchone() or (0,)
        if count != rows:
            errors.append(f"{count} rows in place of {rows}")
        expected = {row[0]: row[1] for row in connection.execute("DESCRIBE truth").fetchall()}
        compared = []
        for column in COLUMNS:
            if column.name not in schema.names:
                errors.append(f"{column.name} is missing")
                continue
            found = str(schema.field(column.name).type)
            if found not in column.right_types(server):
                errors.append(f"{column.name} is {found}")
            # A wrong type is one error; the value counts as equal where a cast to the right type brings it back.
            cast = f"TRY_CAST(copy.{column.name} AS {expected[column.name]})"
            compared.append((column.name, f"count(*) FILTER (truth.{column.name} IS DISTINCT FROM {cast})"))
        differing = connection.execute(
            f"SELECT {', '.join(sql for _, sql in compared)} FROM truth LEFT JOIN copy USING (id)"  # noqa: S608
        ).fetchone()
    assert differing is not None  # noqa: S101 - an aggregate has a row
    pairs = zip(compared, differing, strict=True)
    return errors + [f"{name} differs in {number} rows" for (name, _), number in pairs if number]


if __name__ == "__main__":
    for line in find_errors(sys.argv[1], int(sys.argv[2]), sys.argv[3:]):
        print(line)
