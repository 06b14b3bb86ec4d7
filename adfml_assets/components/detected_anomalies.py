"""`DetectedAnomalies`: telemetry that belongs together, fitted on the days before and checked day by day.

Takes the place of the pattern's DetectAnomalies activity (Anomaly Detector, multivariate, `:detect-last`), a service
that was retired on 1 October 2026: nothing is called, the work is done here, in the service's words.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any, ClassVar, Literal

import dagster as dg
from pydantic import ConfigDict, Field

from adfml_assets import lake_layout
from adfml_assets.anomalies.declared import DetectorSpec
from adfml_assets.anomalies.detecting import detect_anomalies
from adfml_assets.anomalies.readings import ArchivedSource, LiveSource, Source
from adfml_assets.anomalies.results import COLUMNS
from adfml_assets.anomalies.shown import build_check_result, describe_detection
from adfml_assets.anomalies.write_back import RESERVED, write_back_anomalies
from adfml_assets.archived_partitions import parse_reference, require_partition
from adfml_assets.asset_keys import anomalies_key, archive_key, current_key, table_key
from adfml_assets.components.anomaly_rules import Align, AnomalyThreshold, FitWindow, check_columns, require
from adfml_assets.components.declaration import STRICT, build_options
from adfml_assets.partitions import build_daily_partitions
from resources.control import utc_now
from resources.database import Databases
from resources.lake import Lake


@dataclass
class AnomalyWriteBack(dg.Resolvable):
    """Where what is found goes.

    Attributes:
        table: `database.schema.table`; made where it does not exist.
        rows: every row that was checked, or only anomalies.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    table: str
    rows: Literal["all", "anomalies"] = "all"


