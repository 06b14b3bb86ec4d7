"""The assets of a model after its job: the model with its gate, and the champion."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from adfml_assets import lake_layout
from adfml_assets.about import About, extend_options
from adfml_assets.asset_keys import champion_key, job_key, model_key
from adfml_assets.failures import tell_failures
from adfml_assets.metadata import link_file, order_metadata
from adfml_assets.models.gate import BASELINE, CHAMPION, judge
from adfml_assets.models.promotion import promote_version, tell_unity_catalog
from adfml_assets.models.shown import describe_model, describe_versions, link_experiment
from adfml_assets.remote_assets import COLLECTS_TAGS, describe_job, find_ended_job
from adfml_assets.training.trained import verify_model
from adfml_assets.training_job import TrainingSpec
from resources.control import ControlDatabase, utc_now
from resources.databricks import SERVICE as DATABRICKS
from resources.databricks import Databricks
from resources.model_registry import ModelVersion, NotPassed, UnknownVersion, VersionKept, VersionRecord
from resources.remote_jobs import RemoteJob

_MODEL = About(
    what="The model that the training job left: verified, registered, and judged by the gate.",
    partition="a version of the model. One that passes the gate becomes challenger; one that is refused stays, with "
    "the reason.",
    materialising="collects what the job left and compares it with the naive forecasts and the champion on the test "
    "split. Its run waits in Dagster's queue, without a process, until the job has ended.",
    failing="is the job's own (its error and its page are in the run), or the job left something else than was asked "
    "for. Mend the cause, then materialise the `_job` of the version again: it submits a new attempt.",
    activity="what Until loops wait for and WebActivity `LogTrainingResult` posts; the pipelines have no gate",
)
_CHAMPION = About(
    what="The version that scores: promoted from challenger to champion once it has passed the gate.",
    partition="a version of the model: its promotion.",
    materialising="moves the alias `champion` to the version, here and in Unity Catalog. `adfml rollback` goes back to "
    "the one before.",
    failing="means that the version has not passed its gate; the champion stays as it is. `adfml promote --force` goes "
    "against the gate.",
    activity="no counterpart in the pipelines: `model_stage: Production` was set by hand",
)
_PARTITION_TAGS = ("dagster/partition", "dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


def build_model_asset(spec: TrainingSpec) -> dg.AssetsDefinition:
    """`<model>`: collects what the job left, verifies, registers and judges it."""
    key = model_key(spec.model)

    @dg.asset(
        key=key,
        deps=[job_key(key)],
        output_required=False,
        required_resource_keys={"lake", "control", "completion_log", *spec.services},
        **extend_options(spec.build_options(_MODEL, {"scikitlearn", "mlflow"}), tags=COLLECTS_TAGS),
    )
    @tell_failures
    def model(context: dg.AssetExecutionContext) -> Any:
        resources, version = context.resources, context.partition_key
        lake, control = resources.lake, resources.control
        job = find_ended_job(context, control.ledger)
        if job is None:
            return
        known = control.models.find(spec.model, version)
        replaced = known is not None and known.submission_key != job.submission_key
        if replaced and control.models.was_champion(spec.model, version):
            raise dg.Failure(str(VersionKept(spec.model, version)), allow_retries=False)
        spec.engine.collect_model(lake, spec.model, version, job)
        asset = context.asset_key.to_user_string()
        metadata, manifest = verify_model(
            lake, spec.model, version, job, asset=asset, now=utc_now(), run_id=context.run_id
        )
        judged = _register(spec, control, version, metadata, job, context.run_id)
        context.log.info("Version %s is %s. %s", version, judged.verdict, judged.reason)
        control.ledger.mark_collected(job.submission_key, context.run_id)
        resources.completion_log.post(
            {
                "model": spec.model,
                "version": version,
                "runId": job.remote_id,
                "runPageUrl": job.url,
                "status": "TrainingComplete",
            }
        )
        told = tell_unity_catalog(control.models, _find_databricks(spec, resources), spec.model)
        if told.problem is not None:
            context.log.warning("Unity Catalog does not know of the aliases yet: %s", told.problem)
        aliases = control.models.aliases(spec.model)
        alias = ", ".join(sorted(name for name, pointed in aliases.items() if pointed == version))
        folder = lake_layout.model_folder(spec.model, version)
        yield dg.MaterializeResult(
            metadata=order_metadata(
                {
                    **describe_model(metadata, judged, alias),
                    **describe_versions(control.models.list_versions(spec.model), aliases, spec.rules.metric),
                    **describe_job(job),
                    **link_experiment(metadata, job.url),
                    **link_file(lake, folder, manifest),
                    "unity_catalog": str(told),
                    "dagster/uri": lake.uri(folder),
                }
            )
        )

    return model


def build_gate_checks(model: str) -> list[dg.AssetChecksDefinition]:
    """`beats_baseline` and `beats_champion`: they report what the gate found, and block the champion."""
    # Checks of their own: declared on the asset, Dagster would demand them also of a run that came too early.
    return [
        _build_check(
            model,
            "beats_baseline",
            BASELINE,
            "On the test split the model is better than every naive forecast, by more than chance explains.",
        ),
        _build_check(
            model,
            "beats_champion",
            CHAMPION,
            "On the same test rows the model holds up against the champion, within the tolerance.",
        ),
    ]


def build_champion_asset(spec: TrainingSpec) -> dg.AssetsDefinition:
    """The promotion of a version that has passed the gate; scoring by alias follows it."""

    @dg.asset(
        key=champion_key(spec.model),
        deps=[model_key(spec.model)],
        required_resource_keys={"control", *spec.services},
        **spec.build_options(_CHAMPION, {"mlflow"}),
    )
    @tell_failures
    def champion(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        control: ControlDatabase = context.resources.control
        version, before = context.partition_key, control.models.aliases(spec.model).get(CHAMPION)
        databricks = _find_databricks(spec, context.resources)
        by = f"run {context.run_id}"
        try:
            done = promote_version(control, databricks, spec.model, version, by, "It passed the gate.")
        except (NotPassed, UnknownVersion) as error:
            raise dg.Failure(str(error), allow_retries=False) from None
        if done.unity_catalog.problem is not None:
            context.log.warning(
                "Version %s is champion, but Unity Catalog does not know of it yet: %s",
                version,
                done.unity_catalog.problem,
            )
        models = control.models
        shown = describe_versions(models.list_versions(spec.model), models.aliases(spec.model), spec.rules.metric)
        return dg.MaterializeResult(
            metadata={
                "champion": version,
                "previous_champion": done.change.previous or "none",
                "promoted": "no: it was champion already" if before == version else "yes",
                "unity_catalog": str(done.unity_catalog),
                **shown,
            }
        )

    return champion


def _build_check(model: str, name: str, kind: str, description: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=model_key(model), name=name, blocking=True, description=description)
    @tell_failures
    def check(context: dg.AssetCheckExecutionContext, control: ControlDatabase) -> dg.AssetCheckResult:
        version = _find_version(context.run.tags)
        found = control.models.find(model, version)
        if found is None or found.verdict is None:
            reason = f"The gate has not judged version {version}: materialise the model for it again."
            return dg.AssetCheckResult(passed=False, description=reason, metadata={"version": version})
        findings = [finding for finding in found.findings if finding["kind"] == kind]
        return dg.AssetCheckResult(
            passed=all(finding["passed"] for finding in findings) if findings else found.verdict == "passed",
            description=" ".join(str(finding["reason"]) for finding in findings) or found.reason,
            metadata={"version": version, "compared_to": found.compared_to or "no champion"},
        )

    return check


def _find_version(tags: Mapping[str, str]) -> str:
    """The one partition of a run; a check is not told of it otherwise."""
    found = {tags[name] for name in _PARTITION_TAGS if name in tags}
    if len(found) != 1:
        raise dg.Failure(
            f"The gate judges one version at a time; this run is of {', '.join(sorted(found)) or 'no version'}. "
            "Materialise the model for one version a run.",
            allow_retries=False,
        )
    return found.pop()


def _register(
    spec: TrainingSpec, control: ControlDatabase, version: str, metadata: Mapping[str, Any], job: RemoteJob, run_id: str
) -> ModelVersion:
    """Register a version and judge it; one that was judged keeps its verdict."""
    mlflow = metadata.get("mlflow") or {}
    # Other services have registries of their own, which know no Unity Catalog.
    registered = mlflow if spec.engine.service == DATABRICKS else {}
    known = control.models.register(
        VersionRecord(
            model=spec.model,
            version=version,
            run_id=run_id,
            submission_key=job.submission_key,
            model_file=str(metadata["model_file"]),
            model_sha256=str(metadata["model_sha256"]),
            features_sha256=str(metadata["features_sha256"]),
            metrics=dict(metadata["metrics"]),
            registered_name=registered.get("registered_model_name"),
            registered_version=registered.get("registered_model_version"),
        )
    )
    if known.verdict is not None:
        return known
    judgement = judge(metadata, spec.rules, control.models.aliases(spec.model).get(CHAMPION))
    return control.models.judge(
        spec.model,
        version,
        judgement.verdict,
        judgement.reason,
        judgement.compared_to,
        findings=judgement.as_rows(),
        by=f"run {run_id}",
    )


def _find_databricks(spec: TrainingSpec, resources: Any) -> Databricks:
    """The workspace whose Unity Catalog is told. Without versions there it is never asked."""
    return getattr(resources, DATABRICKS) if spec.services else Databricks()
