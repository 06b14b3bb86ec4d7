"""The rules of `DetectedAnomalies`: what models are fitted on, how readings become rows, when a row is an anomaly."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import ClassVar, Literal

import dagster as dg
from pydantic import ConfigDict

from adfml_assets.anomalies.declared import Alignment, FitRules, Threshold, parse_duration
from adfml_assets.components.declaration import STRICT
from adfml_assets.errors import DeclarationInvalid


def require(detector: str, holds: bool, what: str, found: object, expected: str) -> None:
    """Refuse what cannot be.

    Raises:
        DeclarationInvalid: it does not hold.
    """
    if not holds:
        raise DeclarationInvalid(f"Detector {detector}", what, found, expected)


@dataclass
class FitWindow(dg.Resolvable):
    """What the models are fitted on: days before the checked ones, or fixed ones.

    Attributes:
        window_days: the length of the window that ends where the checked one begins; 30 unless the days are fixed.
        refit: whether that window moves with every partition, or every Monday; until then the stored model is used.
        first_day, last_day: a fixed window, both days in it, as YYYY-MM-DD: fitted once, stored, and used from then on.
        may_overlap: let a fixed window reach into what is checked.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    window_days: int | None = None
    refit: Literal["daily", "weekly"] = "daily"
    first_day: str | None = None
    last_day: str | None = None
    may_overlap: bool = False

    def build(self, detector: str) -> FitRules:
        """The rules as plain values.

        Raises:
            DeclarationInvalid: they cannot be.
        """
        if self.first_day is None and self.last_day is None:
            days = 30 if self.window_days is None else self.window_days
            require(detector, days >= 1, "fit.window_days", days, "1 or more")
            require(detector, not self.may_overlap, "fit.may_overlap", True, "`first_day` and `last_day` with it")
            return FitRules(days, self.refit)
        first, last = (self._parse(detector, name) for name in ("first_day", "last_day"))
        require(detector, first <= last, "fit.first_day", self.first_day, f"a day up to `last_day`, {self.last_day}")
        require(detector, self.window_days is None, "fit.window_days", self.window_days, "either it or fixed days")
        return FitRules(None, "daily", first, last, self.may_overlap)

    def _parse(self, detector: str, name: str) -> date:
        text = getattr(self, name)
        try:
            return date.fromisoformat(text or "")
        except ValueError:
            expected = "a day as YYYY-MM-DD; a fixed window has a first and a last one"
            raise DeclarationInvalid(f"Detector {detector}", f"fit.{name}", text, expected) from None


@dataclass
class Align(dg.Resolvable):
    """How readings become complete rows: the service's alignPolicy, and an even distance.

    Attributes:
        mode: `outer` keeps every timestamp and fills what is missing; `inner` keeps those at which every variable has a
            value (alignMode).
        fill: how missing values are filled (fillNAMethod); `not_fill`: they are an error.
        padding_value: what `fixed` fills with (paddingValue).
        every: the distance of the rows, such as `10min`: readings in between are averaged, missing rows filled. Left
            out: the rows are as the readings are.
        max_gap: the longest time without a reading, such as `1h`. Left out: any.
        gaps: what becomes of longer ones: an error, or no rows are made inside of them.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    mode: Literal["outer", "inner"] = "outer"
    fill: Literal["linear", "previous", "subsequent", "zero", "fixed", "not_fill"] = "linear"
    padding_value: float | None = None
    every: str | None = None
    max_gap: str | None = None
    gaps: Literal["fail", "leave_out"] = "fail"

    def build(self, detector: str) -> Alignment:
        """The rules as plain values, durations in microseconds.

        Raises:
            DeclarationInvalid: they cannot be.
        """
        padded = (self.fill == "fixed") == (self.padding_value is not None)
        expected = "a number with `fill: fixed`, and nothing otherwise"
        require(detector, padded, "align.padding_value", self.padding_value, expected)
        every, max_gap = self._parse(detector, "every"), self._parse(detector, "max_gap")
        long_enough = not (every and max_gap) or max_gap >= every
        require(detector, long_enough, "align.max_gap", self.max_gap, f"at least `every`, {self.every}")
        return Alignment(self.mode, self.fill, self.padding_value, every, max_gap, self.gaps)

    def _parse(self, detector: str, name: str) -> int | None:
        text = getattr(self, name)
        if text is None:
            return None
        try:
            return parse_duration(text)
        except ValueError:
            expected = "a whole number and ms, s, min, h or d, such as 10min"
            raise DeclarationInvalid(f"Detector {detector}", f"align.{name}", text, expected) from None


@dataclass
class AnomalyThreshold(dg.Resolvable):
    """When a row is an anomaly, and how severe it is.

    Attributes:
        quantile: of the scores of held-out parts of the fit window; lower finds more, and more that are none.
        margin: what the quantile is multiplied by.
        severity_halfway: how many times the threshold a score of severity 0.5 is.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    quantile: float = 0.999
    margin: float = 1.2
    severity_halfway: float = 2.0

    def build(self, detector: str) -> Threshold:
        """The rules as plain values.

        Raises:
            DeclarationInvalid: they cannot be.
        """
        require(detector, 0 < self.quantile <= 1, "threshold.quantile", self.quantile, "above 0, at most 1")
        require(detector, self.margin > 0, "threshold.margin", self.margin, "above 0")
        halfway = self.severity_halfway
        require(detector, halfway > 1, "threshold.severity_halfway", halfway, "above 1")
        return Threshold(self.quantile, self.margin, halfway)


def check_columns(
    detector: str, timestamp: str, variables: Sequence[str], by: str | None, taken: set[str], taken_in_sql: set[str]
) -> None:
    """Refuse columns that cannot go together.

    Args:
        taken: names that the result has already; `by` keeps its own in it.
        taken_in_sql: those that the table it is written back to has; `by` and the timestamp keep their own there.

    Raises:
        DeclarationInvalid: there is one.
    """
    columns = [timestamp, *variables, *([by] if by else [])]
    require(detector, len(variables) >= 2, "variables", list(variables), "two columns or more")
    once = "every column once, the timestamp and `by` among them"
    require(detector, len(set(columns)) == len(columns), "variables", columns, once)
    for name, column, others in (("by", by, taken | taken_in_sql), ("timestamp", timestamp, taken_in_sql)):
        # SQL tells no upper case from lower case in column names.
        free = column is None or column.lower() not in {other.lower() for other in others}
        require(detector, free, name, column, f"none of the result's own columns ({', '.join(sorted(others))})")
