"""`make bench-writeback`, its second half: rows scored inside their database, or taken out, scored and written back.

14 features, two models: a linear one with scaled features, and 100 boosted trees of 15 leaves. Every measurement is a
process of its own over a database of its own, after it has scored a few rows; rounds are interleaved. Both ways must
leave the same scores, to 1e-9.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sqlite3
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.in_database_methods import FEATURES, METHODS, MODEL, VERSION
from benchmarks.measuring import Measured, print_table, run_apart
from tests.postgresql_server import RunningPostgresql, connect, run_postgresql

SERVERS, MODELS = ("sqlite", "duckdb", "postgresql"), ("linear", "trees")
TITLES = {
    "inside": "adfml, engine in_database: compared, scored, written",
    "outside": "read as Arrow, scored by the Python model, written back",
}
WARM_ROWS = 2_000
_TABLE = (
    f'CREATE TABLE "Waiting" ("Id" BIGINT PRIMARY KEY, {", ".join(f"{name} DOUBLE PRECISION" for name in FEATURES)}, '
    '"ScoredDate" TIMESTAMP)'
)


def train(kind: str) -> Any:
    """A model of the features."""
    import numpy as np
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    random = np.random.default_rng(1)
    rows = random.gamma(2.0, 10.0, (20_000, len(FEATURES)))
    label = rows[:, 0] * 2 + np.sqrt(rows[:, 1]) * rows[:, 2] + random.normal(0, 5, len(rows))
    if kind == "linear":
        return make_pipeline(StandardScaler(), Ridge()).fit(rows, label)
    return HistGradientBoostingRegressor(max_iter=100, max_leaf_nodes=15, random_state=0).fit(rows, label)


def put_model(lake: Path, kind: str) -> None:
    """The model in a lake, as a training job leaves it."""
    from skops import io

    content = io.dumps(train(kind))
    folder = lake / "ml" / "models" / MODEL / f"version={VERSION}"
    folder.mkdir(parents=True)
    (folder / "model.skops").write_bytes(content)
    said = {
        "model": MODEL,
        "version": VERSION,
        "features": list(FEATURES),
        "model_file": "model.skops",
        "model_sha256": hashlib.sha256(content).hexdigest(),
    }
    (folder / "metadata.json").write_text(json.dumps(said))


def write_rows(rows: int) -> Iterator[tuple[Any, ...]]:
    """Rows of key, features and no date; none of the features is missing."""
    import numpy as np

    random = np.random.default_rng(2)
    for start in range(0, rows, 50_000):
        values = random.gamma(2.0, 10.0, (min(50_000, rows - start), len(FEATURES)))
        yield from ((start + number, *row, None) for number, row in enumerate(values.tolist()))


def make_sqlite(path: Path, rows: int) -> None:
    """A database of rows that wait."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(_TABLE)
        marks = ", ".join("?" * (len(FEATURES) + 2))
        connection.executemany(f'INSERT INTO "Waiting" VALUES ({marks})', write_rows(rows))  # noqa: S608
        connection.commit()


def make_duckdb(path: Path, rows: int) -> None:
    """The same in DuckDB."""
    import duckdb
    import pyarrow as pa

    with duckdb.connect(path) as connection:
        connection.execute(_TABLE)
        columns = list(zip(*write_rows(rows), strict=True))
        given = pa.table({f"c{number}": pa.array(values) for number, values in enumerate(columns)})
        connection.register("given", given)
        connection.execute('INSERT INTO "Waiting" FROM given')


def make_template(server: RunningPostgresql, name: str, rows: int) -> None:
    """The same as a database that others are copied from."""
    server.execute(f"CREATE DATABASE {name}")
    with connect(server.url.set(database=name)) as connection:
        connection.execute(_TABLE.encode())
        with connection.cursor() as cursor, cursor.copy(b'COPY "Waiting" FROM STDIN') as copy:
            for row in write_rows(rows):
                copy.write_row(row)
        connection.execute(b"VACUUM ANALYZE")


