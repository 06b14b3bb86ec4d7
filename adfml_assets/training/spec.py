"""What training data is made from: sources, labels and dates, as declared and as asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Literal

from adfml_assets.features.definition import TableRef
from adfml_assets.training.errors import PeriodInvalid

Snapshots = Literal["newest", "each"]
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


@dataclass(frozen=True)
class Period:
    """Days, both ends included; None: no end. `start` is never after `end`."""

    start: date | None = None
    end: date | None = None

    def __contains__(self, day: date) -> bool:
        """Whether a day lies in it."""
        return (self.start is None or day >= self.start) and (self.end is None or day <= self.end)


@dataclass(frozen=True)
class LabelSpec:
    """What a model predicts.

    Attributes:
        name: of the label's column.
        function: `package.module.function` of an ibis expression giving key, feature_date and `label`; None: the label
            is a column of the rows.
        days: how many days after a row's date the label looks at.
        baseline: a feature that is itself a naive forecast of the label; the model must beat it.
        tables: name in the function -> archived table.
    """

    name: str
    function: str | None
    days: int
    baseline: str
    tables: Mapping[str, TableRef] = field(default_factory=dict)


@dataclass(frozen=True)
class FeaturesSource:
    """A feature set's snapshots; see `FromFeatures`."""

    feature_set: str
    snapshots: Snapshots = "newest"
    period: Period = Period()
    most_categories: int = 30
    validation_dates: int = 1
    test_dates: int = 1


@dataclass(frozen=True)
class QuerySource:
    """Rows of a table of a source database; see `FromQuery`."""

    table: str
    key: str
    time: str
    where: str | None = None
    features: tuple[str, ...] | None = None
    period: Period = Period()
    validation_dates: int = 1
    test_dates: int = 1


def parse_period(where: str, start: str | None, end: str | None) -> Period:
    """Two dates as they are written.

    Args:
        where: whose dates they are, for the error.

    Raises:
        PeriodInvalid: one is no date, or they are the wrong way round.
    """
    period = Period(parse_day(where, "start_date", start), parse_day(where, "end_date", end))
    if period.start is not None and period.end is not None and period.start > period.end:
        raise PeriodInvalid(where, "start_date", str(start), f"a date up to end_date, {end}")
    return period


def parse_day(where: str, field: str, text: str | None) -> date | None:
    """A date as it is written; None stays None.

    Raises:
        PeriodInvalid: it is none.
    """
    if text is None:
        return None
    try:
        day = date.fromisoformat(text) if _DAY.fullmatch(text) else None
    except ValueError:
        day = None
    if day is None:
        raise PeriodInvalid(where, field, text, "a date, YYYY-MM-DD")
    return day
