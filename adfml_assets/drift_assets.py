"""The asset of a model's drift: a day's records and scores against the training data, with checks and plots."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from adfml_assets.about import About
from adfml_assets.asset_keys import drift_key, scores_key, scoring_input_key
from adfml_assets.drift.comparison import DriftRules
from adfml_assets.drift.report import build_report, write_report
from adfml_assets.drift.shown import CHECKS, build_check_results, describe_drift
from adfml_assets.failures import tell_failures
from resources.control import utc_now
from resources.lake import Lake

ABOUT = About(
    what="How far the records and scores of a day are from what the version that scored them was trained on: PSI and "
    "missing values of every feature, and PSI of the scores.",
    partition="a UTC day: a row a feature and one for the scores.",
    materialising="compares the day's scoring input and scores with the training data and warns by three checks, which "
    "block nothing. Several days over a threshold ask for a new version, where that is declared.",
    failing="means that there is nothing to compare with: the version's training data or metadata is gone, or the day "
    "was not scored. What is drifting fails no run.",
    activity="no counterpart in the pipelines: nobody looked whether the data still is what the model learned",
)


def build_drift_asset(model: str, rules: DriftRules, options: dict[str, Any]) -> dg.AssetsDefinition:
    """A partition a UTC day, from the day's scoring input and scores. A day without records says so and passes.

    Args:
        model: whose scores.
        options: the keyword arguments of `dg.asset` (description, partitions, group, kinds, owners).
    """
    key = drift_key(model)

    @dg.asset(
        key=key,
        deps=[scores_key(model), scoring_input_key(model)],
        check_specs=[dg.AssetCheckSpec(name, asset=key, description=what) for name, what in CHECKS.items()],
        **options,
    )
    @tell_failures
    def drift(context: dg.AssetExecutionContext, lake: Lake) -> Iterator[dg.MaterializeResult[None]]:
        report = build_report(lake, model, context.partition_key, rules)
        for note in report.notes:
            context.log.info(note)
        asset = context.asset_key.to_user_string()
        folder, manifest = write_report(lake, report, asset=asset, now=utc_now(), run_id=context.run_id)
        yield dg.MaterializeResult(
            metadata=describe_drift(lake, report, folder, manifest), check_results=build_check_results(report)
        )

    return drift
