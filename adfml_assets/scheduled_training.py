"""A new version of a model by schedule: the next number, unless one is being trained already."""

from collections.abc import Iterator
from datetime import timedelta

import dagster as dg

from adfml_assets.asset_keys import model_key
from adfml_assets.failures import tell_failures
from adfml_assets.retraining import find_outcome, launch_version, list_partitions
from resources.control import ControlDatabase, utc_now
from resources.retrainings import Retraining
from sensors.switches import schedule_status

DEADLINE = timedelta(hours=48)
"""How long a version may be under way before the schedule asks for the next one all the same."""


def build_scheduled_training(model: str, cron: str, timezone: str) -> dg.Definitions:
    """A schedule, and its job that asks for a version and launches its training."""
    name = f"train_{model_key(model).path[-1]}"

    @dg.op(name=f"launch_{name}", required_resource_keys={"control"})
    @tell_failures
    def launch(context: dg.OpExecutionContext) -> None:
        control: ControlDatabase = context.resources.control
        request = _choose_version(context, control, model)
        if request is not None:
            launch_version(context, control, model, request.version)

    @dg.job(
        name=name,
        description=f"Launches the training of the next version of `{model}`, and ends; the version has to pass its "
        "gate like any other. While one is being trained there is no other.",
    )
    def train() -> None:
        launch()

    @dg.schedule(
        name=name,
        job=train,
        cron_schedule=cron,
        execution_timezone=timezone,
        description=f"Trains a new version of `{model}`.",
        default_status=schedule_status(),
    )
    def ask(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
        yield dg.RunRequest(run_key=(context.scheduled_execution_time or utc_now()).isoformat())

    return dg.Definitions(jobs=[train], schedules=[ask])


def _choose_version(context: dg.OpExecutionContext, control: ControlDatabase, model: str) -> Retraining | None:
    """The version to be launched; None: another one is being trained.

    The request is in the control database before anything is launched: a run that was killed in between goes on with
    the same version.
    """
    outstanding = control.retrainings.find_outstanding(model)
    now = utc_now()
    if outstanding is not None:
        outcome = find_outcome(context.instance, control, outstanding)
        if outcome is None and outstanding.requested_at + DEADLINE <= now:
            outcome = "expired"
        if outcome is None and outstanding.backfill_id is not None:
            context.log.warning("Version %s of %s is still being trained: no other is.", outstanding.version, model)
        if outcome is None:
            return outstanding
        control.retrainings.end(model, outstanding.version, outcome, now)
    versions = list_partitions(model, context.instance)
    asset = model_key(model).to_user_string()
    reason = "The schedule asked for it."
    request = control.retrainings.request(model, asset, versions, reason=reason, cooldown=timedelta(0), now=now)
    if request is None:
        context.log.warning("Somebody else has just asked for a version of %s: no other is.", model)
    return request
