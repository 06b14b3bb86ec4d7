"""Which snapshots and dates a version is made from: as a run is told, as it was made before, or as declared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any

from adfml_assets.training.errors import CardDamaged, LabelWindowPastData
from adfml_assets.training.spec import FeaturesSource, Period, QuerySource, parse_day, parse_period
from resources.lake import Lake

DATA_CARD = "data_card.json"


@dataclass(frozen=True)
class Asked:
    """What a run is told; dates as they are written, None: nothing is said.

    Attributes:
        snapshot_date: the features' snapshot; with `snapshots: each` the last one that counts, and of a query the last
            day of the data that counts.
        start_date, end_date: the first and the last date of the rows.
    """

    snapshot_date: str | None = None
    start_date: str | None = None
    end_date: str | None = None


@dataclass(frozen=True)
class Choice:
    """What a version is made from.

    Attributes:
        asked: what the version was told, by this run or an earlier one or by its declaration: recorded with it.
        snapshot_date: the features' snapshot; None: the newest one.
        snapshots: with `snapshots: each` exactly these; None: all there are in the period.
        period: the dates of the rows.
        last_day: the last day of the data that counts; None: it is still to be found.
    """

    asked: Asked
    snapshot_date: str | None
    snapshots: tuple[str, ...] | None
    period: Period
    last_day: date | None


def read_card(lake: Lake, folder: str) -> dict[str, Any] | None:
    """A version's data card; None: there is none. It is there before the data are, and stays where a run is killed.

    Raises:
        CardDamaged: it cannot be read.
    """
    path = f"{folder}/{DATA_CARD}"
    try:
        return dict(json.loads(lake.read_bytes(path)))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise CardDamaged(path, str(error)) from None


def choose(model: str, source: FeaturesSource | QuerySource, asked: Asked, before: Mapping[str, Any] | None) -> Choice:
    """What a version is made from.

    A run that is told nothing makes the version again from the same snapshots and dates as before. What it is told
    takes the place of what the version was told before, field by field; the declaration counts where neither says
    anything.

    Args:
        before: the version's data card; None: the version is new.

    Raises:
        PeriodInvalid: dates that are none, or the wrong way round.
    """
    where = f"Training data of {model}"
    parse_day(where, "snapshot_date", asked.snapshot_date)
    known = before if before is not None and before.get("source", {}).get("of") == name_source(source) else None
    if known is not None and asked == Asked():
        told = Asked(**known["asked"])
        return Choice(
            asked=told,
            snapshot_date=known["snapshot_date"],
            snapshots=tuple(known["source"].get("snapshot_dates", ())) or None,
            period=parse_period(where, told.start_date, told.end_date),
            last_day=date.fromisoformat(known["source"]["last_day"]),
        )
    told = Asked(**known["asked"]) if known is not None else Asked()
    merged = Asked(
        snapshot_date=asked.snapshot_date or told.snapshot_date,
        start_date=asked.start_date or told.start_date or _write(source.period.start),
        end_date=asked.end_date or told.end_date or _write(source.period.end),
    )
    return Choice(
        asked=merged,
        snapshot_date=asked.snapshot_date or (known["snapshot_date"] if known is not None else None),
        snapshots=None,
        period=parse_period(where, merged.start_date, merged.end_date),
        last_day=parse_day(where, "snapshot_date", merged.snapshot_date) if isinstance(source, QuerySource) else None,
    )


def is_same_choice(source: FeaturesSource | QuerySource, asked: Asked, before: Mapping[str, Any] | None) -> bool:
    """Whether a version would be made from what it was made from before; also where nothing is known of that.

    Args:
        before: the version's data card; None: there is none.
    """
    if before is None:
        return True
    told: Mapping[str, Any] = before["asked"]
    given = {name: value for name, value in asdict(asked).items() if value is not None}
    return before["source"].get("of") == name_source(source) and all(told.get(n) == value for n, value in given.items())


def name_source(source: FeaturesSource | QuerySource) -> str:
    """What tells a source from others: a version whose source is another one by now starts anew."""
    if isinstance(source, FeaturesSource):
        return f"features {source.feature_set} {source.snapshots}"
    return f"query {source.table}"


def describe_asked(asked: Asked) -> dict[str, str | None]:
    """As the data card has it."""
    return asdict(asked)


def require_whole_windows(model: str, choice: Choice, days: int, last_day: date) -> None:
    """Make sure that labels of an end date that was asked for are whole. Without one dates without are left out.

    Raises:
        LabelWindowPastData: its label looks at days after the data's last.
    """
    end = choice.period.end
    if end is None or days <= (last_day - end).days:
        return
    latest = last_day - timedelta(days=days)
    needed = (end + timedelta(days=days)).isoformat() if (date.max - end).days >= days else "the end of time"
    raise LabelWindowPastData(model, end.isoformat(), days, needed, last_day.isoformat(), latest.isoformat())


def _write(day: date | None) -> str | None:
    return day.isoformat() if day is not None else None
