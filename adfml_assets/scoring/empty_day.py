"""A day without records: scored without asking anybody."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from adfml_assets import lake_layout
from adfml_assets.metadata import describe_partition
from adfml_assets.scoring.model_choice import read_chosen
from adfml_assets.scoring.scores import build_expected, verify_scores, write_no_scores
from adfml_assets.scoring.shown import TEXTS, describe_version
from resources.lake import Lake
from resources.manifest import Manifest


def materialise_no_scores(
    lake: Lake, model: str, records: Manifest, *, asset: str, now: datetime, run_id: str
) -> dict[str, Any]:
    """An empty partition of scores that says which version would have scored. Returns asset metadata.

    Args:
        records: the manifest of the day's scoring input, which has no rows.

    Raises:
        InputOutdated: the scoring input does not say which version it was made for.
    """
    read_chosen(model, records)
    expected = build_expected(records.facts, model)
    write_no_scores(lake, model, records.partition)
    manifest, _ = verify_scores(
        lake, model, records.partition, expected, asset=asset, now=now, run_id=run_id, source={}
    )
    folder = lake_layout.scores_folder(model, records.partition)
    return {**describe_partition(lake, folder, manifest, texts=TEXTS), **describe_version(expected)}
