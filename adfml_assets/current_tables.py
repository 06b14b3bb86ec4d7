"""Tables' current states as assets, next to the snapshots and extracts they are put together from."""

from collections.abc import Iterator, Sequence

import dagster as dg

from adfml_assets.about import About
from adfml_assets.archive.current import build_current
from adfml_assets.archive.tables import SourceTable, TableRules
from adfml_assets.asset_keys import archive_key, current_key, incremental_key
from adfml_assets.failures import tell_failures
from adfml_assets.metadata import describe_partition
from adfml_assets.partitions import build_daily_partitions
from resources.control import ControlDatabase, utc_now
from resources.lake import Lake
from resources.manifest import remove_unnamed, write_manifest


def build_current_tables(
    database: str,
    tables: Sequence[tuple[SourceTable, TableRules]],
    adf_pipeline: str | None,
    owners: Sequence[str],
) -> Iterator[dg.AssetsDefinition]:
    """One asset a table: its state as of a day."""
    for source, rules in tables:
        yield _build_asset(database, source, rules, adf_pipeline, owners)


def _build_asset(
    database: str, source: SourceTable, rules: TableRules, adf_pipeline: str | None, owners: Sequence[str]
) -> dg.AssetsDefinition:
    names = (database, source.schema, source.table)
    key = current_key(*names)

    @dg.asset(
        key=key,
        deps=[archive_key(*names), incremental_key(*names)],
        **_describe(source.full_name).build_options(adf_pipeline),
        partitions_def=build_daily_partitions(),
        group_name="current",
        kinds={"duckdb", "parquet"},
        owners=list(owners),
        required_resource_keys={"lake", "control"},
    )
    @tell_failures
    def current_table(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        lake: Lake = context.resources.lake
        control: ControlDatabase = context.resources.control
        now, day = utc_now(), context.partition_key
        claims = control.claims
        claim = claims.take(key.to_user_string(), day, now, context.run_id)
        folder, manifest = build_current(lake, source, rules, day, claim, now=now, run_id=context.run_id)
        if claims.commit(claim, lambda: write_manifest(lake, folder, manifest)):
            remove_unnamed(lake, folder, manifest, before=claim.stamp)
        else:
            context.log.info("A later run's state of that day stands; this one's is not used.")
            for file in manifest.files:
                lake.delete(f"{folder}/{file.name}")
        facts = {name: str(value) for name, value in manifest.facts.items()}
        return dg.MaterializeResult(metadata={**describe_partition(lake, folder, manifest), **facts})

    return current_table


def _describe(name: str) -> About:
    return About(
        what=f"`{name}` as of the day, put together in the lake: the newest full snapshot up to then and the extracts "
        "read after it.",
        partition="a UTC day: of every key the row with the largest watermark that was archived up to then.",
        materialising="reads the archive alone; the source is not asked. Deletes after the last full snapshot are not "
        "seen.",
        failing="means that neither a snapshot nor an extract is there up to the day, or that the table has no primary "
        "key: materialise one, or declare the key at the source.",
        activity="no counterpart in the pipelines: they leave extracts and never put them together",
    )
