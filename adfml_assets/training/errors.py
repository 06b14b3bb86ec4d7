"""What can be wrong with training data: said before any job is submitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from adfml_assets.errors import AdfmlError

_SHOWN = 20


class PeriodInvalid(AdfmlError):
    """A start or end date that cannot be one.

    Attributes:
        where: whose dates they are.
        field: `start_date`, `end_date` or `snapshot_date`.
        found, expected: the value, and what it has to be.
    """

    def __init__(self, where: str, field: str, found: str, expected: str) -> None:
        self.where = where
        self.field = field
        self.found = found
        self.expected = expected
        super().__init__(f"{where}: {field} is {found!r}; expected {expected}.")


class LabelWindowPastData(AdfmlError):
    """An end date was asked for whose label looks at days that are not in the data."""

    def __init__(self, model: str, end_date: str, days: int, needed: str, last_day: str, latest: str) -> None:
        self.model = model
        self.end_date = end_date
        self.days = days
        self.needed = needed
        self.last_day = last_day
        super().__init__(
            f"Model {model}: end_date {end_date} and the label's {days} days reach to {needed}, but the data ends on "
            f"{last_day}. Ask for an end_date up to {latest}, or leave it out: then only whole windows are used."
        )


class WrongFeatureType(AdfmlError):
    """A column that a model is to learn from, or that says when, is of a type that cannot be.

    Attributes:
        source: the feature set or table.
        types: column -> its type, of all that are wrong.
    """

    def __init__(self, source: str, types: Mapping[str, str], expected: str, advice: str) -> None:
        self.source = source
        self.types = dict(types)
        self.expected = expected
        listed = ", ".join(f"{name} ({kind})" for name, kind in types.items())
        super().__init__(f"{source}: {listed} cannot be used: expected {expected}. {advice}")


class FeaturesMissingEverywhere(AdfmlError):
    """Features without a single value in the train split."""

    def __init__(self, model: str, features: Sequence[str], rows: int) -> None:
        self.model = model
        self.features = tuple(features)
        self.rows = rows
        super().__init__(
            f"Model {model}: {_list(features)} {_is(features)} NULL (or not finite) in all {rows} rows of the train "
            "split: nothing can be learned from it. Correct how it is made, or leave it out of the features."
        )


class LabelInvalid(AdfmlError):
    """Labels that nothing can be learned from."""

    def __init__(self, model: str, label: str, problem: str, advice: str) -> None:
        self.model = model
        self.label = label
        self.problem = problem
        super().__init__(f"Model {model}: the label {label} {problem}. {advice}")


class LabelFailed(AdfmlError):
    """A label's function cannot be applied to its tables."""

    def __init__(self, function: str, reason: str, tables: Mapping[str, Sequence[str]]) -> None:
        self.function = function
        self.reason = reason
        self.tables = {name: tuple(columns) for name, columns in tables.items()}
        listed = "; ".join(f"{name} has {', '.join(columns)}" for name, columns in self.tables.items()) or "none"
        super().__init__(
            f"{function} cannot be used: {reason}. It is given its tables, feature_dates and days. Tables: {listed}."
        )


class DuplicateLabels(AdfmlError):
    """A label's function gave several rows for one key and feature date."""

    def __init__(self, function: str, key: str, duplicates: int) -> None:
        self.function = function
        self.key = key
        self.duplicates = duplicates
        super().__init__(
            f"{function}: {duplicates} rows repeat a ({key}, feature_date) that another row has. Aggregate in the "
            "function so that each pair has one label."
        )


class TimesMissing(AdfmlError):
    """Rows that do not say when they were true: they lie before or after nothing."""

    def __init__(self, table: str, column: str, rows: int, examples: Sequence[str]) -> None:
        self.table = table
        self.column = column
        self.rows = rows
        self.examples = tuple(examples)
        shown = f", for example {', '.join(map(repr, examples))}" if examples else ""
        super().__init__(
            f"{table}: {column} is NULL or no date in {rows} rows{shown}. Correct them, or leave them out by `where`."
        )


class SnapshotsDiffer(AdfmlError):
    """Snapshots of a feature set that were made by different definitions, or have different columns."""

    def __init__(self, feature_set: str, one: str, other: str, difference: str) -> None:
        self.feature_set = feature_set
        self.one = one
        self.other = other
        self.difference = difference
        super().__init__(
            f"Feature set {feature_set}: the snapshots {one} and {other} cannot be one training set:\n{difference}\n"
            f"Materialise the older ones again, or ask for dates that leave them out."
        )


class NamesTaken(AdfmlError):
    """A column that a category would become has the name of another column."""

    def __init__(self, source: str, names: Sequence[str]) -> None:
        self.source = source
        self.names = tuple(names)
        super().__init__(
            f"{source}: {_list(names)} would be in the training data twice. Name the features otherwise: neither key, "
            "time nor label, and none that is <category column>_<category>."
        )


class CardDamaged(AdfmlError, ValueError):
    """A version's data card, which says what the version was made from, cannot be read."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(
            f"{path} cannot be read ({reason}). It says which snapshots and dates the version was made from. Restore "
            "it, or delete it: then the version is made anew from what is declared."
        )


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _is(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"
