"""`make bench-writeback`: scores written back to PostgreSQL and SQLite, half of their keys there already.

Every measurement is a process of its own (its peak memory is that method's alone) that first writes a few rows to
another database, so that nobody's imports are in the figures; rounds are interleaved; all must leave the same table.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sqlite3
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from benchmarks.measuring import Measured, print_table, run_apart
from benchmarks.writeback_data import (
    COLUMNS,
    WARM_ROWS,
    copy_sqlite,
    prepare_postgresql,
    prepare_sqlite,
    quote,
    write_scores,
)
from benchmarks.writeback_methods import METHODS, ONLY_POSTGRESQL
from tests.postgresql_server import RunningPostgresql, connect, run_postgresql

OURS = "adfml"
BY_HAND = ("by hand", "pgpq by hand", "ADBC")
_ALL = f'SELECT {quote(COLUMNS)} FROM "Predictions" ORDER BY 1, 2'  # noqa: S608 - names of this benchmark


def compare(
    server: str, folder: Path, rows: int, rounds: int, methods: Sequence[str], fresh: Callable[[], Iterator[str]]
) -> None:
    """Measure every method in turn, hold its table to that of the first one, and print what was found.

    Args:
        fresh: gives the URL of a fresh database for one run, and takes it away afterwards.
    """
    found: dict[str, list[Measured]] = {method: [] for method in methods}
    verdicts: dict[str, str] = {}
    truth = ""
    for number, method in [(number, method) for number in range(rounds) for method in methods]:
        if verdicts.get(method, "").startswith("failed"):
            continue
        opened, warm = contextmanager(fresh)(), contextmanager(fresh)()
        with opened as url, warm as warm_url:
            try:
                arguments = (method, server, url, warm_url, str(folder))
                measured = run_apart("benchmarks.writeback_methods", *arguments)
            except RuntimeError as error:
                verdicts[method] = f"failed: {str(error).splitlines()[-1]}"
                print(error, file=sys.stderr)
                continue
            found[method].append(measured)
            print(server, method, f"{measured.seconds:.2f} s", file=sys.stderr, flush=True)
            if number == 0:
                digest = _hash_table(server, url)
                truth = truth or digest
                verdicts[method] = "the same table" if digest == truth else "differs"
    _print(server, rows, rounds, found, verdicts)


def _hash_table(server: str, url: str) -> str:
    """Of all rows in order, each value as Python has it."""
    import sqlalchemy as sa

    digest, parsed = hashlib.sha256(), sa.make_url(url)
    if server == "sqlite":
        with closing(sqlite3.connect(str(parsed.database))) as connection:
            for row in connection.execute(_ALL):
                digest.update(repr(row).encode())
        return digest.hexdigest()
    with connect(parsed) as connection, connection.transaction(), connection.cursor("rows") as cursor:
        cursor.itersize = 50_000
        for row in cursor.execute(_ALL.encode()):
            digest.update(repr(row).encode())
    return digest.hexdigest()


def _print(server: str, rows: int, rounds: int, found: dict[str, list[Measured]], verdicts: dict[str, str]) -> None:
    fastest = min((_median(found[m]) for m in BY_HAND if found.get(m)), default=0.0)
    lines = []
    for method, measured in found.items():
        if not measured:
            lines.append((method, *["-"] * 5, verdicts[method]))
            continue
        seconds = _median(measured)
        lines.append(
            (
                method,
                f"{seconds:.2f}",
                f"{min(m.seconds for m in measured):.2f}",
                f"{rows / seconds:,.0f}",
                f"{statistics.median(m.peak_mb for m in measured):,.0f}",
                f"{fastest / seconds:.2f}x" if fastest else "-",
                verdicts[method],
            )
        )
    names = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}
    print_table(
        f"{names[server]}: {rows:,} scores, half of the keys there; medians of {rounds}, {os.cpu_count()} cores",
        ("method", "seconds", "fastest", "rows/s", "peak MB", "of the fastest by hand", "result"),
        lines,
    )


def _median(measured: Sequence[Measured]) -> float:
    return statistics.median(m.seconds for m in measured)


def compare_sqlite(folder: Path, rows: int, rounds: int, methods: Sequence[str]) -> None:
    """In files of their own."""
    prepare_sqlite(folder / "full.sqlite", rows)
    prepare_sqlite(folder / "few.sqlite", WARM_ROWS)
    numbers = iter(range(1_000_000))

    def fresh() -> Iterator[str]:
        # The first one asked for is measured, the second one warms up.
        number = next(numbers)
        path = folder / f"run{number}.sqlite"
        copy_sqlite(folder / ("few.sqlite" if number % 2 else "full.sqlite"), path)
        os.sync()
        yield f"sqlite:///{path}"
        path.unlink()

    compare("sqlite", folder, rows, rounds, [m for m in methods if m not in ONLY_POSTGRESQL], fresh)


def compare_postgresql(server: RunningPostgresql, folder: Path, rows: int, rounds: int, methods: Sequence[str]) -> None:
    """In databases of their own, made from one that is there."""
    with server.database() as full, server.database() as few:
        prepare_postgresql(server, full, rows)
        prepare_postgresql(server, few, WARM_ROWS)
        numbers = iter(range(1_000_000))

        def fresh() -> Iterator[str]:
            template = few if next(numbers) % 2 else full
            with server.database(f"TEMPLATE {template.database}") as url:
                server.execute("CHECKPOINT")
                yield url.render_as_string(hide_password=False)

        compare("postgresql", folder, rows, rounds, methods, fresh)


def main() -> None:
    """Parse the options, make the scores, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="scores")
    parser.add_argument("--rounds", type=int, default=3, help="of all methods, interleaved")
    parser.add_argument("--only", nargs="+", choices=METHODS, default=[*METHODS], help="methods")
    parser.add_argument("--servers", nargs="+", choices=("sqlite", "postgresql"), default=("postgresql", "sqlite"))
    options = parser.parse_args()
    for name in [name for name in os.environ if name.startswith(("ADFML_", "DAGSTER_"))]:
        del os.environ[name]
    with tempfile.TemporaryDirectory(prefix="bench") as root:
        folder = Path(root)
        write_scores(folder, options.rows)
        if "postgresql" in options.servers:
            with run_postgresql() as server:
                compare_postgresql(server, folder, options.rows, options.rounds, options.only)
        if "sqlite" in options.servers:
            compare_sqlite(folder, options.rows, options.rounds, options.only)


if __name__ == "__main__":
    main()
