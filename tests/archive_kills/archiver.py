"""One archiving run: in the test's process, or in one of its own that a test can kill."""

from __future__ import annotations

import importlib
import os
import resource
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from multiprocessing.connection import Connection
from typing import Any

from adfml_assets.archive.copying import Archived
from adfml_assets.archive.increment import take_increment
from adfml_assets.archive.plan import ArchivePlan
from adfml_assets.archive.run import CopyOptions, closing_run
from adfml_assets.archive.snapshot import take_snapshot
from adfml_assets.archive.tables import SourceTable, TableRules
from resources.control import ControlDatabase
from resources.database import Databases
from resources.lake import Lake
from resources.parquet_files import ParquetOptions
from resources.servers.base import Watermark
from tests.conftest import NOW

SMALL_FILES = CopyOptions(ParquetOptions(row_group_bytes=120_000, file_bytes=120_000), readers=2, split_bytes=1)
"""Several files and readers for a table of some megabytes, so that there are many moments to die at."""


@dataclass(frozen=True)
class Order:
    """What a run is to archive.

    Attributes:
        mode: `full` or `incremental`.
        tables: of database `shop`, as `schema.table`.
        day: the partition, as a number of days after NOW.
        later_seconds: the run's clock, after the day's beginning at NOW's time.
        today: the run's day, where it is not the partition's.
        run_id: of the run.
        small_files: see SMALL_FILES.
        die_at: `module:name.of.function` at whose `die_call`-th call the process kills itself; None: it lives.
        die_after: whether after that call, not before it.
        die_call: 1 for the first.
        file_bytes_limit: how large a file this process may write, as a full disk would have it; None: any.
        environment: settings of the process.
    """

    mode: str
    tables: tuple[str, ...]
    day: int = 0
    later_seconds: int = 0
    today: int | None = None
    run_id: str = "run"
    small_files: bool = True
    die_at: str | None = None
    die_after: bool = False
    die_call: int = 1
    file_bytes_limit: int | None = None
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def partition(self) -> str:
        """The partition's key."""
        return f"{NOW + timedelta(days=self.day):%Y-%m-%d}"

    @property
    def now(self) -> datetime:
        """The run's clock."""
        days = self.day if self.today is None else self.today
        return NOW + timedelta(days=days, seconds=self.later_seconds)

    @property
    def sources(self) -> list[SourceTable]:
        """The tables."""
        return [SourceTable("shop", *name.split(".", 1)) for name in self.tables]


def name_asset(mode: str, source: SourceTable) -> str:
    """The asset's key of a table."""
    return f"{'archive' if mode == 'full' else 'incremental'}/shop/{source.schema}/{source.table}"


def archive_tables(order: Order) -> dict[str, Archived | Exception]:
    """Archive an order's tables side by side by one run, as the asset does: one that fails leaves the others done."""
    control, databases = ControlDatabase(), Databases()
    plan = ArchivePlan("shop", "full", {}, options=SMALL_FILES if order.small_files else CopyOptions())
    rules = TableRules(Watermark("ModifiedDate"))
    take = take_snapshot if order.mode == "full" else take_increment

    def archive(source: SourceTable) -> Archived | Exception:
        try:
            return take(run, source, rules, order.partition, asset=name_asset(order.mode, source))
        except Exception as error:
            return error

    try:
        opened = plan.open_run(databases, Lake(), control, now=order.now, run_id=order.run_id)
        with closing_run(opened) as run, ThreadPoolExecutor(len(order.tables)) as pool:
            return dict(zip(order.tables, pool.map(archive, order.sources), strict=True))
    finally:
        databases.engine("shop").dispose()
        control.engine.dispose()


def warm_up() -> None:
    """Import and compile what a run would only when it is under way: the moments to die at are those of its work."""
    from resources.servers.sqlite_library import load_kernels

    load_kernels()
    for name in ("obstore", "pyarrow.parquet", "psycopg", "tenacity", "resources.servers.postgresql_copying"):
        importlib.import_module(name)
    for name in ("resources.servers.sqlite", "resources.servers.sqlite_direct", "resources.control_tables"):
        importlib.import_module(name)


def prepare_death(order: Order) -> None:
    """Have the process kill itself at the order's moment."""
    if order.die_at is None:
        return
    module, _, path = order.die_at.partition(":")
    *owners, name = path.split(".")
    owner: Any = importlib.import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    original, calls = getattr(owner, name), iter(range(1, 1_000_000))

    def die(*arguments: Any, **keywords: Any) -> Any:
        number = next(calls)
        if number == order.die_call and not order.die_after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*arguments, **keywords)
        if number == order.die_call:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, die)


def limit_files(order: Order) -> None:
    """Let a file that grows too large fail to be written, as on a full disk, instead of ending the process."""
    if order.file_bytes_limit is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (order.file_bytes_limit, resource.RLIM_INFINITY))


def carry_out(order: Order, sender: Connection) -> None:
    """Say what this process is called at PostgreSQL, archive, and say what became of every table."""
    name = f"archiver {os.getpid()}"
    os.environ.update(order.environment)
    os.environ["PGAPPNAME"] = name
    prepare_death(order)
    limit_files(order)
    sender.send(name)
    outcomes = archive_tables(order)
    sender.send(
        {
            table: f"{type(outcome).__name__}: {outcome}" if isinstance(outcome, Exception) else "archived"
            for table, outcome in outcomes.items()
        }
    )
