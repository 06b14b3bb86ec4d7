"""What the rules let go, partition by partition, and what stays although it is old, with the reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from adfml_assets.retention import needed
from adfml_assets.retention.rules import PartitionRule, RetentionRules
from adfml_assets.retention.series import Series, list_series

if TYPE_CHECKING:
    import dagster as dg

    from resources.control import ControlDatabase
    from resources.lake import Lake


@dataclass(frozen=True)
class Going:
    """A partition that goes."""

    asset: str
    day: str
    folder: str
    reason: str


@dataclass(frozen=True)
class Staying:
    """A partition that is older than its rule keeps, and stays."""

    asset: str
    day: str
    reason: str


@dataclass(frozen=True)
class SeriesPlan:
    """What becomes of an asset's partitions.

    Attributes:
        asset: its key.
        rule: in words.
        found: how many there are.
        going: those that go, oldest first.
        staying: those that are too old and needed.
    """

    asset: str
    rule: str
    found: int
    going: list[Going] = field(default_factory=list)
    staying: list[Staying] = field(default_factory=list)


def plan_partitions(
    lake: Lake, control: ControlDatabase, instance: dg.DagsterInstance, rules: RetentionRules, *, now: datetime
) -> list[SeriesPlan]:
    """Look at the lake, and decide. Nothing is changed.

    Raises:
        Corrupt: a manifest cannot be read: what it is part of is for somebody to look at first.
    """
    series = list_series(lake)
    chosen = [(one, rule) for one in series if (rule := rules.find(one.asset)) is not None]
    old = {one.folder: list_old_days(one, rule, now.date()) for one, rule in chosen}
    folders, days = needed.find_needed_folders(lake, control), needed.find_needed_days(control, instance)
    claimed = needed.find_claimed(control, now)

    def why_needed(one: Series, day: str) -> str | None:
        if (why := folders.get(one.folders[day]) or days.get(day)) is not None:
            return why
        return "a run has claimed it and not committed yet" if (one.asset, day) in claimed else None

    # Whole snapshots first: which of them stay decides which increments are the only ones with their rows.
    going = {one.folder: {day for day in old[one.folder] if why_needed(one, day) is None} for one, _ in chosen}
    covered = needed.find_state_days(series, going)
    return [_plan_series(one, rule, old[one.folder], why_needed, covered) for one, rule in chosen]


def list_old_days(series: Series, rule: PartitionRule, today: date) -> list[str]:
    """The days of partitions that a rule by itself lets go, oldest first."""
    days = list(series.folders)
    first = (today - timedelta(days=rule.keep_days - 1)).isoformat()
    kept = set(days[-rule.keep_newest :])
    if rule.keep_first_of_month:
        firsts: dict[str, str] = {}
        for day in days:
            firsts.setdefault(day[:7], day)
        kept |= set(firsts.values())
    return [day for day in days if day < first and day not in kept]


def _plan_series(
    series: Series,
    rule: PartitionRule,
    old: list[str],
    why_needed: Callable[[Series, str], str | None],
    covered: Mapping[str, str],
) -> SeriesPlan:
    plan = SeriesPlan(series.asset, rule.describe(), len(series.folders))
    for day in old:
        why = why_needed(series, day)
        if why is None and not rule.may_lose_state and day >= covered.get(series.folder, "9999"):
            why = "no later full snapshot has its rows: without it the table's whole state is lost (may_lose_state)"
        if why is None:
            plan.going.append(Going(series.asset, day, series.folders[day], rule.describe()))
        else:
            plan.staying.append(Staying(series.asset, day, why))
    return plan
