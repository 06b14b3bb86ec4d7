"""`ArchivedDatabase`: tables of SQL databases, archived to the lake as Parquet, whole, by watermark, or both."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import dagster as dg
from dagster.components.utils.defs_state import DefsStateConfig, DefsStateConfigArgs, ResolvedDefsStateConfig
from pydantic import ConfigDict

from adfml_assets.archive.discovery import DiscoveredTables, read_tables, write_tables
from adfml_assets.archive.plan import ArchiveMode, ArchivePlan, PlannedTable
from adfml_assets.archive.run import CopyOptions
from adfml_assets.archive.tables import SourceTable, TableRules
from adfml_assets.archive_assets import build_archive_assets
from adfml_assets.archive_checks import build_archive_checks
from adfml_assets.archive_schedule import build_archive_schedule, build_check_schedule
from adfml_assets.asset_keys import archive_key, incremental_key, parse_table
from adfml_assets.components.declaration import STRICT, DailySchedule, Schedule, require_secret_name
from adfml_assets.current_tables import build_current_tables
from adfml_assets.new_tables import build_new_tables_job, list_new_tables
from resources.control import utc_now
from resources.database import Databases
from resources.parquet_files import ParquetOptions
from resources.secret_values import DatabaseSecrets
from resources.servers.base import Mismatches, TableName, Watermark, WatermarkKind
from resources.servers.opening import open_server
from resources.servers.patterns import TablePatterns
from resources.settings import database_setting
from sensors.new_tables_sensor import build_new_tables_sensor


def _keep_state_in_files() -> DefsStateConfigArgs:
    # Not refreshed whenever `dg` loads the code location: that would need every database to answer.
    local = DefsStateConfigArgs.local_filesystem()
    return DefsStateConfigArgs(management_type=local.management_type, refresh_if_dev=False)


@dataclass
class ArchivedTable(dg.Resolvable):
    """A table and how it is archived.

    Attributes:
        table: `schema.table`.
        mode: `full`, `incremental` or `both`; left out: the component's mode.
        watermark: the column that rows are followed by; needed for incremental extracts.
        watermark_kind: `datetime`, `integer`, or SQL Server's `rowversion`.
        lag_seconds: rows younger than this are left to the next extract, for transactions that commit late.
        leave_out: columns that are not archived.
        hash: columns whose values are replaced by a keyed hash (ADFML_HASH_KEY).
        personal: columns of personal data that are archived as they are: the UI shows no sample of them, nor of what is
            made of them.
        where: a SQL condition; rows for which it does not hold are not archived.
        asset_name: the last part of the asset's key; needed where two tables' names differ only in characters that
            Dagster does not allow.
        current: also build the table's current state as of each day, from snapshots and increments.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    table: str
    mode: Literal["full", "incremental", "both"] | None = None
    watermark: str | None = None
    watermark_kind: WatermarkKind = "datetime"
    lag_seconds: int = 0
    leave_out: Sequence[str] = field(default_factory=list)
    hash: Sequence[str] = field(default_factory=list)
    personal: Sequence[str] = field(default_factory=list)
    where: str | None = None
    asset_name: str | None = None
    current: bool = False


class ArchiveSchedule(DailySchedule):
    """When a database is archived."""


