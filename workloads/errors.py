"""What can go wrong in a workload: one base class, its facts kept as attributes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class WorkloadError(Exception):
    """A workload cannot go on: what was wrong, where, what was expected and what to do, in one line.

    Attributes:
        message: The whole sentence, without line breaks.
        facts: The values the sentence is made of (paths, column names, counts), for code that reacts to them.
    """

    def __init__(self, message: str, **facts: object) -> None:
        self.message = " ".join(message.split())
        self.facts = facts
        super().__init__(self.message)


class TrainingError(WorkloadError):
    """A model cannot be trained, evaluated, registered or written."""


class ScoringError(WorkloadError):
    """Rows cannot be scored, or their scores cannot be written."""


class FeaturesError(WorkloadError):
    """Features cannot be built, or cannot be written."""


class ModelFileError(WorkloadError):
    """A model file is refused before anything in it is used: wrong hash, foreign types, damaged trees."""


@contextmanager
def raise_as(kind: type[WorkloadError]) -> Iterator[None]:
    """Let every `WorkloadError` of the block be one of a kind, with its message and facts."""
    try:
        yield
    except kind:
        raise
    except WorkloadError as error:
        raise kind(error.message, **error.facts) from error