@contextmanager
def open_copy(kind: str, folder: Path, server: RunningPostgresql, template: str) -> Iterator[str]:
    """The URL of a database of rows that wait, for one measurement."""
    if kind != "postgresql":
        path = folder / f"{template}-copy.{kind}"
        shutil.copyfile(folder / f"{template}.{kind}", path)
        try:
            yield f"{kind}:///{path}"
        finally:
            path.unlink()
        return
    with server.database(f"TEMPLATE {template}") as url:
        yield url.render_as_string(hide_password=False)


def fetch_scores(url: str) -> dict[int, float]:
    """Key -> score, and nothing but scores of rows with a date."""
    import sqlalchemy as sa

    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        joined = '"Waiting" AS w JOIN "Predictions" AS p ON p."RecordId" = w."Id" WHERE w."ScoredDate" IS NOT NULL'
        found = connection.exec_driver_sql(f'SELECT w."Id", p."Score" FROM {joined}')  # noqa: S608
        return {int(key): float(score) for key, score in found}


def compare_scores(wanted: dict[int, float], found: dict[int, float]) -> str:
    """What differs, or that nothing does."""
    if wanted.keys() != found.keys():
        return f"differs: {len(found):,} rows instead of {len(wanted):,}"
    apart = max(abs(score - wanted[key]) / max(abs(wanted[key]), 1e-9) for key, score in found.items())
    return "the same" if apart <= 1e-9 else f"differs: by {apart:.1e}"


def measure(kind: str, model: str, rows: int, rounds: int, folder: Path, server: RunningPostgresql) -> None:
    """Every method in turn on one server by one model, and the table."""
    lake = folder / model / "lake"
    if not lake.is_dir():
        put_model(lake, model)
    found: dict[str, list[Measured]] = {method: [] for method in METHODS}
    verdicts: dict[str, str] = {}
    truth: dict[int, float] = {}
    for number, method in [(number, method) for number in range(rounds) for method in reversed(METHODS)]:
        with open_copy(kind, folder, server, "large") as url, open_copy(kind, folder, server, "warm") as warm:
            found[method].append(run_apart("benchmarks.in_database_methods", method, str(lake), url, warm))
            if number == 0:
                scores = fetch_scores(url)
                truth = truth or scores
                verdicts[method] = compare_scores(truth, scores) if len(scores) == rows else f"{len(scores):,} rows"
        steps = ", ".join(f"{name} {taken:.2f}" for name, taken in found[method][-1].facts["steps"].items())
        print(kind, model, method, f"{found[method][-1].seconds:.2f} s ({steps})", file=sys.stderr, flush=True)
    lines = []
    for method, measured in found.items():
        seconds = statistics.median(one.seconds for one in measured)
        ratio = statistics.median(o.seconds / i.seconds for o, i in zip(found["outside"], measured, strict=True))
        peak = statistics.median(one.peak_mb for one in measured)
        line = (TITLES[method], f"{seconds:.2f}", f"{rows / seconds:,.0f}", f"{peak:.0f}", f"{ratio:.2f}")
        lines.append((*line, verdicts[method]))
    title = f"{kind}, {model}: {rows:,} rows x {len(FEATURES)} features, medians of {rounds}, {os.cpu_count()} cores"
    columns = ("method", "seconds", "rows/s", "peak MB of the client", "speed to outside", "scores")
    print_table(title, columns, lines)


def main() -> None:
    """Parse the options, make the rows, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=SERVERS, help="one of the servers")
    parser.add_argument("--model", choices=MODELS, help="one of the models")
    options = parser.parse_args()
    for name in [name for name in os.environ if name.startswith(("ADFML_", "DAGSTER_"))]:
        del os.environ[name]
    with tempfile.TemporaryDirectory(prefix="bench") as root, run_postgresql() as server:
        folder = Path(root)
        kinds = [options.only] if options.only else list(SERVERS)
        for name, rows in (("large", options.rows), ("warm", WARM_ROWS)):
            if "sqlite" in kinds:
                make_sqlite(folder / f"{name}.sqlite", rows)
            if "duckdb" in kinds:
                make_duckdb(folder / f"{name}.duckdb", rows)
            if "postgresql" in kinds:
                make_template(server, name, rows)
        for kind in kinds:
            for model in [options.model] if options.model else MODELS:
                measure(kind, model, options.rows, options.rounds, folder, server)


if __name__ == "__main__":
    main()
