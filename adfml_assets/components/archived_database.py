"""`ArchivedDatabase`: tables of a SQL database, archived to the lake as Parquet, whole or by watermark."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import dagster as dg
from pydantic import ConfigDict

from adfml_assets.archive.copying import Archived, SourceTable
from adfml_assets.archive.increment import take_increment
from adfml_assets.archive.snapshot import take_snapshot
from adfml_assets.asset_keys import archive_key, incremental_key, parse_table
from adfml_assets.components.declaration import STRICT, describe
from adfml_assets.metadata import describe_partition
from adfml_assets.partitions import build_daily_partitions
from resources.completion_log import CompletionLog
from resources.control import ControlDatabase, utc_now
from resources.database import Databases
from resources.lake import Lake


@dataclass
class ArchivedTable(dg.Resolvable):
    """A table and, for incremental extracts, the column its rows are followed by."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    table: str
    watermark: str | None = None


@dataclass
class ArchivedDatabase(dg.Component, dg.Resolvable):
    """Tables of one database as assets, one a table, in daily partitions.

    Attributes:
        database: the name of the database; its address is in ADFML_<NAME>_URL.
        mode: `full` copies whole tables as they are now; `incremental` copies the rows since the last extract.
        tables: `schema.table` each; incremental ones with their `watermark` column.
        concurrency: tables copied at once (the ForEach activity's batchCount).
        adf_pipeline: the pipeline this takes the place of, for the descriptions.
        owners: people or `team:` names.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    database: str
    tables: Sequence[ArchivedTable]
    mode: Literal["full", "incremental"] = "full"
    concurrency: int = 10
    adf_pipeline: str | None = None
    owners: Sequence[str] = field(default_factory=list)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """One subsettable multi-asset: a table that fails leaves the others done."""
        sources = {self._build_key(t): (self._parse(t), t) for t in self.tables}
        specs = [self._build_spec(key, source, table) for key, (source, table) in sources.items()]

        @dg.multi_asset(
            name=f"{self.mode}_archive_of_{self.database}",
            specs=specs,
            can_subset=True,
            partitions_def=build_daily_partitions(),
            required_resource_keys={"databases", "lake", "control", "completion_log"},
        )
        def archived_tables(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
            yield from self._archive(sources, context)

        return dg.Definitions(assets=[archived_tables])

    def _parse(self, table: ArchivedTable) -> SourceTable:
        schema, name = parse_table(table.table)
        return SourceTable(self.database, schema, name)

    def _build_key(self, table: ArchivedTable) -> dg.AssetKey:
        schema, name = parse_table(table.table)
        build = archive_key if self.mode == "full" else incremental_key
        if self.mode == "incremental" and not table.watermark:
            raise dg.DagsterInvalidDefinitionError(
                f"{self.database}: table {table.table} is archived incrementally, but names no watermark column. "
                "Give it `watermark: <column>`, or archive it with `mode: full`."
            )
        return build(self.database, schema, name)

    def _build_spec(self, key: dg.AssetKey, source: SourceTable, table: ArchivedTable) -> dg.AssetSpec:
        what = (
            f"All rows of `{source.full_name}` as they were on the day, one snapshot a day. A past day that was not "
            "archived cannot be: the rows are no longer what they were."
            if self.mode == "full"
            else f"The rows of `{source.full_name}` that were added or changed since the last extract, by "
            f"`{table.watermark}`. Intervals are recorded before the data is read: none overlaps, none is missing."
        )
        return dg.AssetSpec(
            key,
            description=describe(what, self.adf_pipeline),
            group_name="archive" if self.mode == "full" else "incremental",
            kinds={"sql", "parquet"},
            owners=list(self.owners),
            metadata={"source": source.full_name, "watermark": table.watermark or "none"},
        )

    def _archive(
        self,
        sources: Mapping[dg.AssetKey, tuple[SourceTable, ArchivedTable]],
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[None]]:
        databases: Databases = context.resources.databases
        lake: Lake = context.resources.lake
        control: ControlDatabase = context.resources.control
        completion_log: CompletionLog = context.resources.completion_log
        now, day = utc_now(), context.partition_key
        failures: dict[str, Exception] = {}
        pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="archive")

        def submit(key: dg.AssetKey) -> Future[Archived]:
            source, table = sources[key]
            common: dict[str, Any] = {"asset": key.to_user_string(), "now": now, "run_id": context.run_id}
            if self.mode == "full":
                return pool.submit(take_snapshot, lake, databases, source, day, **common)
            intervals, watermark = control.intervals, str(table.watermark)
            return pool.submit(take_increment, lake, databases, intervals, source, watermark, day, **common)

        try:
            futures = {submit(key): key for key in sorted(context.selected_asset_keys)}
            for future in as_completed(futures):
                key = futures[future]
                error = future.exception()
                if error is None:
                    yield self._describe(context, lake, key, future.result())
                elif isinstance(error, Exception):
                    context.log.error("%s: %s", sources[key][0].full_name, error)
                    failures[sources[key][0].full_name] = error
                else:
                    raise error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        if failures:
            lines = "\n".join(f"- {name}: {error}" for name, error in sorted(failures.items()))
            raise dg.Failure(
                f"{len(failures)} of {len(futures)} tables were not archived; the others are.\n{lines}",
                allow_retries=False,
            )
        completion_log.post(
            {
                "status": "ARCHIVED",
                "database": self.database,
                "tablesArchived": len(futures),
                "archivePath": f"{'archive' if self.mode == 'full' else 'incremental'}/{self.database}",
                "timestamp": now.isoformat(),
            }
        )

    def _describe(
        self, context: dg.AssetExecutionContext, lake: Lake, key: dg.AssetKey, archived: Archived
    ) -> dg.MaterializeResult[None]:
        if archived.existing:
            context.log.info("%s: the snapshot of that day is there; nothing was copied.", key.to_user_string())
        shown = {name: str(value) for name, value in archived.manifest.facts.items()}
        return dg.MaterializeResult(
            asset_key=key,
            metadata={
                **describe_partition(lake, archived.folder, archived.manifest),
                **shown,
                "taken_by_this_run": not archived.existing,
            },
        )
