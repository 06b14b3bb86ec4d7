"""`DetectedAnomalies`: telemetry that belongs together, fitted on the days before and checked day by day.

Takes the place of the pattern's DetectAnomalies activity (Anomaly Detector, multivariate, `:detect-last`), a service
that was retired on 1 October 2026: nothing is called, the work is done here, in the service's words.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import dagster as dg
from pydantic import ConfigDict, Field

from adfml_assets import lake_layout
from adfml_assets.about import About, find_database_kind
from adfml_assets.anomalies.declared import DetectorSpec
from adfml_assets.anomalies.detecting import detect_anomalies
from adfml_assets.anomalies.readings import ArchivedSource, LiveSource, Source
from adfml_assets.anomalies.results import COLUMNS
from adfml_assets.anomalies.shown import build_check_result, describe_detection, describe_origins
from adfml_assets.anomalies.write_back import RESERVED, list_columns, write_back_anomalies
from adfml_assets.archive.partitions_in_lake import find_personal_columns
from adfml_assets.archive.tables import SourceTable
from adfml_assets.archived_partitions import parse_reference, require_partition
from adfml_assets.asset_keys import anomalies_key, archive_key, current_key, table_key
from adfml_assets.components.anomaly_rules import Align, AnomalyThreshold, FitWindow, check_columns, require
from adfml_assets.components.declaration import STRICT, DailySchedule, build_options
from adfml_assets.daily_schedule import build_daily_schedule
from adfml_assets.failures import tell_failures
from adfml_assets.metadata import describe_speed, describe_written
from adfml_assets.origins import list_personal
from adfml_assets.partitions import build_daily_partitions
from adfml_assets.written_back import build_written_back
from resources.control import utc_now
from resources.database import Databases
from resources.lake import Lake
from resources.manifest import Manifest


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
        schedule: when the day's partition is checked; on in production (`ADFML_ENVIRONMENT`), elsewhere when turned on.
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
    schedule: DailySchedule | None = None
    adf_pipeline: str | None = None
    owners: Sequence[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            DeclarationInvalid: says which field.
        """
        self._build_spec()

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """What was found, with its check, and the table it is written back to."""
        spec = self._build_spec()
        assets = [self._build_detection(spec), *self._build_write_back()]
        return dg.Definitions.merge(dg.Definitions(assets=assets), self._build_schedule(assets))

    def _options(self, about: About, kinds: set[str]) -> dict[str, Any]:
        return build_options(
            about,
            adf_pipeline=self.adf_pipeline,
            partitions=build_daily_partitions(),
            group="anomalies",
            kinds=kinds,
            owners=self.owners,
        )

    def _build_detection(self, spec: DetectorSpec) -> dg.AssetsDefinition:
        build_key = {"archive": archive_key, "current": current_key, "database": table_key}[self.read_from]
        key = anomalies_key(self.name)

        @dg.asset(
            key=key,
            deps=[build_key(*parse_reference(self.source))],
            check_specs=[
                dg.AssetCheckSpec(
                    "no_anomalies", asset=key, description="No anomalies, and no series that could not be checked."
                )
            ],
            **self._options(self._describe_detection(), {"scikitlearn", "parquet"}),
        )
        @tell_failures
        def anomalies(
            context: dg.AssetExecutionContext, config: DetectionConfig, lake: Lake, databases: Databases
        ) -> Iterator[dg.MaterializeResult[None]]:
            day = context.partition_key
            source = self._open_source(lake, databases, day)
            asset = build_key(*parse_reference(self.source)).to_user_string()
            found = detect_anomalies(
                lake,
                spec,
                source,
                day,
                as_of=self.as_of,
                refit=config.refit,
                asset=context.asset_key.to_user_string(),
                now=utc_now(),
                run_id=context.run_id,
                facts=describe_origins(spec, asset, self._find_personal(lake, source)),
            )
            if not found.manifest.rows:
                context.log.warning("No readings in %s: the partition is empty.", found.windows.detect)
            yield dg.MaterializeResult(
                metadata=describe_detection(lake, found), check_results=[build_check_result(found)]
            )

        return anomalies

    def _describe_detection(self) -> About:
        days = "day" if self.detect_days == 1 else f"{self.detect_days} days"
        series = f", a model for each `{self.by}`" if self.by else ""
        return About(
            what=f"Anomalies of {', '.join(self.variables)} in `{self.source}` over the {days} of a partition{series}: "
            "rows in which they do not go together as they did before.",
            partition=f"a UTC day: every row of the {days} that end with it, with score, threshold and, where it is an "
            "anomaly, the variables that stand out.",
            materialising="fits the models on the days before (or takes the stored ones) and checks the readings. "
            "Anomalies warn by a check; they fail nothing.",
            failing="means that readings cannot be put together to complete rows, or that there are too few to learn "
            "from: the error has the service's code and names the series.",
            activity="WebActivity `DetectAnomalies` (`:detect-last`); the service was retired in October 2026",
        )

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

    def _find_personal(self, lake: Lake, source: Source) -> list[str]:
        if isinstance(source, ArchivedSource):
            return list_personal(source.manifest)
        return find_personal_columns(lake, SourceTable(*parse_reference(self.source)))

    def _build_write_back(self) -> list[dg.AssetsDefinition]:
        if self.write_back is None:
            return []
        database, schema, table = parse_reference(self.write_back.table)
        which = self.write_back.rows
        what = "What was found" if which == "all" else "The anomalies"

        def write(lake: Lake, databases: Databases, folder: str, manifest: Manifest) -> dict[str, Any]:
            written = write_back_anomalies(lake, databases, database, schema, table, folder, manifest, which)
            columns = list_columns(str(manifest.facts["timestamp"]), manifest.facts["by"])
            shown = describe_written(lake, folder, manifest, columns)
            speed = describe_speed(written.rows, written.seconds)
            return {
                **shown,
                **speed,
                "dagster/row_count": written.rows,
                "kept_newer": written.kept_newer,
                "rows": which,
            }

        return [
            build_written_back(
                table_key(database, schema, table),
                anomalies_key(self.name),
                lambda day: lake_layout.anomalies_folder(self.name, day),
                write,
                self._options(
                    About(
                        what=f"{what} in `{self.write_back.table}`.",
                        partition="a UTC day: the rows of the days that its partition checked.",
                        materialising="puts them in place of what an earlier run said of these days, in one "
                        "transaction. Writing a day twice changes nothing, and an older partition never overwrites a "
                        "newer one.",
                        failing="leaves the table as it was; the error names the column or the key that does not fit.",
                        activity="what follows WebActivity `DetectAnomalies`: its answer written to SQL",
                    ),
                    {find_database_kind(database)},
                ),
            )
        ]

    def _build_schedule(self, assets: Sequence[dg.AssetsDefinition]) -> dg.Definitions:
        if self.schedule is None:
            return dg.Definitions()
        return build_daily_schedule(
            f"detect_{anomalies_key(self.name).path[-1]}",
            dg.AssetSelection.assets(*assets),
            self.schedule.expression,
            self.schedule.timezone,
            f"Looks for anomalies of `{self.name}` in the UTC day of the tick.",
            # One that comes late asks for the day that it was meant for.
            choose_moment=lambda tick: tick,
        )

    def _build_spec(self) -> DetectorSpec:
        """The declaration as plain values.

        Raises:
            DeclarationInvalid: says which field.
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