@dataclass
class ArchivedDatabase(dg.StateBackedComponent, dg.Resolvable):
    """Tables of one or several databases as assets, one a table, in daily partitions.

    Attributes:
        database: the name of the database; its address is in ADFML_<NAME>_URL.
        databases: names of several databases that hold the same tables, in place of `database`.
        mode: `full` copies whole tables as they are now; `incremental` the rows since the last extract; `both`.
        tables: the tables that are declared one by one.
        include: patterns over `schema.table`; tables that fit are archived whole without being declared. The list of
            those found is kept as state and refreshed by `dg utils refresh-defs-state`.
        exclude: patterns of tables that `include` shall not choose.
        new_tables: what becomes of tables that fit `include` and were not there at the last refresh: `report` them,
            or `archive` them at once and with every whole run.
        concurrency: tables copied at once (the ForEach activity's batchCount).
        readers: connections that read one table larger than 256 MB, where the server lets them share a snapshot.
        compression: of the Parquet files.
        times: times of day as text, which every reader takes, or as Parquet's `time`, for which Spark refuses the file.
        mismatches: what becomes of values that are not of their column's declared type (SQLite keeps such): the table
            fails, or they are kept as text in the column `_mismatched`.
        watermarks_in: whether the table ArchiveWatermark is in the control database or in the source.
        fresh_within_hours: the check `fresh` fails when the last partition is older.
        schedule: when all tables are archived; on in production (`ADFML_ENVIRONMENT`), elsewhere when it is turned on.
        check_schedule: when the archive is checked against its manifests and the source; on as `schedule` is.
        adf_pipeline: the pipeline this takes the place of, for the descriptions.
        owners: people or `team:` names.
        url_secret: the name of the Key Vault secret that holds the database's SQLAlchemy URL, in place of
            ADFML_<NAME>_URL.
        password_secret: the name of the Key Vault secret that holds the password alone; the URL has a user and none.
        defs_state: how the list of discovered tables is kept; see Dagster's StateBackedComponent.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    database: str | None = None
    databases: Sequence[str] = field(default_factory=list)
    tables: Sequence[ArchivedTable] = field(default_factory=list)
    mode: Literal["full", "incremental", "both"] = "full"
    include: Sequence[str] = field(default_factory=list)
    exclude: Sequence[str] = field(default_factory=list)
    new_tables: Literal["report", "archive"] = "report"
    concurrency: int = 10
    readers: int = 2
    compression: Literal["snappy", "zstd"] = "snappy"
    times: Literal["text", "time"] = "text"
    mismatches: Mismatches = "fail"
    watermarks_in: Literal["control", "source"] = "control"
    fresh_within_hours: float = 36.0
    schedule: ArchiveSchedule | None = None
    check_schedule: Schedule | None = None
    adf_pipeline: str | None = None
    owners: Sequence[str] = field(default_factory=list)
    url_secret: str | None = None
    password_secret: str | None = None
    defs_state: ResolvedDefsStateConfig = field(default_factory=_keep_state_in_files)

    @property
    def defs_state_config(self) -> DefsStateConfig:
        """Where the list of discovered tables is kept."""
        default = f"ArchivedDatabase[{','.join(self._list_databases())}:{self.mode}]"
        return DefsStateConfig.from_args(self.defs_state, default_key=default)

    def write_state_to_path(self, state_path: Path) -> None:
        """List the tables of every database that the patterns choose; those that are gone stay."""
        found = {}
        for database in self._list_databases() if self.include else ():
            setting = database_setting(database)
            server = open_server(Databases().engine(database, self._secrets), database, setting)
            found[database] = tuple(self._patterns.choose(server.list_tables()))
        write_tables(state_path, DiscoveredTables(found, utc_now()).keep_missing(read_tables(state_path)))

    def build_defs_from_state(self, context: dg.ComponentLoadContext, state_path: Path | None) -> dg.Definitions:
        """The assets, checks, sensors and schedules of every database; no database is asked."""
        self._check()
        discovered = read_tables(state_path) if self.include else DiscoveredTables()
        databases = self._list_databases()
        return dg.Definitions.merge(*(self._build_database(name, discovered.of(name)) for name in databases))

    def _build_database(self, database: str, discovered: Sequence[TableName]) -> dg.Definitions:
        plans = [plan for mode in ("full", "incremental") if (plan := self._plan(database, mode, discovered)).tables]
        if not plans and self.include:
            # Nothing was listed yet: there is still what watches for tables.
            plans = [self._plan(database, "full", discovered)]
        assets = [build_archive_assets(plan) for plan in plans if plan.tables]
        current = build_current_tables(database, self._list_current(database), self.adf_pipeline, self.owners)
        checks = [build_archive_checks(plan, self.fresh_within_hours) for plan in plans if plan.tables]
        defs = dg.Definitions(assets=[*assets, *current], asset_checks=checks)
        extra = [self._watch(plan) for plan in plans if plan.patterns.include]
        if self.schedule:
            extra.append(build_archive_schedule(database, assets, self.schedule.expression, self.schedule.timezone))
        if self.check_schedule:
            when = self.check_schedule
            extra.append(build_check_schedule(database, checks, when.expression, when.timezone))
        return dg.Definitions.merge(defs, *extra)

    def _watch(self, plan: ArchivePlan) -> dg.Definitions:
        job = build_new_tables_job(plan) if plan.adds_new_tables else None
        sensor = build_new_tables_sensor(plan.database, lambda databases: list_new_tables(plan, databases), job)
        return dg.Definitions(sensors=[sensor], jobs=[job] if job else [])

    def _plan(self, database: str, mode: ArchiveMode, discovered: Sequence[TableName]) -> ArchivePlan:
        patterns = self._patterns if mode == "full" else TablePatterns()
        return ArchivePlan(
            database=database,
            mode=mode,
            tables=_mark_collisions(list(self._list_planned(database, mode, discovered if mode == "full" else ()))),
            patterns=patterns,
            adds_new_tables=self.new_tables == "archive" and bool(patterns.include),
            options=CopyOptions(
                ParquetOptions(compression=self.compression), times_typed=self.times == "time", readers=self.readers
            ),
            concurrency=self.concurrency,
            mismatches=self.mismatches,
            watermarks_in=self.watermarks_in,
            secrets=self._secrets,
            adf_pipeline=self.adf_pipeline,
            owners=tuple(self.owners),
        )

    def _list_planned(
        self, database: str, mode: ArchiveMode, discovered: Sequence[TableName]
    ) -> Iterator[tuple[dg.AssetKey, PlannedTable]]:
        build = archive_key if mode == "full" else incremental_key
        declared = set()
        for table in self.tables:
            schema, name = parse_table(table.table)
            declared.add(TableName(schema, name))
            if (table.mode or self.mode) in (mode, "both"):
                key = build(database, schema, table.asset_name or name)
                yield key, PlannedTable(SourceTable(database, schema, name), _build_rules(table))
        for found in discovered:
            if found not in declared:
                source = SourceTable(database, found.schema, found.table)
                yield build(database, found.schema, found.table), PlannedTable(source, TableRules())

    def _list_current(self, database: str) -> list[tuple[SourceTable, TableRules]]:
        wanted = [table for table in self.tables if table.current]
        return [(SourceTable(database, *parse_table(table.table)), _build_rules(table)) for table in wanted]

    @property
    def _patterns(self) -> TablePatterns:
        return TablePatterns(tuple(self.include), tuple(self.exclude))

    @property
    def _secrets(self) -> DatabaseSecrets:
        return DatabaseSecrets(self.url_secret, self.password_secret)

    def _list_databases(self) -> list[str]:
        return [self.database] if self.database else list(self.databases)

    def _check(self) -> None:
        """Refuse what cannot be: each with what to write instead."""
        where = ", ".join(self._list_databases()) or "ArchivedDatabase"
        require_secret_name(where, "url_secret", self.url_secret)
        require_secret_name(where, "password_secret", self.password_secret)
        if bool(self.database) == bool(self.databases):
            raise dg.DagsterInvalidDefinitionError(f"{where}: give either `database` or `databases`.")
        if "current" in self._list_databases():
            raise dg.DagsterInvalidDefinitionError("No database may be called `current`: the lake has a folder of it.")
        if self.include and self.mode == "incremental":
            raise dg.DagsterInvalidDefinitionError(
                f"{where}: tables found by `include` have no watermark and can only be archived whole. Set the "
                "component's `mode: full`, and `mode: incremental` at the tables that have a `watermark`."
            )
        if not (self.include or self.tables):
            raise dg.DagsterInvalidDefinitionError(f"{where}: declare `tables`, or patterns to `include`.")
        for table in self.tables:
            if (table.mode or self.mode) != "full" and not table.watermark:
                raise dg.DagsterInvalidDefinitionError(
                    f"{where}: table {table.table} is archived incrementally, but names no watermark column. "
                    "Give it `watermark: <column>`, or archive it with `mode: full`."
                )
            if table.lag_seconds and table.watermark_kind != "datetime":
                raise dg.DagsterInvalidDefinitionError(
                    f"{where}: table {table.table} has `lag_seconds`, which only a datetime watermark can have; its "
                    f"kind is {table.watermark_kind}."
                )


def _build_rules(table: ArchivedTable) -> TableRules:
    watermark = Watermark(table.watermark, table.watermark_kind, table.lag_seconds) if table.watermark else None
    return TableRules(watermark, tuple(table.leave_out), tuple(table.hash), tuple(table.personal), table.where)


def _mark_collisions(planned: Sequence[tuple[dg.AssetKey, PlannedTable]]) -> dict[dg.AssetKey, PlannedTable]:
    """By key. Of tables that share one the first keeps it; the others get a key of their own, under which they fail.

    A table whose name needs no replacing comes before one whose name does, so that a new one takes no other's key.
    """
    by_key: dict[dg.AssetKey, list[PlannedTable]] = {}
    for key, table in planned:
        by_key.setdefault(key, []).append(table)
    marked = {}
    for key, tables in by_key.items():
        tables.sort(key=lambda table: table.source.table != key.path[-1])
        names = tuple(f"{table.source.schema}.{table.source.table}" for table in tables)
        marked[key] = tables[0]
        for other in tables[1:]:
            digest = hashlib.sha256(other.source.full_name.encode()).hexdigest()[:8]
            own_key = dg.AssetKey([*key.path[:-1], f"{key.path[-1]}_{digest}"])
            marked[own_key] = PlannedTable(other.source, other.rules, names)
    return marked
