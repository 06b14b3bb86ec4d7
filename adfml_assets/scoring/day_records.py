"""The records of a day: the newest features of a feature set, or the rows of a table that wait to be scored."""

from __future__ import annotations

from datetime import date

from adfml_assets import lake_layout
from adfml_assets.archive.partitions_in_lake import find_personal_columns
from adfml_assets.archive.tables import SourceTable
from adfml_assets.archived_partitions import require_partition
from adfml_assets.asset_keys import features_key
from adfml_assets.features.definition import FEATURE_DATE
from adfml_assets.origins import list_personal
from adfml_assets.scoring.scoring_input import Records
from adfml_assets.scoring.source_rows import SourceRows, SourceSpec
from resources.lake import Lake
from resources.manifest import list_data_paths


def find_feature_records(lake: Lake, feature_set: str, day: str) -> Records:
    """The features of a day's snapshot: of each key those of the newest feature date, of events those of the last day.

    Raises:
        PartitionMissing: the feature set has no snapshot of that day.
    """
    folder, manifest = require_partition(
        lake, lake_layout.features_folder(feature_set, day), features_key(feature_set).to_user_string(), day
    )
    facts = manifest.facts
    newest = facts.get("feature_date")
    time = str(facts["event_time"]) if facts.get("rows") == "event" else FEATURE_DATE
    return Records(
        paths=tuple(list_data_paths(folder, manifest)),
        key=str(facts["key"]),
        feature_snapshot=day,
        time=time,
        day=date.fromisoformat(newest) if newest else None,
        no_features=frozenset({time}),
        definition_sha256=str(facts.get("definition_sha256") or ""),
        parameters=facts.get("parameters"),
        source={"features": {"folder": folder, "run_id": manifest.run_id}},
        facts={"feature_date": newest},
        asset=manifest.asset,
        personal=tuple(list_personal(manifest)),
    )


def find_row_records(lake: Lake, spec: SourceSpec, rows: SourceRows, day: str) -> Records:
    """The rows that were read on a day."""
    return Records(
        paths=(rows.path,),
        key=spec.key,
        feature_snapshot=day,
        no_features=frozenset({spec.scored_date} if spec.scored_date else ()),
        source={"table": spec.full_name, "where": spec.where},
        facts={"feature_date": None, "waiting": rows.read, "kept": rows.kept},
        asset=spec.asset_key.to_user_string(),
        personal=tuple(find_personal_columns(lake, SourceTable(spec.database, spec.schema, spec.table))),
    )
