"""Which version of a model scores: resolved once, when the job is submitted."""

from __future__ import annotations

from adfml_assets.errors import AdfmlError
from adfml_assets.features.feature_set import FEATURE_DATE
from adfml_assets.scoring.scoring_input import RECORD_ID
from adfml_assets.training.trained import list_versions, read_metadata
from resources.lake import Lake
from resources.manifest import Manifest
from resources.model_aliases import ModelAliases


class NoSuchAlias(AdfmlError):
    """No version of a model has the alias that is to score."""

    def __init__(self, model: str, alias: str, aliases: dict[str, str], versions: list[str]) -> None:
        self.model = model
        self.alias = alias
        self.aliases = aliases
        self.versions = versions
        found = ", ".join(f"{name} -> {version}" for name, version in sorted(aliases.items())) or "none"
        super().__init__(
            f"No version of model {model} is {alias!r} (aliases: {found}; versions: {', '.join(versions) or 'none'}). "
            "Train a version that passes its gate first."
        )


class FeaturesDiffer(AdfmlError):
    """The records to score do not have the features the model was trained on."""

    def __init__(self, model: str, version: str, missing: list[str], found: list[str]) -> None:
        self.model = model
        self.version = version
        self.missing = missing
        self.found = found
        super().__init__(
            f"Model {model} version {version} needs features that the records do not have: {', '.join(missing)}. "
            f"The records have: {', '.join(found)}. Train a new version, or restore the features."
        )


def choose_version(lake: Lake, aliases: ModelAliases, model: str, alias: str, records: Manifest) -> str:
    """The version that has an alias now, once it is certain that it can score these records.

    Raises:
        NoSuchAlias: no version has it.
        FeaturesDiffer: the records lack some of its features.
    """
    known = aliases.read(model)
    if alias not in known:
        raise NoSuchAlias(model, alias, known, list_versions(lake, model))
    version = known[alias]
    found = [c.name for c in records.columns if c.name not in {RECORD_ID, FEATURE_DATE}]
    missing = [name for name in read_metadata(lake, model, version)["features"] if name not in found]
    if missing:
        raise FeaturesDiffer(model, version, missing, found)
    return version
