"""What can be wrong with a training or a promotion that is asked for: said before anything is done."""

from __future__ import annotations

from adfml_assets.errors import AdfmlError


class TrainingConfigInvalid(AdfmlError):
    """A value of a training run's config cannot be. No job was submitted.

    Attributes:
        model: its name.
        field: of the run's config.
        found, expected: the value, and what it has to be.
    """

    def __init__(self, model: str, field: str, found: str, expected: str) -> None:
        self.model = model
        self.field = field
        self.found = found
        self.expected = expected
        super().__init__(
            f"Model {model}: {field} is {found!r} in the run's config; expected {expected}. No job was submitted."
        )


class ReasonMissing(AdfmlError):
    """A version is to be promoted against the gate, and nobody says why."""

    def __init__(self, model: str, version: str) -> None:
        self.model = model
        self.version = version
        super().__init__(
            f"Version {version} of model {model} is promoted against the gate only with a reason, which stays in its "
            f"history: adfml promote {model} {version} --force --reason '...'."
        )
