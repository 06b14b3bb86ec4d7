"""The `scores` asset of a model that an online endpoint scores: no remote job, the run itself sends the records."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import dagster as dg

from adfml_assets import lake_layout
from adfml_assets.asset_keys import scores_key, scoring_input_key
from adfml_assets.failures import tell_failures
from adfml_assets.metadata import describe_partition, order_metadata
from adfml_assets.remote_assets import SUBMITS_POLICY
from adfml_assets.scoring.empty_day import materialise_no_scores
from adfml_assets.scoring.model_choice import require_current
from adfml_assets.scoring.online import Request, Result, score_online
from adfml_assets.scoring.scores import FILE, build_expected
from adfml_assets.scoring.shown import TEXTS, describe_scores, describe_version
from adfml_assets.training.trained import read_metadata
from resources.control import ControlDatabase, utc_now
from resources.lake import Lake
from resources.manifest import Manifest

if TYPE_CHECKING:
    from adfml_assets.components.online_endpoint import OnlineEndpoint

RESOURCE = "azure_ml_online"


def build_online_scores(
    *,
    model: str,
    engine: "OnlineEndpoint",
    options: dict[str, Any],
    require_input: Callable[[Lake, str], Manifest],
) -> dg.AssetsDefinition:
    """The asset whose partition holds a day's scores.

    Args:
        options: the keyword arguments of `dg.asset` (description, partitions, group, kinds, owners).
        require_input: the manifest of a day's records. The scores are declared to be of the version that it was made
            for. Which version the deployment runs is its own affair; the deployments that answered are in the metadata.

    Raises:
        DeclarationInvalid: the engine says what cannot be.
    """
    engine.check(f"Model {model}")
    target, limits = engine.build_target(), engine.build_limits()

    @dg.asset(
        key=scores_key(model),
        deps=[scoring_input_key(model)],
        # The policy of the scoring input: both go into one run.
        backfill_policy=SUBMITS_POLICY,
        required_resource_keys={RESOURCE, "lake", "control"},
        pool=RESOURCE,
        **options,
    )
    @tell_failures
    def scores(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        day, now = context.partition_key, utc_now()
        lake: Lake = context.resources.lake
        control: ControlDatabase = context.resources.control
        records = require_input(lake, day)
        asset = context.asset_key.to_user_string()
        if records.rows == 0:
            shown = materialise_no_scores(lake, model, records, asset=asset, now=now, run_id=context.run_id)
            return dg.MaterializeResult(metadata={**shown, "errors": 0})
        chosen = require_current(control, model, records)
        request = Request(
            model=model,
            day=day,
            features=read_metadata(lake, model, chosen.version)["features"],
            expected=build_expected(records.facts, model),
            target=target,
            limits=limits,
            max_error_share=engine.max_error_share,
        )
        online = getattr(context.resources, RESOURCE)
        result = score_online(lake, online, request, records, asset=asset, now=now, run_id=context.run_id)
        if result.errors:
            context.log.warning("%d of %d records have no score: see errors.parquet.", result.errors, records.rows)
        shown = {**_describe(lake, request, result), "endpoint": online.find_uri(target)}
        return dg.MaterializeResult(metadata=order_metadata(shown))

    return scores


def _describe(lake: Lake, request: Request, result: Result) -> dict[str, Any]:
    assert result.manifest is not None  # noqa: S101 - set when the scores became visible
    folder = lake_layout.scores_folder(request.model, request.day)
    shown: dict[str, Any] = {
        **describe_partition(lake, folder, result.manifest, texts=TEXTS),
        **describe_version(request.expected),
        **describe_scores(lake.read_table(f"{folder}/{FILE}", ["score"])["score"]),
        "errors": result.errors,
        "deployments": ", ".join(sorted(result.deployments)) or "not said",
    }
    if result.examples:
        rows = [dg.TableRecord({"RecordId": str(record), "error": message}) for record, message in result.examples]
        shown["first_errors"] = dg.MetadataValue.table(rows)
    return shown
