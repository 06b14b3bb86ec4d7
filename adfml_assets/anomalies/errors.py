"""What is wrong with readings, a fit window or a stored model: one family, each with its facts as attributes."""

from __future__ import annotations

from collections.abc import Sequence

from adfml_assets.errors import AdfmlError


class DetectionError(AdfmlError):
    """Anomalies cannot be looked for.

    Attributes:
        code: the kind of error, as the service's `errors[].code` was.
    """

    code = "DetectionFailed"


class GroupError(DetectionError):
    """One group (a machine, say) cannot be fitted or checked; where `errors: leave_out` is declared, the others are."""


class WrongColumnType(DetectionError):
    """A column is of a type that cannot be what it is declared as."""

    code = "WrongColumnType"

    def __init__(self, table: str, column: str, found: str, expected: str) -> None:
        self.table = table
        self.column = column
        self.found = found
        self.expected = expected
        super().__init__(f"{table}.{column} is {found}: expected {expected}. Declare another column.")


class UnreadableTimestamps(DetectionError):
    """Timestamps are missing, or are no moments."""

    code = "UnreadableTimestamps"

    def __init__(self, table: str, column: str, missing: int, unparsable: int, examples: Sequence[str]) -> None:
        self.table = table
        self.column = column
        self.missing = missing
        self.unparsable = unparsable
        self.examples = tuple(examples)
        shown = f" (for example {', '.join(map(repr, self.examples))})" if self.examples else ""
        super().__init__(
            f"{table}.{column}: {missing} rows have no timestamp, {unparsable} have one that is no moment{shown}. "
            "Expected ISO 8601, such as 2026-10-31 18:00:00 or 2026-10-31T18:00:00Z; without an offset it is UTC. "
            "Correct the rows at the source."
        )


class MissingGroups(DetectionError):
    """Rows do not say whose readings they are."""

    code = "MissingGroups"

    def __init__(self, table: str, column: str, rows: int) -> None:
        self.table = table
        self.column = column
        self.rows = rows
        super().__init__(f"{table}.{column} (`by`) is NULL in {rows} rows. Correct them at the source.")


class FitOverlaps(DetectionError):
    """The fit window reaches into what is to be checked."""

    code = "FitOverlaps"

    def __init__(self, detector: str, fit: str, detect: str) -> None:
        self.detector = detector
        super().__init__(
            f"Detector {detector}: it would be fitted on {fit} and check {detect}: the model would have seen what it "
            "is to judge. End the fit window before (`fit: {last_day: ...}`), or say `fit: {may_overlap: true}`."
        )


class DuplicateTimestamps(GroupError):
    """One moment has several readings."""

    code = "DuplicateTimestamps"

    def __init__(self, where: str, count: int, examples: Sequence[str]) -> None:
        self.where = where
        self.count = count
        self.examples = tuple(examples)
        super().__init__(
            f"{where}: {count} readings repeat the timestamp of another one ({', '.join(self.examples)}). Expected one "
            "row a timestamp: remove the repeated rows, or name the column that tells the series apart as `by`."
        )


class MissingValues(GroupError):
    """Values are missing that are not to be filled, or cannot be."""

    code = "MissingValues"

    def __init__(self, where: str, counts: dict[str, int], first: str, rows: int) -> None:
        self.where = where
        self.counts = counts
        shown = ", ".join(f"{name} in {count}" for name, count in counts.items())
        whole = [name for name, count in counts.items() if count == rows]
        advice = (
            f"{', '.join(whole)} has no value at all: leave it out of `variables`."
            if whole
            else "Declare how to fill them (`align: {fill: linear}`), or leave such rows out (`align: {mode: inner}`)."
        )
        super().__init__(
            f"{where}: of {rows} rows values (NULL or NaN) are missing of {shown}; first {first}. {advice}"
        )


class InfiniteValues(GroupError):
    """Values are infinite."""

    code = "InfiniteValues"

    def __init__(self, where: str, variable: str, count: int, first: str) -> None:
        self.where = where
        self.variable = variable
        self.count = count
        super().__init__(
            f"{where}: {variable} is infinite in {count} rows, first {first}. Correct them at the source; a value that "
            "is not known is NULL."
        )


