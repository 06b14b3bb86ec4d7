"""A thousand small tables: what a table costs above its rows, as Dagster assets, as plain functions, and by hand.

`python -m benchmarks.small_tables <time> <method> <server> <url> <tables> <folder>` measures one method.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.archive_methods import open_adbc, open_duckdb
from benchmarks.archive_sources import SMALL_ROWS, fill_small_postgresql, fill_small_sqlite, name_small
from benchmarks.measuring import Measured, print_table, report, run_apart

if TYPE_CHECKING:
    import dagster as dg

    from adfml_assets.archive.plan import ArchivePlan
    from tests.postgresql_server import RunningPostgresql

CONCURRENCY = 10
WARM_TABLES = 20
RAW = "DuckDB scanner, a COPY a table"
DAGSTER_ALONE = "Dagster alone: the same events, no copy"

Prepare = Callable[[str, str, Sequence[str], Path], Callable[[], None]]
"""Gets (server, URL, tables, folder) ready, and gives what is measured."""


def _configure(url: str, folder: Path) -> None:
    os.environ |= {
        "ADFML_SHOP_URL": url,
        "ADFML_LAKE": str(folder / "lake"),
        "ADFML_CONTROL_URL": f"sqlite:///{folder}/control.sqlite",
    }


def _today() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d}"


def _build_plan(server: str, tables: Sequence[str]) -> ArchivePlan:
    from adfml_assets.archive.plan import ArchivePlan, PlannedTable
    from adfml_assets.archive.tables import SourceTable, TableRules
    from adfml_assets.asset_keys import archive_key

    schema = "main" if server == "sqlite" else "public"
    planned = {
        archive_key("shop", schema, name): PlannedTable(SourceTable("shop", schema, name), TableRules())
        for name in tables
    }
    return ArchivePlan("shop", "full", planned, concurrency=CONCURRENCY)


def _prepare_job(
    assets: dg.AssetsDefinition, resources: Mapping[str, object], folder: Path, *, day: str
) -> Callable[[], None]:
    import dagster as dg

    defs = dg.Definitions([assets], resources=resources, executor=dg.in_process_executor)
    job = defs.get_repository_def().get_implicit_job_def_for_assets(list(assets.keys))
    assert job is not None  # noqa: S101 - the assets are one job's
    (folder / "dagster").mkdir()
    instance = dg.DagsterInstance.local_temp(str(folder / "dagster"))

    def run() -> None:
        result = job.execute_in_process(partition_key=day, instance=instance)
        found = len(result.get_asset_materialization_events())
        if found != len(assets.keys):
            raise RuntimeError(f"{found} materialisations of {len(assets.keys)} assets")

    return run


def prepare_assets(server: str, url: str, tables: Sequence[str], folder: Path) -> Callable[[], None]:
    """The multi-asset that the component builds, in a run of its own with a real event log."""
    from adfml_assets.archive_assets import build_archive_assets
    from resources.completion_log import CompletionLog
    from resources.control import ControlDatabase
    from resources.database import Databases
    from resources.lake import Lake

    _configure(url, folder)
    resources = {
        "databases": Databases(),
        "lake": Lake(),
        "control": ControlDatabase(),
        "completion_log": CompletionLog(),
    }
    return _prepare_job(build_archive_assets(_build_plan(server, tables)), resources, folder, day=_today())


def prepare_dagster_alone(server: str, _url: str, tables: Sequence[str], folder: Path) -> Callable[[], None]:
    """As many assets and as much metadata, and nothing else: what is Dagster's own."""
    import dagster as dg

    from adfml_assets.partitions import build_daily_partitions

    plan = _build_plan(server, tables)

    @dg.multi_asset(
        specs=[dg.AssetSpec(key) for key in plan.tables],
        can_subset=True,
        partitions_def=build_daily_partitions(),
    )
    def nothing(context):  # bare: Dagster resolves annotations, and this module imports it late
        for key in sorted(context.selected_asset_keys):
            yield dg.MaterializeResult(asset_key=key, metadata=_build_metadata())

    return _prepare_job(nothing, {}, folder, day=_today())


def _build_metadata() -> dict[str, Any]:
    """Entries of the kinds and sizes that an archived table has."""
    import dagster as dg

    columns = [dg.TableColumn(name, "decimal128(12, 2)", "numeric(12,2)") for name in "abcdef"]
    sample = "\n".join(["| 1 | name 1 | 0.25 | 2026-01-02 00:00:00 | False | 1 |"] * 7)
    return {
        "dagster/row_count": SMALL_ROWS,
        "dagster/uri": "file:///lake/archive/shop/public/t0001/snapshot_date=2026-01-01",
        "dagster/column_schema": dg.TableSchema(columns),
        "bytes": 3000,
        "files": 1,
        "written_at": dg.MetadataValue.timestamp(datetime.now(UTC)),
        "primary_key": "['id']",
        "rows_at_source": "10",
        "megabytes": 0.003,
        "isolation": "one state of the whole database",
        "taken_by_this_run": True,
        "seconds": 0.1,
        "rows_per_second": 100,
        "sample": dg.MetadataValue.md(sample),
    }


