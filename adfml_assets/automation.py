"""What follows by itself: an asset's day is made when a day of what it is made of was, also by a backfill.

Dagster's `eager()` looks at the newest partition only. This looks at the last days, and leaves out what must not start
anything: a new champion does not score a month anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

import dagster as dg

from sensors.switches import sensor_status
from sensors.tags import COLLECTS, ROLE_TAG

FOLLOW_DAYS = "adfml/follow_days"
"""Metadata of a workflow's job: for how many days assets follow what they are made of."""


def build_following_sensor(name: str, selection: str) -> dg.AutomationConditionSensorDefinition:
    """The sensor that looks at a workflow's conditions, every half minute.

    Args:
        name: of the workflow.
        selection: what follows, as Dagster's asset selection syntax.
    """
    return dg.AutomationConditionSensorDefinition(
        name=f"follow_{name}",
        target=dg.AssetSelection.from_string(selection),
        default_status=sensor_status(),
        description="Makes a day of an asset when that day of what it is made of was made: by a schedule, a backfill "
        "or by hand. A day that fails is not tried again by this.",
    )


def find_follow_days(jobs: Iterable[object]) -> int:
    """For how many days the declared workflows let assets follow; 0: none does."""
    found = [
        job.metadata[FOLLOW_DAYS].value
        for job in jobs
        if isinstance(job, dg.JobDefinition) and FOLLOW_DAYS in job.metadata
    ]
    return max((int(str(days)) for days in found), default=0)


def let_assets_follow(declared: dg.Definitions, days: int) -> dg.Definitions:
    """Give every asset with days its condition, where some of what it is made of has days too.

    Args:
        declared: all assets.
        days: how far back; 0: nothing follows.
    """
    assets = [one for one in declared.assets or [] if isinstance(one, (dg.AssetsDefinition, dg.AssetSpec))]
    specs = [spec for one in assets for spec in (one.specs if isinstance(one, dg.AssetsDefinition) else [one])]
    daily = {spec.key for spec in specs if _is_daily(spec)}
    if not days:
        return declared

    def add_condition(spec: dg.AssetSpec) -> dg.AssetSpec:
        sources = [dep.asset_key for dep in spec.deps if dep.asset_key in daily]
        if not sources or not _is_daily(spec) or spec.automation_condition is not None:
            return spec
        condition = build_condition(sources, days, collects=spec.tags.get(ROLE_TAG) == COLLECTS)
        return spec.replace_attributes(automation_condition=condition)

    return declared.permissive_map_resolved_asset_specs(func=add_condition, selection=None)


def build_condition(sources: Sequence[dg.AssetKey], days: int, *, collects: bool) -> dg.AutomationCondition:
    """Make a day when one of its sources' was made, all are there and none is being made.

    Args:
        sources: of what it is made of, the assets with days.
        days: how far back.
        collects: whether it collects a remote job's result: then it never goes into the run that submits the job.
    """
    on = dg.AutomationCondition
    among = dg.AssetSelection.assets(*sources)
    if collects:
        updated, missing = on.newly_updated(), on.missing()
    else:
        updated, missing = on.newly_updated() | on.will_be_requested(), on.missing() & ~on.will_be_requested()
    # A failure settles it too: what failed is tried again by a person, by the catch-up, or when a source is made anew.
    settled = on.newly_requested() | on.newly_updated() | on.initial_evaluation() | on.execution_failed().newly_true()
    condition = (
        on.in_latest_time_window(timedelta(days=days))
        & on.any_deps_match(updated).allow(among).since(settled)
        & ~on.any_deps_match(missing).allow(among)
        & ~on.any_deps_in_progress().allow(among)
        & ~on.in_progress()
    )
    return condition.with_label("follows what it is made of")


def _is_daily(spec: dg.AssetSpec) -> bool:
    return isinstance(spec.partitions_def, dg.TimeWindowPartitionsDefinition)
