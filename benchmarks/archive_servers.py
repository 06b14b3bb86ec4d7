"""`make bench-archive`: archiving PostgreSQL and SQLite, against the fastest libraries there are.

One large table a server, and a thousand small ones. Every measurement is a process of its own (its peak memory is that
method's alone) that first copies a small table, so that nobody's imports are in the figures; rounds are interleaved.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import archive_sources
from benchmarks.archive_methods import METHODS, SLOW_METHODS
from benchmarks.measuring import Measured, print_table, run_apart
from benchmarks.small_tables import compare_small_tables
from tests.postgresql_server import run_postgresql

OURS = "adfml, 1 reader"


def compare_large(server: str, url: str, rows: int, rounds: int, folder: Path, slow_peers: bool) -> None:
    """Measure every method in turn, check what each one wrote, and print the table."""
    found: dict[str, list[Measured]] = {method: [] for method in METHODS}
    errors: dict[str, list[str]] = {}
    slow = [(0, method) for method in SLOW_METHODS] if slow_peers else []
    for number, method in [(number, method) for number in range(rounds) for method in METHODS] + slow:
        out = folder / "out"
        out.mkdir()
        try:
            measured = run_apart("benchmarks.archive_methods", method, server, url, str(out))
            found.setdefault(method, []).append(measured)
            if number == 0:
                errors[method] = _check(server, rows, measured.facts["paths"])
        except RuntimeError as error:
            errors[method] = [f"failed: {str(error).splitlines()[-1]}"]
            print(error, file=sys.stderr)
        finally:
            shutil.rmtree(out)
        last = found[method][-1:] if method in found else []
        print(server, method, *(f"{one.seconds:.2f} s" for one in last), file=sys.stderr, flush=True)
    _print_large(server, rows, rounds, found, errors)


def _check(server: str, rows: int, paths: Sequence[str]) -> list[str]:
    command = [sys.executable, "-m", "benchmarks.archive_truth", server, str(rows), *paths]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def _median(found: Sequence[Measured], name: str) -> float:
    return statistics.median(getattr(measured, name) for measured in found)


def _print_large(
    server: str, rows: int, rounds: int, found: dict[str, list[Measured]], errors: dict[str, list[str]]
) -> None:
    lines = []
    for method, measured in found.items():
        if not measured:
            lines.append((method, *["-"] * 7, "; ".join(errors[method])))
            continue
        seconds = _median(measured, "seconds")
        # Of each round by itself: what else the machine does changes from round to round.
        ratio = statistics.median(m.seconds / o.seconds for m, o in zip(measured, found[OURS], strict=False))
        lines.append(
            (
                method,
                f"{seconds:.2f}",
                f"{min(m.seconds for m in measured):.2f}",
                f"{rows / seconds:,.0f}",
                f"{_median(measured, 'peak_mb'):.0f}",
                f"{_median(measured, 'start_mb'):.0f}",
                f"{_median(measured, 'cpu_seconds'):.2f}",
                f"{ratio:.2f}",
                "; ".join(errors[method]) or "all right",
            )
        )
    title = (
        f"{server}: {rows:,} rows x {len(archive_sources.COLUMNS)} columns to Parquet (snappy), "
        f"medians of {rounds}, {os.cpu_count()} cores"
    )
    columns = (
        "method",
        "seconds",
        "fastest",
        "rows/s",
        "peak MB",
        "warm MB",
        "CPU s",
        "time to adfml",
        "types and values",
    )
    print_table(title, columns, lines)
    if found[OURS]:
        start = _median(found[OURS], "start_seconds")
        print(f"adfml, cold start (Python, imports, kernels, first table of 1,000 rows): {start:.2f} s\n", flush=True)


def main() -> None:
    """Parse the options, make the sources, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000, help="of the large table")
    parser.add_argument("--rounds", type=int, default=3, help="of the large tables")
    parser.add_argument("--tables", type=int, default=1000, help="how many small tables")
    parser.add_argument("--only", choices=("sqlite", "postgresql", "tables"), help="one of the comparisons")
    parser.add_argument("--slow-peers", action="store_true", help="with dlt, once: it takes minutes")
    options = parser.parse_args()
    for name in [name for name in os.environ if name.startswith(("ADFML_", "DAGSTER_"))]:
        del os.environ[name]
    wanted = {options.only} if options.only else {"sqlite", "postgresql", "tables"}
    with tempfile.TemporaryDirectory(prefix="bench") as root:
        folder = Path(root)
        if "sqlite" in wanted:
            path = folder / "large.sqlite"
            archive_sources.fill_sqlite(path, options.rows)
            compare_large("sqlite", f"sqlite:///{path}", options.rows, options.rounds, folder, options.slow_peers)
            path.unlink()
        if options.only != "sqlite":
            with run_postgresql() as server:
                if "postgresql" in wanted:
                    with server.database() as url:
                        archive_sources.fill_postgresql(url, options.rows)
                        address = url.render_as_string(hide_password=False)
                        compare_large("postgresql", address, options.rows, options.rounds, folder, options.slow_peers)
                if "tables" in wanted:
                    compare_small_tables(server, options.tables, folder)


if __name__ == "__main__":
    main()
