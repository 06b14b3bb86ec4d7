"""What a detector is, as plain values: its columns, windows and rules."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

from adfml_assets.anomalies.errors import FitOverlaps

Mode = Literal["outer", "inner"]
Fill = Literal["linear", "previous", "subsequent", "zero", "fixed", "not_fill"]
Refit = Literal["daily", "weekly"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = {"ms": 1_000, "s": 1_000_000, "min": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}


@dataclass(frozen=True)
class Alignment:
    """How a group's readings become complete rows (the service's alignPolicy).

    Attributes:
        mode: `outer` keeps every timestamp and fills what is missing, `inner` keeps those at which every variable has
            a value.
        fill: how missing values are filled; `not_fill`: they are an error.
        padding_value: what `fixed` fills with.
        every: the distance of the rows in microseconds: readings in between are averaged, rows without one are filled;
            None: the rows are as the readings are.
        max_gap: the longest time without a reading in microseconds; None: any.
        gaps: what becomes of longer ones: they fail the group, or no rows are made inside them.
    """

    mode: Mode = "outer"
    fill: Fill = "linear"
    padding_value: float | None = None
    every: int | None = None
    max_gap: int | None = None
    gaps: Literal["fail", "leave_out"] = "fail"


@dataclass(frozen=True)
class FitRules:
    """What a model is fitted on.

    Attributes:
        window_days: the length of the window that ends where the checked one begins; None: a fixed one.
        refit: whether a moving window moves every day or every Monday.
        first_day, last_day: of a fixed window, both in it.
        may_overlap: whether a fixed window may reach into the checked one.
    """

    window_days: int | None = 30
    refit: Refit = "daily"
    first_day: date | None = None
    last_day: date | None = None
    may_overlap: bool = False


@dataclass(frozen=True)
class Threshold:
    """When a score is an anomaly, and how severe.

    Attributes:
        quantile: of the scores that held-out parts of the fit window have.
        margin: what the quantile is multiplied by.
        severity_halfway: how many times the threshold a score of severity 0.5 is.
    """

    quantile: float = 0.999
    margin: float = 1.2
    severity_halfway: float = 2.0


@dataclass(frozen=True)
class DetectorSpec:
    """A detector.

    Attributes:
        name: of the detector and its folders in the lake.
        timestamp: the column that says when, UTC where it has no zone.
        variables: the numeric columns that belong together.
        by: the column that tells series apart; each has a model of its own.
        detect_days: how many days a partition checks; the last one is its own.
        components: the share of the variance that the kept components explain.
        top_contributors: how many variables are named at an anomaly.
        leave_out_errors: whether groups that cannot be checked are left out, rather than failing the partition.
    """

    name: str
    timestamp: str
    variables: tuple[str, ...]
    by: str | None = None
    fit: FitRules = FitRules()
    detect_days: int = 1
    align: Alignment = Alignment()
    components: float = 0.95
    threshold: Threshold = Threshold()
    top_contributors: int = 5
    leave_out_errors: bool = False

    def describe_model(self) -> dict[str, Any]:
        """What a stored model depends on besides its window and variables."""
        return {
            "timestamp": self.timestamp,
            "by": self.by,
            "align": asdict(self.align),
            "components": self.components,
            "quantile": self.threshold.quantile,
            "margin": self.threshold.margin,
        }


@dataclass(frozen=True)
class Window:
    """Whole UTC days.

    Attributes:
        first: the first day.
        end: the day after the last one.
    """

    first: date
    end: date

    @property
    def begin_us(self) -> int:
        """Its first microsecond since 1970."""
        return to_microseconds(self.first)

    @property
    def end_us(self) -> int:
        """The first microsecond after it."""
        return to_microseconds(self.end)

    def __str__(self) -> str:
        """`first to last`, both in it."""
        return f"{self.first} to {self.end - timedelta(days=1)}"


@dataclass(frozen=True)
class Windows:
    """What a partition checks, and with which model.

    Attributes:
        detect: what is checked.
        fit: what the model is fitted on.
        version: of the model: the day after its fit window.
        stored_model: whether a stored model of this version is used rather than fitted again.
    """

    detect: Window
    fit: Window
    version: str
    stored_model: bool


def choose_windows(spec: DetectorSpec, day: str, last_reading: datetime | None) -> Windows:
    """The windows of a partition: the fit window ends before the checked one begins, unless declared otherwise.

    Args:
        day: the partition.
        last_reading: where the data has ended before the day, the newest reading: its day is checked instead. None:
            the partition's own.

    Raises:
        FitOverlaps: a fixed fit window reaches into what is checked.
    """
    newest = date.fromisoformat(day)
    if last_reading is not None:
        newest = min(newest, last_reading.astimezone(UTC).date())
    end = newest + timedelta(days=1)
    detect = Window(end - timedelta(days=spec.detect_days), end)
    rules = spec.fit
    if rules.window_days is None:
        if rules.first_day is None or rules.last_day is None:
            raise ValueError("a fixed fit window has a first and a last day")
        fit = Window(rules.first_day, rules.last_day + timedelta(days=1))
        if fit.end > detect.first and not rules.may_overlap:
            raise FitOverlaps(spec.name, str(fit), str(detect))
        return Windows(detect, fit, fit.end.isoformat(), stored_model=True)
    fit_end = detect.first
    if rules.refit == "weekly":
        fit_end -= timedelta(days=fit_end.weekday())
    fit = Window(fit_end - timedelta(days=rules.window_days), fit_end)
    return Windows(detect, fit, fit_end.isoformat(), stored_model=rules.refit == "weekly")


def parse_duration(text: str) -> int:
    """Microseconds of `500ms`, `30s`, `10min`, `1h` or `2d`.

    Raises:
        ValueError: it is none of these, or nothing.
    """
    found = re.fullmatch(r"(\d+)\s*(ms|s|min|h|d)", text.strip())
    if found is None or int(found[1]) == 0:
        raise ValueError(f"{text!r} is no duration: expected a whole number and ms, s, min, h or d, such as 10min.")
    return int(found[1]) * _UNITS[found[2]]


def format_duration(microseconds: int) -> str:
    """`10min`, `1h` and so on: the largest unit that divides it."""
    for unit, size in reversed(_UNITS.items()):
        if microseconds >= size and microseconds % size == 0:
            return f"{microseconds // size}{unit}"
    return f"{microseconds / 1_000_000:g}s"


def format_moment(microseconds: int) -> str:
    """A moment as messages have it: UTC, without zone."""
    return str((_EPOCH + timedelta(microseconds=microseconds)).replace(tzinfo=None))


def to_microseconds(day: date) -> int:
    """The first microsecond of a UTC day since 1970."""
    return (day - _EPOCH.date()).days * _UNITS["d"]
