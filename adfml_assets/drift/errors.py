"""What is wrong where a day cannot be compared with the training data: one family, its facts as attributes."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from adfml_assets.errors import AdfmlError


class DriftError(AdfmlError):
    """A day cannot be compared with what its model was trained on."""


class NoTrainingData(DriftError):
    """The training data of the version that scored is not in the lake."""

    def __init__(self, model: str, version: str, folder: str, file: str) -> None:
        self.model = model
        self.version = version
        self.folder = folder
        self.file = file
        super().__init__(
            f"Model {model} version {version}: {folder} has no {file} with a manifest: there is nothing to compare "
            f"with. Materialise the model's training data, partition {version}, or score with a version that has some."
        )


class UnknownVersion(DriftError):
    """A day's scores do not say which version made them."""

    def __init__(self, model: str, day: str) -> None:
        self.model = model
        self.day = day
        super().__init__(
            f"The scores of model {model}, {day}, do not say which version made them, so that there is nothing to "
            "compare with. Materialise the scores of the day again."
        )


class OtherInput(DriftError):
    """A day's records have been made again for another version than the one that scored."""

    def __init__(self, model: str, day: str, scored_by: str, made_for: str) -> None:
        self.model = model
        self.day = day
        self.scored_by = scored_by
        self.made_for = made_for
        super().__init__(
            f"Model {model}, {day}: the scores are by version {scored_by}, the scoring input was made for version "
            f"{made_for} meanwhile. Materialise the scores of the day again, then the drift."
        )


class FeaturesMissing(DriftError):
    """Features that are to be compared are not where they should be."""

    def __init__(self, where: str, missing: Sequence[str], found: Sequence[str]) -> None:
        self.where = where
        self.missing = tuple(missing)
        self.found = tuple(found)
        close = [match for name in missing for match in get_close_matches(name, found, n=1)]
        hint = f" Did you mean {', '.join(map(repr, close))}?" if close else ""
        super().__init__(
            f"{where} does not have {', '.join(missing)}. It has: {', '.join(found) or 'none'}.{hint} Correct "
            "`drift.features`, or train a new version."
        )


class NotNumeric(DriftError):
    """Columns that are to be compared hold no numbers."""

    def __init__(self, where: str, types: dict[str, str]) -> None:
        self.where = where
        self.types = dict(types)
        listed = ", ".join(f"{name} ({kind})" for name, kind in types.items())
        super().__init__(
            f"{where}: not numeric: {listed}. Only numbers and booleans are compared: leave the others out of "
            "`drift.features`."
        )


class BadScoreProfile(DriftError):
    """A model's metadata.json has a `score_profile` that is none."""

    def __init__(self, model: str, version: str, reason: str) -> None:
        self.model = model
        self.version = version
        self.reason = reason
        super().__init__(
            f"Model {model} version {version}: metadata.json's score_profile cannot be used ({reason}). Expected "
            "rising `edges`, one more of `counts`, and `rows`. Train the version again."
        )