@dataclass
class DetectionSchedule(dg.Resolvable):
    """When the day's partition is checked.

    Attributes:
        cron: a cron expression.
        timezone: an IANA name; partitions stay UTC days.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    cron: str
    timezone: str = "UTC"


class DetectionConfig(dg.Config):
    """What a single run may do otherwise."""

    refit: bool = Field(default=False, description="Fit the models again, also where stored ones would be used.")


@dataclass
class DetectedAnomalies(dg.Component, dg.Resolvable):
    """Anomalies of several variables together, one partition a day.

    Attributes:
        name: of the detector.
        source: `database.schema.table` of the readings.
        timestamp: the column that says when; UTC where it has no zone.
        variables: the numeric columns that belong together, two or more.
        read_from: the table's `archive` (the snapshot of the partition's day), its `current` state of that day in the
            lake, or the live table in its `database`.
        by: the column that tells series apart, a machine's id say: a model each.
        fit: what the models are fitted on; before what is checked, unless declared otherwise.
        detect_days: how many days a partition checks, its own the last. With an archive that is taken early in the day
            two days miss nothing.
        as_of: `partition`: the checked days end with the partition's; `last_reading`: with the newest reading's, for
            data that has ended (recorded history, demo data).
        align: how readings become complete rows.
        components: the share of the variance that the kept components explain, between 0 and 1.
        threshold: when a row is an anomaly.
        top_contributors: how many variables are named at an anomaly (topContributorCount).
        errors: a series that cannot be fitted or checked fails the partition, or is left out and reported.
        write_back: the table that the rows go to; left out: none.
        schedule: when the day's partition is checked; off until it is turned on in the UI.
        adf_pipeline: the pipeline this takes the place of, for the descriptions.
        owners: people or `team:` names.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: str
    source: str
    timestamp: str
    variables: Sequence[str]
    read_from: Literal["archive", "current", "database"] = "archive"
    by: str | None = None
    fit: FitWindow = field(default_factory=FitWindow)
    detect_days: int = 1
    as_of: Literal["partition", "last_reading"] = "partition"
    align: Align = field(default_factory=Align)
    components: float = 0.95
    threshold: AnomalyThreshold = field(default_factory=AnomalyThreshold)
    top_contributors: int = 5
    errors: Literal["fail", "leave_out"] = "fail"
    write_back: AnomalyWriteBack | None = None
    schedule: DetectionSchedule | None = None
    adf_pipeline: str | None = None
    owners: Sequence[str] = field(default_factory=list)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """What was found, with its check, and the table it is written back to."""
        spec = self._build_spec()
        assets = [self._build_detection(spec), *self._build_write_back()]
        return dg.Definitions.merge(dg.Definitions(assets=assets), self._build_schedule(assets))

    def _options(self, what: str, kinds: set[str]) -> dict[str, Any]:
        return build_options(
            what,
            adf_pipeline=self.adf_pipeline,
            partitions=build_daily_partitions(),
            group="anomalies",
            kinds=kinds,
            owners=self.owners,
        )

    def _build_detection(self, spec: DetectorSpec) -> dg.AssetsDefinition:
        build_key = {"archive": archive_key, "current": current_key, "database": table_key}[self.read_from]
        key = anomalies_key(self.name)
        days = "day" if self.detect_days == 1 else f"{self.detect_days} days"
        series = f", a model for each `{self.by}`" if self.by else ""

        @dg.asset(
            key=key,
            deps=[build_key(*parse_reference(self.source))],
            check_specs=[
                dg.AssetCheckSpec(
                    "no_anomalies", asset=key, description="No anomalies, and no series that could not be checked."
                )
            ],
            output_required=True,
            **self._options(
                f"Anomalies of {', '.join(self.variables)} in `{self.source}` over the {days} of a partition{series}: "
                "rows in which they do not go together as they did before.",
                {"scikitlearn", "parquet"},
            ),
        )
        def anomalies(
            context: dg.AssetExecutionContext, config: DetectionConfig, lake: Lake, databases: Databases
        ) -> Iterator[dg.MaterializeResult[None]]:
            day = context.partition_key
            found = detect_anomalies(
                lake,
                spec,
                self._open_source(lake, databases, day),
                day,
                as_of=self.as_of,
                refit=config.refit,
                asset=context.asset_key.to_user_string(),
                now=utc_now(),
                run_id=context.run_id,
            )
            if not found.manifest.rows:
                context.log.warning("No readings in %s: the partition is empty.", found.windows.detect)
            yield dg.MaterializeResult(
                metadata=describe_detection(lake, found), check_results=[build_check_result(found)]
            )

        return anomalies

    def _open_source(self, lake: Lake, databases: Databases, day: str) -> Source:
        names = parse_reference(self.source)
        if self.read_from == "database":
            return LiveSource(self.source, databases, *names)
        build_key, build_folder = {
            "archive": (archive_key, lake_layout.archive_folder),
            "current": (current_key, lake_layout.current_folder),
        }[self.read_from]
        asset = build_key(*names).to_user_string()
        return ArchivedSource(self.source, lake, *require_partition(lake, build_folder(*names, day), asset, day))

    def _build_write_back(self) -> list[dg.AssetsDefinition]:
        if self.write_back is None:
            return []
        database, schema, table = parse_reference(self.write_back.table)
        which = self.write_back.rows
        what = "What was found" if which == "all" else "The anomalies"
        key = anomalies_key(self.name)

        @dg.asset(
            key=table_key(database, schema, table),
            deps=[key],
            **self._options(
                f"{what} in `{self.write_back.table}`, in one transaction. Writing a day twice changes nothing, and an "
                "older partition never overwrites a newer one.",
                {"sql"},
            ),
        )
        def anomalies_in_sql(
            context: dg.AssetExecutionContext, lake: Lake, databases: Databases
        ) -> dg.MaterializeResult[None]:
            day = context.partition_key
            folder = lake_layout.anomalies_folder(self.name, day)
            folder, manifest = require_partition(lake, folder, key.to_user_string(), day)
            written = write_back_anomalies(lake, databases, database, schema, table, folder, manifest, which)
            return dg.MaterializeResult(
                metadata={"dagster/row_count": written.rows, "kept_newer": written.kept_newer, "rows": which}
            )

        return [anomalies_in_sql]

    def _build_schedule(self, assets: Sequence[dg.AssetsDefinition]) -> dg.Definitions:
        if self.schedule is None:
            return dg.Definitions()
        name = f"detect_{anomalies_key(self.name).path[-1]}"
        job = dg.define_asset_job(name, selection=dg.AssetSelection.assets(*assets))

        @dg.schedule(
            name=name,
            job=job,
            cron_schedule=self.schedule.cron,
            execution_timezone=self.schedule.timezone,
            description=f"Looks for anomalies of `{self.name}` in the UTC day of the tick.",
            default_status=dg.DefaultScheduleStatus.STOPPED,
        )
        def detect(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
            tick = context.scheduled_execution_time or utc_now()
            # The tick's own day: one that comes late asks for the day that it was meant for.
            yield dg.RunRequest(run_key=tick.isoformat(), partition_key=f"{tick.astimezone(UTC):%Y-%m-%d}")

        return dg.Definitions(jobs=[job], schedules=[detect])

    def _build_spec(self) -> DetectorSpec:
        """The declaration as plain values.

        Raises:
            DagsterInvalidDefinitionError: something in it cannot be; with what to write instead.
        """
        written = set(RESERVED) if self.write_back else set()
        check_columns(self.name, self.timestamp, self.variables, self.by, set(COLUMNS), written)
        require(self.name, self.detect_days >= 1, "detect_days", self.detect_days, "1 or more")
        share = "a share between 0 and 1, such as 0.95"
        require(self.name, 0 < self.components < 1, "components", self.components, share)
        require(self.name, self.top_contributors >= 1, "top_contributors", self.top_contributors, "1 or more")
        return DetectorSpec(
            name=self.name,
            timestamp=self.timestamp,
            variables=tuple(self.variables),
            by=self.by,
            fit=self.fit.build(self.name),
            detect_days=self.detect_days,
            align=self.align.build(self.name),
            components=self.components,
            threshold=self.threshold.build(self.name),
            top_contributors=self.top_contributors,
            leave_out_errors=self.errors == "leave_out",
        )
