"""The check that a feature set's definition does not look into the future."""

import dagster as dg

from adfml_assets import lake_layout
from adfml_assets.archived_partitions import require_partition
from adfml_assets.asset_keys import features_key
from adfml_assets.failures import tell_failures
from adfml_assets.features.definition import FeatureSetSpec
from adfml_assets.features.feature_set import plan_features
from adfml_assets.features.point_in_time import TOLERANCE, compare_with_past
from adfml_assets.features.sources import find_partitions
from resources.errors import NotFound
from resources.lake import Lake
from resources.manifest import FILE_NAME

PARTITION_TAG = "dagster/partition"


def build_point_in_time_check(spec: FeatureSetSpec) -> dg.AssetChecksDefinition:
    """Of the run's partition, or of the newest one where the check is run by itself."""
    key = features_key(spec.name)

    @dg.asset_check(
        asset=key,
        name="point_in_time",
        blocking=True,
        description=(
            "Features of an earlier time, computed anew from tables that end there, are those that are stored: nothing "
            f"that came later is in them (floats to {TOLERANCE:g}). One that differs stops what follows in its run."
        ),
    )
    @tell_failures
    def point_in_time(context: dg.AssetCheckExecutionContext, lake: Lake) -> dg.AssetCheckResult:
        day = context.run.tags.get(PARTITION_TAG) or find_newest_day(lake, spec.name)
        stored = require_partition(lake, lake_layout.features_folder(spec.name, day), key.to_user_string(), day)
        plan = plan_features(lake, spec, find_partitions(lake, spec.tables, day), day)
        found = compare_with_past(lake, plan, stored)
        if found is None:
            reason = "There is no earlier time to compare with: everything happened on the last feature date."
            return dg.AssetCheckResult(passed=True, description=reason, metadata={"partition": day, "rows": 0})
        return dg.AssetCheckResult(
            passed=found.passed,
            description=found.describe(),
            metadata={
                "partition": day,
                "tables_end_at": f"{found.before:%Y-%m-%d %H:%M} UTC",
                "rows": found.rows,
                "rows_only_with_later_data": found.only_stored,
                "rows_only_without_it": found.only_recomputed,
                "differing_features": ", ".join(found.columns) or "none",
            },
        )

    return point_in_time


def find_newest_day(lake: Lake, feature_set: str) -> str:
    """The newest snapshot of a feature set.

    Raises:
        NotFound: it has none.
    """
    marker = "/snapshot_date="
    files = lake.list_files(lake_layout.feature_set_folder(feature_set))
    days = sorted(path.partition(marker)[2].split("/")[0] for path in files if path.endswith(f"/{FILE_NAME}"))
    if not days:
        raise NotFound("snapshot", "newest", f"feature set {feature_set} (materialise it first)", days)
    return days[-1]
