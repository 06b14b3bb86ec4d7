"""The `scores` asset of a model that an online endpoint scores: no remote job, the run itself sends the records."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import dagster as dg

from adfml_assets import lake_layout
from adfml_assets.asset_keys import model_key, scores_key, scoring_input_key
from adfml_assets.components.online_endpoint import OnlineEndpoint
from adfml_assets.metadata import describe_partition
from adfml_assets.remote_assets import SUBMITS_POLICY
from adfml_assets.scoring.model_choice import choose_version
from adfml_assets.scoring.online import Request, Result, score_online
from adfml_assets.scoring.scores import verify_scores, write_no_scores
from adfml_assets.training.trained import read_metadata
from resources.control import ControlDatabase, utc_now
from resources.lake import Lake
from resources.manifest import Manifest

RESOURCE = "azure_ml_online"


def build_online_scores(
    *,
    model: str,
    alias: str,
    engine: OnlineEndpoint,
    options: dict[str, Any],
    require_input: Callable[[Lake, str], Manifest],
) -> dg.AssetsDefinition:
    """The asset whose partition holds a day's scores.

    Args:
        alias: which version the scores are declared to be of: the one that has this alias when the run starts. Which
            version the deployment runs is its own affair; the deployments that answered are in the metadata.
        options: the keyword arguments of `dg.asset` (description, partitions, group, kinds, owners).
        require_input: the manifest of a day's records.

    Raises:
        DeclarationInvalid: the engine says what cannot be.
    """
    engine.check(f"Model {model}")
    target, limits = engine.build_target(), engine.build_limits()
    newest_model = dg.AssetDep(model_key(model), partition_mapping=dg.LastPartitionMapping())

    @dg.asset(
        key=scores_key(model),
        deps=[dg.AssetDep(scoring_input_key(model)), newest_model],
        # The policy of the scoring input: both go into one run.
        backfill_policy=SUBMITS_POLICY,
        required_resource_keys={RESOURCE, "lake", "control"},
        **options,
    )
    def scores(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        day, now = context.partition_key, utc_now()
        lake: Lake = context.resources.lake
        control: ControlDatabase = context.resources.control
        records = require_input(lake, day)
        asset = context.asset_key.to_user_string()
        if records.rows == 0:
            return _materialise_nothing(lake, model, day, asset=asset, now=now, run_id=context.run_id)
        version = choose_version(lake, control.model_aliases, model, alias, records)
        request = Request(
            model=model,
            day=day,
            features=read_metadata(lake, model, version)["features"],
            expected={"model": model, "version": version, "alias": alias},
            target=target,
            limits=limits,
            max_error_share=engine.max_error_share,
        )
        online = getattr(context.resources, RESOURCE)
        result = score_online(lake, online, request, records, asset=asset, now=now, run_id=context.run_id)
        if result.errors:
            context.log.warning("%d of %d records have no score: see errors.parquet.", result.errors, records.rows)
        return dg.MaterializeResult(metadata={**_describe(lake, request, result), "endpoint": online.find_uri(target)})

    return scores


def _materialise_nothing(
    lake: Lake, model: str, day: str, *, asset: str, now: datetime, run_id: str
) -> dg.MaterializeResult[None]:
    write_no_scores(lake, model, day)
    manifest, _ = verify_scores(lake, model, day, {}, asset=asset, now=now, run_id=run_id, source={})
    shown = describe_partition(lake, lake_layout.scores_folder(model, day), manifest)
    return dg.MaterializeResult(metadata={**shown, "errors": 0})


def _describe(lake: Lake, request: Request, result: Result) -> dict[str, Any]:
    assert result.manifest is not None  # noqa: S101 - set when the scores became visible
    folder = lake_layout.scores_folder(request.model, request.day)
    shown: dict[str, Any] = {
        **describe_partition(lake, folder, result.manifest),
        "model_version": request.expected["version"],
        "model_alias": request.expected["alias"],
        "errors": result.errors,
        "deployments": ", ".join(sorted(result.deployments)) or "not said",
    }
    if result.mean is not None:
        shown["mean_score"] = result.mean
    if result.examples:
        rows = [dg.TableRecord({"RecordId": str(record), "error": message}) for record, message in result.examples]
        shown["first_errors"] = dg.MetadataValue.table(rows)
    return shown
