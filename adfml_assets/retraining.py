"""Retraining that drift asks for: what the sensor looks at, and the job that launches a version's backfill."""

from datetime import datetime
from functools import partial

import dagster as dg
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES
from dagster._core.utils import make_new_backfill_id

from adfml_assets.asset_keys import champion_key, job_key, model_key, training_data_key
from adfml_assets.drift.history import list_counted
from adfml_assets.errors import AdfmlError
from adfml_assets.failures import tell_failures
from adfml_assets.partitions import build_model_versions
from adfml_assets.workflow import LAUNCHED_BY_TAG, launch_backfill
from resources.control import ControlDatabase
from resources.lake import Lake
from resources.retrainings import Outcome, Retraining
from sensors.retraining_sensor import (
    RETRAINING_TAG,
    Observed,
    RetrainingRules,
    Watched,
    build_retraining_sensor,
    find_backfill,
    tag_retraining,
)

CHAMPION = "champion"
_LEAST_LOOK = 30
"""How many days at least are looked at for those that count."""


class NotTrainedHere(AdfmlError):
    """A model is to be trained again that this code location does not train."""

    def __init__(self, model: str, missing: list[str]) -> None:
        self.model = model
        self.missing = tuple(missing)
        super().__init__(
            f"Model {model} cannot be trained again: there is no asset {', '.join(missing)}. Declare it as a "
            "TrainedModel, or leave out `drift.retrain`."
        )


class NotRequested(AdfmlError):
    """A version is to be trained that drift did not ask for, or whose request has ended."""

    def __init__(self, model: str, version: str, outcome: str | None) -> None:
        self.model = model
        self.version = version
        self.outcome = outcome
        found = f"its request has ended ({outcome})" if outcome else "drift did not ask for it"
        super().__init__(
            f"Model {model} version {version} is not launched: {found}. To train a version by hand, materialise "
            f"{training_data_key(model).to_user_string()} and what follows from it."
        )


class RetrainingConfig(dg.Config):
    """Which version is launched."""

    model_version: str


def build_retraining(model: str, rules: RetrainingRules) -> dg.Definitions:
    """The sensor that asks for a new version of a model, and the job that launches it."""
    name = job_key(model_key(model)).path[-1].removesuffix("_job")
    op_name = f"launch_retraining_of_{name}"

    @dg.op(name=op_name, required_resource_keys={"control"})
    @tell_failures
    def launch(context: dg.OpExecutionContext, config: RetrainingConfig) -> None:
        launch_version(context, context.resources.control, model, config.model_version)

    @dg.job(
        name=f"retrain_{name}",
        description=(
            f"Launches the training of a new version of `{model}` that drift has asked for, and ends; the version has "
            "to pass its gate like any other."
        ),
    )
    def retrain() -> None:
        launch()

    watched = Watched(
        model=model,
        asset=model_key(model).to_user_string(),
        job=retrain,
        build_config=lambda version: {"ops": {op_name: {"config": {"model_version": version}}}},
        observe=partial(observe_drift, model, rules.of),
        list_versions=partial(list_partitions, model),
        find_outcome=find_outcome,
    )
    return dg.Definitions(jobs=[retrain], sensors=[build_retraining_sensor(watched, rules)])


def launch_version(context: dg.OpExecutionContext, control: ControlDatabase, model: str, version: str) -> None:
    """Hand the training of a requested version to Dagster's daemon: once, however often this is called.

    Raises:
        dg.Failure: the model is not trained here, or the version was not requested.
    """
    graph = context.repository_def.asset_graph
    keys = list_trained(model)
    missing = [key.to_user_string() for key in keys if not graph.has(key)]
    if missing:
        raise dg.Failure(str(NotTrainedHere(model, missing)), allow_retries=False)
    backfill_id = control.retrainings.name_backfill(model, version, make_new_backfill_id())
    if backfill_id is None:
        request = control.retrainings.find(model, version)
        outcome = request.outcome if request is not None else None
        raise dg.Failure(str(NotRequested(model, version, outcome)), allow_retries=False)
    if context.instance.get_backfill(backfill_id) is not None:
        context.log.info("Version %s is being trained already, by backfill %s.", version, backfill_id)
        return
    launch_backfill(
        context.instance,
        graph,
        {key: [version] for key in keys},
        title=f"Retraining of {model}, version {version}",
        tags={RETRAINING_TAG: tag_retraining(model, version), LAUNCHED_BY_TAG: context.run_id},
        backfill_id=backfill_id,
    )
    context.log.info("Backfill %s trains version %s of %s.", backfill_id, version, model)


def list_trained(model: str) -> list[dg.AssetKey]:
    """The assets of a version, in order: training data, the job, the model with its gate, its promotion."""
    return [training_data_key(model), job_key(model_key(model)), model_key(model), champion_key(model)]


def list_partitions(model: str, instance: dg.DagsterInstance) -> list[str]:
    """The versions that Dagster has partitions of."""
    name = build_model_versions(model).name
    return list(instance.get_dynamic_partitions(name)) if name else []


def observe_drift(model: str, last: int, lake: Lake, control: ControlDatabase) -> Observed:
    """The last drift partitions of the champion, as far as they were made since it became it.

    Days that another version scored do not count, nor do those without records: with a new champion, also one that
    was it before, the count starts anew.
    """
    champion = control.models.aliases(model).get(CHAMPION)
    if champion is None:
        return Observed(None)
    since = _find_promotion(control, model, champion)
    counted = list_counted(lake, model, champion, since, last, look=max(_LEAST_LOOK, 4 * last))
    days = tuple(manifest.partition for manifest in counted)
    return Observed(champion, days, tuple(m.partition for m in counted if m.facts.get("over")))


def find_outcome(instance: dg.DagsterInstance, control: ControlDatabase, request: Retraining) -> Outcome | None:
    """What has become of a request; None where it is still under way.

    A version that passed becomes champion in its backfill's last step: until the backfill has ended it may still do.
    """
    found = control.models.find(request.model, request.version)
    verdict = found.verdict if found is not None else None
    if verdict == "refused":
        return "refused"
    if verdict == "passed" and control.models.was_champion(request.model, request.version):
        return "promoted"
    backfill = find_backfill(instance, request)
    if backfill is None or backfill.status not in BULK_ACTION_TERMINAL_STATUSES:
        return None
    if verdict == "passed":
        return "passed"
    # Without the run coordinator a backfill may end before its remote job has.
    job = control.ledger.find_latest(model_key(request.model).to_user_string(), request.version)
    return None if job is not None and job.outstanding else "failed"


def _find_promotion(control: ControlDatabase, model: str, champion: str) -> datetime | None:
    """When the champion last became it, as far as it was recorded."""
    moments = [
        change.changed_at
        for change in control.models.list_changes(model)
        if change.alias == CHAMPION and change.version == champion
    ]
    return max(moments, default=None)
