"""Which version of a model scores: resolved once, when a day's scoring input is made."""

from __future__ import annotations

from dataclasses import dataclass

from adfml_assets.scoring.errors import ChoiceInvalid, InputOutdated, NoSuchAlias
from adfml_assets.training.trained import list_versions
from resources.control import ControlDatabase
from resources.lake import Lake
from resources.manifest import Manifest


@dataclass(frozen=True)
class ModelChoice:
    """What is to score: the version that has an alias, or a version itself. One of the two is None.

    Attributes:
        alias: such as `champion`.
        version: such as `3`.
    """

    alias: str | None
    version: str | None

    def override(self, model: str, alias: str | None, version: str | None) -> ModelChoice:
        """What a run's config says in its place; nothing said: the same.

        Raises:
            ChoiceInvalid: the run names both.
        """
        if alias is not None and version is not None:
            raise ChoiceInvalid(model, alias, version)
        return self if alias is None and version is None else ModelChoice(alias, version)

    def __str__(self) -> str:
        """As a sentence names it."""
        return f"alias `{self.alias}`" if self.alias is not None else f"version {self.version}"


@dataclass(frozen=True)
class ChosenVersion:
    """A version that scores.

    Attributes:
        alias: the alias it was found by; empty where the version itself was asked for.
    """

    model: str
    version: str
    alias: str


def choose_version(lake: Lake, control: ControlDatabase, model: str, choice: ModelChoice) -> ChosenVersion:
    """The version that scores now. Whether it has its files is seen when they are read.

    Raises:
        NoSuchAlias: no version has the alias.
    """
    if choice.version is not None:
        return ChosenVersion(model, choice.version, "")
    alias = str(choice.alias)
    known = control.models.aliases(model)
    if alias not in known:
        raise NoSuchAlias(model, alias, known, list_versions(lake, model))
    return ChosenVersion(model, known[alias], alias)


def read_chosen(model: str, records: Manifest) -> ChosenVersion:
    """The version that a scoring input was made for.

    Raises:
        InputOutdated: it does not say (an older adfml made it).
    """
    said = records.facts
    if "model_version" not in said:
        reason = "the scoring input does not say which version it was made for"
        raise InputOutdated(model, records.partition, reason)
    return ChosenVersion(model, str(said["model_version"]), str(said["model_alias"]))


def require_current(control: ControlDatabase, model: str, records: Manifest) -> ChosenVersion:
    """The version that a scoring input was made for, if its alias still points to it.

    Raises:
        InputOutdated: it points elsewhere, or the input does not say what it was made for.
    """
    chosen = read_chosen(model, records)
    points_to = control.models.aliases(model).get(chosen.alias) if chosen.alias else chosen.version
    if points_to != chosen.version:
        now = f"is version {points_to} now" if points_to else "is no version any more"
        reason = f"the scoring input was made for version {chosen.version}, and {chosen.alias!r} {now}"
        raise InputOutdated(model, records.partition, reason)
    return chosen
