"""What keeps a day's records from being scored: one family, each with its facts as attributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from adfml_assets.errors import AdfmlError


class NoSuchAlias(AdfmlError):
    """No version of a model has the alias that is to score."""

    def __init__(self, model: str, alias: str, aliases: Mapping[str, str], versions: Sequence[str]) -> None:
        self.model = model
        self.alias = alias
        self.aliases = dict(aliases)
        self.versions = tuple(versions)
        found = ", ".join(f"{name} -> {version}" for name, version in sorted(aliases.items())) or "none"
        super().__init__(
            f"No version of model {model} is {alias!r} (aliases: {found}; versions: {', '.join(versions) or 'none'}). "
            "Train a version that passes its gate first."
        )


class ChoiceInvalid(AdfmlError):
    """A run names both an alias and a version."""

    def __init__(self, model: str, alias: str, version: str) -> None:
        self.model = model
        self.alias = alias
        self.version = version
        super().__init__(
            f"Model {model}: the run's config names alias {alias!r} and version {version!r}; expected one of the two."
        )


class FeaturesDiffer(AdfmlError):
    """The records to score do not have the features the model was trained on.

    Attributes:
        expected, found: the model's features and those of the records, each in order.
        reason: what differs, in words.
    """

    def __init__(self, model: str, version: str, expected: Sequence[str], found: Sequence[str], reason: str) -> None:
        self.model = model
        self.version = version
        self.expected = tuple(expected)
        self.found = tuple(found)
        self.reason = reason
        super().__init__(
            f"Model {model} version {version} was trained on other features than these records have: {reason}\n"
            "Nothing was submitted. Train a new version on these features, or restore those of the model."
        )


class FeaturesEmpty(AdfmlError):
    """Features are NULL in every record, and the model was trained on their values."""

    def __init__(self, model: str, version: str, records: int, features: Sequence[str]) -> None:
        self.model = model
        self.version = version
        self.records = records
        self.features = tuple(features)
        super().__init__(
            f"Model {model} version {version}: in all {records} records these features are NULL, though the model "
            f"learned from their values: {', '.join(features)}. Nothing was submitted. Mend what makes them, or train "
            "a version without them."
        )


class InputOutdated(AdfmlError):
    """A day's scoring input is not for what is to be scored now."""

    def __init__(self, model: str, day: str, reason: str) -> None:
        self.model = model
        self.day = day
        self.reason = reason
        super().__init__(f"Model {model}, {day}: {reason}; materialise the scoring input of that day again.")


class ScoresOutdated(AdfmlError):
    """A job scored other records than the day's scoring input has now."""

    def __init__(self, model: str, day: str, submission_key: str) -> None:
        self.model = model
        self.day = day
        self.submission_key = submission_key
        super().__init__(
            f"Model {model}, {day}: the scoring input was made anew after job {submission_key} was submitted. "
            "Materialise the job of that day again; nothing of the old one is used."
        )


class WrongRecords(AdfmlError):
    """The records to score cannot be told apart."""

    def __init__(self, where: str, reason: str) -> None:
        self.where = where
        self.reason = reason
        super().__init__(f"{where}: {reason}; every record needs a RecordId of its own. Nothing was sent.")


class PastRecords(AdfmlError):
    """The records of another day than today were asked for, and none were read that day."""

    def __init__(self, table: str, day: str, today: str) -> None:
        self.table = table
        self.day = day
        self.today = today
        when = "has passed" if day < today else "has not come yet"
        super().__init__(
            f"{table}, {day}: no records were read that day, and it {when} (today is {today}, UTC). What waits to be "
            "scored can only be read now; today's rows under another date would be wrong. Materialise "
            f"{today}: what still waits is in it."
        )


class ScoredDateInvalid(AdfmlError):
    """The column that is to say when a row was scored cannot hold that."""

    def __init__(self, table: str, column: str, found: str) -> None:
        self.table = table
        self.column = column
        self.found = found
        super().__init__(
            f"{table}.{column} is {found}: expected a date, datetime or timestamp column that says when a row was "
            "scored. Name another one as scored_date."
        )
