"""What watches a model's drift and asks for a new version: at most one at a time, and not again before a cool-down.

It knows no assets: what it looks at, and what it asks for, are handed to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta

import dagster as dg
from dagster._core.execution.backfill import PartitionBackfill

from resources.control import ControlDatabase, utc_now
from resources.lake import Lake
from resources.retrainings import Outcome, Retraining
from sensors.switches import sensor_status

INTERVAL_SECONDS = 300
MOST_LAUNCHES = 3
"""How many runs may try to launch a retraining before it counts as failed."""

REQUEST_TAG = "adfml/retraining_request"
"""On the run that launches a retraining: model and version."""

RETRAINING_TAG = "adfml/retraining"
"""On the backfill, and on its runs: model and version."""


@dataclass(frozen=True)
class RetrainingRules:
    """When drift asks for a new version.

    Attributes:
        over, of: how many of the last so many partitions have to be over the threshold.
        cooldown: how long after a request there is no other.
        deadline: how long a request may take before it counts as expired.
    """

    over: int = 3
    of: int = 5
    cooldown: timedelta = timedelta(days=7)
    deadline: timedelta = timedelta(hours=48)


@dataclass(frozen=True)
class Observed:
    """What the last partitions of a champion say.

    Attributes:
        champion: its version; None where there is none.
        days: the partitions that count, the latest first.
        over: those of them that are over the threshold.
    """

    champion: str | None
    days: tuple[str, ...] = ()
    over: tuple[str, ...] = ()

    def describe(self) -> str:
        """What was seen, in one sentence without its end."""
        days = f" ({', '.join(self.over)})" if self.over else ""
        return (
            f"{len(self.over)} of {len(self.days)} partitions of champion {self.champion} are over the threshold{days}"
        )


@dataclass(frozen=True)
class Watched:
    """A model whose drift is watched, and how.

    Attributes:
        model: its name.
        asset: the asset of the model, slash-separated: its partitions in the ledger are versions.
        job: what launches a retraining.
        build_config: from a version to the job's run config.
        observe: looks at the last partitions.
        list_versions: the versions that Dagster knows.
        find_outcome: what has become of an outstanding request; None: it is still under way.
    """

    model: str
    asset: str
    job: dg.JobDefinition
    build_config: Callable[[str], dict[str, object]]
    observe: Callable[[Lake, ControlDatabase], Observed]
    list_versions: Callable[[dg.DagsterInstance], Iterable[str]]
    find_outcome: Callable[[dg.DagsterInstance, ControlDatabase, Retraining], Outcome | None]


def build_retraining_sensor(watched: Watched, rules: RetrainingRules) -> dg.SensorDefinition:
    """A sensor that asks for a new version of a model where its last partitions have drifted.

    The request is in the control database before a run is asked for; a request whose run did not come to launch
    anything is asked for again. It promotes nothing: the version has to pass its gate like any other.
    """
    model = watched.model

    @dg.sensor(
        # As the asset is called: a model's own name may have what Dagster takes in no name.
        name=f"retraining_of_{watched.asset.rpartition('/')[2]}",
        job=watched.job,
        description=(
            f"Asks for a new version of `{model}` where {rules.over} of the last {rules.of} partitions of the champion "
            "are over the drift threshold: one at a time, and not again before a cool-down."
        ),
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=sensor_status(),
        required_resource_keys={"lake", "control"},
    )
    def retraining(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        control: ControlDatabase = context.resources.control
        outstanding = control.retrainings.find_outstanding(model)
        if outstanding is not None:
            return _follow(context, watched, rules, control, outstanding)
        observed = watched.observe(context.resources.lake, control)
        if observed.champion is None:
            return dg.SkipReason(f"{model} has no champion: there is nothing to compare with.")
        seen = observed.describe()
        if len(observed.over) < rules.over:
            return dg.SkipReason(f"{seen}; {rules.over} needed of the last {rules.of}.")
        last = next(iter(control.retrainings.list_all(model)), None)
        now = utc_now()
        if last is not None and last.requested_at + rules.cooldown > now:
            until = last.requested_at + rules.cooldown
            return dg.SkipReason(
                f"{seen}, but version {last.version} was requested at {last.requested_at:%Y-%m-%d %H:%M} UTC "
                f"({last.outcome}): cool-down until {until:%Y-%m-%d %H:%M} UTC."
            )
        versions = watched.list_versions(context.instance)
        request = control.retrainings.request(
            model, watched.asset, versions, reason=f"{seen}.", cooldown=rules.cooldown, now=now
        )
        if request is None:
            return dg.SkipReason(f"{seen}; another tick has requested a version meanwhile.")
        context.log.info("%s: version %s of %s is requested.", seen, request.version, model)
        return _build_run_request(watched, request, 1)

    return retraining


def tag_retraining(model: str, version: str) -> str:
    """What the tags of a retraining say."""
    return f"{model}/{version}"


def find_backfill(instance: dg.DagsterInstance, request: Retraining) -> PartitionBackfill | None:
    """The backfill that trains the version of a request; None where none was launched."""
    return instance.get_backfill(request.backfill_id) if request.backfill_id is not None else None


def _follow(
    context: dg.SensorEvaluationContext,
    watched: Watched,
    rules: RetrainingRules,
    control: ControlDatabase,
    request: Retraining,
) -> dg.RunRequest | dg.SkipReason:
    """Note the outcome of an outstanding request, or see to it that it is launched."""
    shown = f"Version {request.version} of {request.model}, requested at {request.requested_at:%Y-%m-%d %H:%M} UTC"
    outcome = watched.find_outcome(context.instance, control, request)
    if outcome is None and request.requested_at + rules.deadline <= utc_now():
        outcome = "expired"
    if outcome is not None:
        return _end(context, control, request, outcome, shown)
    if find_backfill(context.instance, request) is not None:
        return dg.SkipReason(f"{shown}, is being trained; at most one at a time.")
    tags = {REQUEST_TAG: tag_retraining(request.model, request.version)}
    runs = context.instance.get_runs(dg.RunsFilter(tags=tags))
    if any(not run.is_finished for run in runs):
        return dg.SkipReason(f"{shown}, is about to be launched.")
    if len(runs) >= MOST_LAUNCHES:
        context.log.error("%s: %d runs did not come to launch it; see run %s.", shown, len(runs), runs[0].run_id)
        return _end(context, control, request, "failed", shown)
    context.log.info("%s, is launched (run %d of %d at most).", shown, len(runs) + 1, MOST_LAUNCHES)
    return _build_run_request(watched, request, len(runs) + 1)


def _end(
    context: dg.SensorEvaluationContext, control: ControlDatabase, request: Retraining, outcome: Outcome, shown: str
) -> dg.SkipReason:
    control.retrainings.end(request.model, request.version, outcome, utc_now())
    context.log.info("%s: %s.", shown, outcome)
    return dg.SkipReason(f"{shown}, has ended: {outcome}.")


def _build_run_request(watched: Watched, request: Retraining, attempt: int) -> dg.RunRequest:
    # A key that was used is never launched again, even if its run failed: the attempt is a part of it.
    return dg.RunRequest(
        run_key=f"retrain|{request.model}|{request.version}|{attempt}",
        run_config=watched.build_config(request.version),
        tags={REQUEST_TAG: tag_retraining(request.model, request.version)},
    )