def prepare_functions(server: str, url: str, tables: Sequence[str], folder: Path) -> Callable[[], None]:
    """take_snapshot of every table on as many threads, without Dagster."""
    from concurrent.futures import ThreadPoolExecutor

    from adfml_assets.archive.run import closing_run
    from adfml_assets.archive.snapshot import take_snapshot
    from resources.control import ControlDatabase
    from resources.database import Databases
    from resources.lake import Lake

    _configure(url, folder)
    plan, control = _build_plan(server, tables), ControlDatabase()

    def run() -> None:
        opened = plan.open_run(Databases(), Lake(), control, now=datetime.now(UTC), run_id="benchmark")
        with closing_run(opened) as copies, ThreadPoolExecutor(CONCURRENCY) as pool:
            pending = [
                pool.submit(take_snapshot, copies, table.source, table.rules, _today(), asset=key.to_user_string())
                for key, table in plan.tables.items()
            ]
            for future in pending:
                future.result()

    return run


def prepare_duckdb(server: str, url: str, tables: Sequence[str], folder: Path) -> Callable[[], None]:
    """DuckDB's scanner, one COPY a table, over one attached database."""

    def run() -> None:
        with open_duckdb(server, url) as connection:
            for table in tables:
                connection.execute(
                    f"COPY source.{table} TO '{folder}/{table}.parquet' (FORMAT parquet, COMPRESSION snappy)"
                )

    return run


def prepare_adbc(server: str, url: str, tables: Sequence[str], folder: Path) -> Callable[[], None]:
    """ADBC and pyarrow's writer over one connection, in the types it gives."""
    import pyarrow.parquet as pq

    def run() -> None:
        with open_adbc(server, url) as connection, connection.cursor() as cursor:
            for table in tables:
                cursor.execute(f"SELECT * FROM {table}")  # noqa: S608 - a constant
                pq.write_table(cursor.fetch_arrow_table(), folder / f"{table}.parquet", compression="snappy")

    return run


METHODS: dict[str, Prepare] = {
    "adfml in Dagster": prepare_assets,
    "adfml without Dagster": prepare_functions,
    RAW: prepare_duckdb,
    "ADBC, pyarrow": prepare_adbc,
    DAGSTER_ALONE: prepare_dagster_alone,
}


def _measure(started: str, method: str, server: str, url: str, tables: str, folder: str) -> None:
    prepare, names = METHODS[method], name_small(int(tables))
    ready: list[Callable[[], None]] = []
    prepare_seconds = 0.0

    def warm_up() -> None:
        nonlocal prepare_seconds
        for part, chosen in (("warm", names[:WARM_TABLES]), ("all", names)):
            (Path(folder) / part).mkdir()
            clock = time.monotonic()
            ready.append(prepare(server, url, chosen, Path(folder) / part))
            prepare_seconds = time.monotonic() - clock
            if part == "warm":
                ready.pop()()

    def act() -> dict[str, Any]:
        ready[0]()
        return {"prepare_seconds": prepare_seconds}

    report(started, warm_up, act)


def compare_small_tables(server: RunningPostgresql, tables: int, folder: Path) -> None:
    """Measure every method over both servers, once each, and print a table a server.

    Dagster alone touches no server: it is measured once.
    """
    path = folder / "small.sqlite"
    fill_small_sqlite(path, tables)
    alone = _compare("sqlite", f"sqlite:///{path}", tables, folder, {})
    with server.database() as url:
        fill_small_postgresql(url, tables)
        _compare("postgresql", url.render_as_string(hide_password=False), tables, folder, {DAGSTER_ALONE: alone})


def _compare(server: str, url: str, tables: int, folder: Path, known: dict[str, Measured]) -> Measured:
    """Print a server's table; gives what Dagster alone cost."""
    found: dict[str, Measured] = {}
    for method in METHODS:
        if method in known:
            found[method] = known[method]
            continue
        out = folder / "out"
        out.mkdir()
        try:
            found[method] = run_apart("benchmarks.small_tables", method, server, url, str(tables), str(out))
            if method != DAGSTER_ALONE:
                _require_rows(method, out / "all", tables)
        finally:
            shutil.rmtree(out)
        print(server, method, f"{found[method].seconds:.2f} s", file=sys.stderr, flush=True)
    raw, dagster = found[RAW].cpu_seconds, found[DAGSTER_ALONE].cpu_seconds
    lines = []
    for method, one in found.items():
        per_table = [one.cpu_seconds, one.cpu_seconds - raw, one.cpu_seconds - raw - dagster]
        figures = [f"{seconds / tables * 1000:.1f}" for seconds in per_table]
        if method in (RAW, DAGSTER_ALONE):
            figures[1:] = ["", ""]
        if method != "adfml in Dagster":
            figures[2] = ""
        ready = f"{one.facts['prepare_seconds']:.1f}"
        lines.append((method, f"{one.seconds:.1f}", ready, f"{one.peak_mb:.0f}", *figures, ""))
    title = f"{server}: {tables:,} tables of {SMALL_ROWS} rows x 6 columns, {os.cpu_count()} cores; CPU in ms a table"
    columns = ("method", "seconds", "getting ready, s", "peak MB", "CPU", "above DuckDB", "and above Dagster", "")
    print_table(title, columns, lines)
    return found[DAGSTER_ALONE]


def _require_rows(method: str, folder: Path, tables: int) -> None:
    import pyarrow.parquet as pq

    rows = sum(pq.read_metadata(path).num_rows for path in folder.rglob("*.parquet"))
    if rows != tables * SMALL_ROWS:
        raise RuntimeError(f"{method}: {rows} rows in the files in place of {tables * SMALL_ROWS}")


if __name__ == "__main__":
    _measure(*sys.argv[1:])
