"""Times of the day in any zone against UTC days: where the clocks change, some UTC days would be left out."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

_AROUND = timedelta(days=2)
_LOOK = timedelta(days=800)
"""How far ahead clocks that change are looked for: two years and what a week more or less may shift."""


def is_cron(expression: str) -> bool:
    """Whether Dagster takes a cron expression: five fields."""
    from dagster._utils.schedules import is_valid_cron_string

    return len(expression.split()) == 5 and is_valid_cron_string(expression)


def is_zone(name: str) -> bool:
    """Whether there is such a time zone."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


def find_skipped_day(cron: str, timezone: str, now: datetime | None = None) -> date | None:
    """The first UTC day that a daily schedule leaves out because the clocks change; None: there is none.

    01:30 in Berlin is 23:30 UTC of the day before in summer and 00:30 UTC in winter: on the day the clocks go back it
    comes in no hour of that UTC day.

    Args:
        cron: an expression; one that is not meant for every day leaves days out anyway, and is not looked at.
        timezone: an IANA name.
        now: from when on; None: from now on.
    """
    if cron.split()[2:] != ["*", "*", "*"]:
        return None
    start = now or datetime.now(UTC)
    for change in _find_changes(ZoneInfo(timezone), start):
        ticked = {tick.date() for tick in list_ticks(cron, timezone, change - _AROUND, change + _AROUND)}
        inner = (change + timedelta(days=offset) for offset in (-1, 0, 1))
        skipped = next((day.date() for day in inner if day.date() not in ticked), None)
        if skipped is not None:
            return skipped
    return None


def list_ticks(cron: str, timezone: str, start: datetime, end: datetime) -> list[datetime]:
    """When Dagster ticks by a cron expression, from a moment to another, as UTC."""
    from dagster._utils.schedules import schedule_execution_time_iterator

    ticks = []
    for tick in schedule_execution_time_iterator(start.timestamp(), cron, timezone, ascending=True):
        if tick >= end:
            break
        ticks.append(tick.astimezone(UTC))
    return ticks


def _find_changes(zone: ZoneInfo, start: datetime) -> list[datetime]:
    """Noons (UTC) of days on which a zone's offset changes."""
    noon = start.astimezone(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    days = [noon + timedelta(days=offset) for offset in range(_LOOK.days)]
    offsets = [day.astimezone(zone).utcoffset() for day in days]
    return [day for day, before, after in zip(days[1:], offsets, offsets[1:], strict=False) if before != after]