class GapTooLarge(GroupError):
    """Between two readings lies more time than is allowed."""

    code = "GapTooLarge"

    def __init__(self, where: str, variable: str, begin: str, end: str, length: str, allowed: str, count: int) -> None:
        self.where = where
        self.variable = variable
        self.begin = begin
        self.end = end
        self.count = count
        more = f" {count - 1} more gaps are too large." if count > 1 else ""
        super().__init__(
            f"{where}: {variable} has no reading for {length}, from {begin} to {end}; `max_gap` allows {allowed}."
            f"{more} Raise `max_gap`, or leave gaps as they are with `align: {{gaps: leave_out}}`."
        )


class GridTooFine(GroupError):
    """The readings lie much further apart than the declared grid."""

    code = "GridTooFine"

    def __init__(self, where: str, readings: int, points: int, every: str) -> None:
        self.where = where
        self.readings = readings
        self.points = points
        super().__init__(
            f"{where}: every {every} makes {points} rows of {readings} readings: nearly all would be made up. Set "
            "`align: {every: ...}` to about how often there is a reading, and `max_gap` with `gaps: leave_out` where "
            "there are long pauses."
        )


class TooFewRows(GroupError):
    """The fit window has too few rows to learn from."""

    code = "TooFewRows"

    def __init__(self, where: str, rows: int, needed: int) -> None:
        self.where = where
        self.rows = rows
        self.needed = needed
        super().__init__(
            f"{where}: {rows} complete rows to fit on, {needed} are needed. Lengthen the fit window, declare fewer "
            "`variables`, or leave such groups out with `errors: leave_out`."
        )


class ConstantColumn(GroupError):
    """A variable never changes in the fit window."""

    code = "ConstantColumn"

    def __init__(self, where: str, columns: dict[str, float], rows: int) -> None:
        self.where = where
        self.columns = columns
        shown = ", ".join(f"{name} is {value:g}" for name, value in columns.items())
        super().__init__(
            f"{where}: {shown} in all {rows} rows of the fit window: nothing can be learned of how it goes with the "
            "others. Leave it out of `variables`, or lengthen the fit window."
        )


class NoModelOfGroup(GroupError):
    """A group has readings to be checked and no model."""

    code = "NoModelOfGroup"

    def __init__(self, where: str, model: str) -> None:
        self.where = where
        self.model = model
        super().__init__(
            f"{where}: model {model} was fitted without it. Materialise with the run config `refit: true` when it has "
            "readings in the fit window, or leave such groups out with `errors: leave_out`."
        )


class GroupsFailed(DetectionError):
    """Groups could not be fitted or checked, and are not to be left out."""

    code = "GroupsFailed"

    def __init__(self, detector: str, day: str, errors: Sequence[str], groups: int) -> None:
        self.errors = tuple(errors)
        lines = "\n".join(f"- {error}" for error in self.errors[:20])
        more = f"\n- and {len(self.errors) - 20} more" if len(self.errors) > 20 else ""
        super().__init__(
            f"Detector {detector}, {day}: {len(self.errors)} of {groups} groups could not be checked. Nothing of the "
            f"partition is visible.\n{lines}{more}"
        )


class ModelMismatch(DetectionError):
    """A stored model was fitted otherwise than is declared."""

    code = "ModelMismatch"

    def __init__(self, path: str, what: str, fitted: object, declared: object) -> None:
        self.path = path
        self.what = what
        self.fitted = fitted
        self.declared = declared
        super().__init__(
            f"{path} was fitted with other {what} than are declared:\n  fitted:   {fitted}\n  declared: {declared}\n"
            "Declare what it was fitted with, give the detector another name, or fit it anew: materialise with the run "
            "config `refit: true`."
        )


class ModelRefused(DetectionError):
    """A stored model's file is not what was stored, or holds what a model does not have."""

    code = "ModelRefused"

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(
            f"{path} is refused: {reason}. Nothing of it is used; materialise with the run config `refit: true`."
        )
