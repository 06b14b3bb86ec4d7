"""`make bench-features`: the features of DF_FeatureEngineering over generated transactions, against others that can.

Ranges of 30 and 7 days by customer, calendar, logarithm, days since the first transaction and the filter for each
transaction, and counts by category for each customer. Every measurement is a process of its own (its peak memory is
that method's alone) that first does the same over a few rows; rounds are interleaved; all must give the same rows and
sums.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.features_data import write_transactions
from benchmarks.features_methods import METHODS
from benchmarks.measuring import Measured, print_table, run_apart

OURS = "adfml"
WARM_ROWS = 20_000
TITLES = {
    "adfml": "adfml: one ibis expression",
    "duckdb": "DuckDB, SQL by hand",
    "polars": "polars, lazy",
    "pandas": "pandas",
    "spark": "Spark in this machine, SQL by hand",
    "adfml-spark": "adfml, engine: spark",
}


def compare(folder: Path, rows: int, rounds: int, methods: Sequence[str]) -> None:
    """Measure every method in turn, hold its results to those of the first one, and print the table."""
    found: dict[str, list[Measured]] = {method: [] for method in methods}
    verdicts: dict[str, str] = {}
    truth = ""
    for number, method in [(number, method) for number in range(rounds) for method in methods]:
        if verdicts.get(method, "").startswith("failed"):
            continue
        out = folder / "out"
        out.mkdir()
        try:
            measured = run_apart(
                "benchmarks.features_methods", method, *map(str, (folder / "warm", folder / "data", out))
            )
            found[method].append(measured)
            if number == 0:
                summary = _summarise(measured)
                truth = truth or summary
                verdicts[method] = _compare_summaries(truth, summary)
        except RuntimeError as error:
            verdicts[method] = f"failed: {_find_error(str(error))}"
            print(error, file=sys.stderr)
        finally:
            shutil.rmtree(out)
        last = found[method][-1:]
        print(method, *(f"{one.seconds:.2f} s, {_peak(one):.0f} MB" for one in last), file=sys.stderr, flush=True)
    _print(rows, rounds, found, verdicts)


def _find_error(said: str) -> str:
    """The line of a traceback that names the error; libraries say much after it."""
    lines = said.splitlines()
    return next((line for line in reversed(lines) if re.match(r"[\w.]+(Error|Exception|Exit): ", line)), lines[-1])


def _summarise(measured: Measured) -> str:
    command = [sys.executable, "-m", "benchmarks.features_truth"]
    for name in ("features", "categories"):
        command += [name, *measured.facts[name]]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _compare_summaries(truth: str, found: str) -> str:
    """What differs by more than a millionth, or that nothing does. A summary has a line a figure: name, value."""
    wanted, figures = (dict(line.split("\t") for line in text.splitlines()) for text in (truth, found))
    if missing := sorted(wanted.keys() ^ figures.keys()):
        return f"differs: has not, or has alone: {', '.join(missing)}"
    different = [
        f"{name} {figures[name]} instead of {value}"
        for name, value in wanted.items()
        if abs(float(figures[name]) - float(value)) > 1e-6 * abs(float(value))
    ]
    return f"differs: {'; '.join(different)}" if different else "the same rows and sums"


def _peak(measured: Measured) -> float:
    """Of the process and of one beside it: Spark's own."""
    return measured.peak_mb + float(measured.facts.get("peak_beside_mb", 0.0))


def _print(rows: int, rounds: int, found: dict[str, list[Measured]], verdicts: dict[str, str]) -> None:
    lines = []
    for method, measured in found.items():
        if not measured:
            lines.append((TITLES[method], *["-"] * 5, verdicts[method]))
            continue
        seconds = statistics.median(m.seconds for m in measured)
        # Of each round by itself: what else the machine does changes from round to round.
        ratios = [m.seconds / o.seconds for m, o in zip(measured, found.get(OURS, []), strict=False)]
        lines.append(
            (
                TITLES[method],
                f"{seconds:.2f}",
                f"{min(m.seconds for m in measured):.2f}",
                f"{rows / seconds:,.0f}",
                f"{statistics.median(map(_peak, measured)):,.0f}",
                f"{statistics.median(ratios):.2f}" if ratios else "-",
                verdicts[method],
            )
        )
    print_table(
        f"Features of {rows:,} transactions to Parquet, medians of {rounds}, {os.cpu_count()} cores",
        ("method", "seconds", "fastest", "rows/s", "peak MB", "time to adfml", "result"),
        lines,
    )


def main() -> None:
    """Parse the options, make the transactions, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000, help="transactions")
    parser.add_argument("--rounds", type=int, default=3, help="of all methods, interleaved")
    parser.add_argument(
        "--only", nargs="+", choices=METHODS, default=[*METHODS], help="methods; the first is the truth"
    )
    options = parser.parse_args()
    for name in [name for name in os.environ if name.startswith(("ADFML_", "DAGSTER_"))]:
        del os.environ[name]
    with tempfile.TemporaryDirectory(prefix="bench") as root:
        for name, rows in (("warm", WARM_ROWS), ("data", options.rows)):
            (Path(root) / name).mkdir()
            write_transactions(Path(root) / name, rows)
        compare(Path(root), options.rows, options.rounds, options.only)


if __name__ == "__main__":
    main()
