"""What a version of a model takes, and whether records have it: names, order, types and identity of the features."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adfml_assets import lake_layout
from adfml_assets.errors import WrongResult
from adfml_assets.scoring.errors import FeaturesDiffer
from adfml_assets.training.choice import DATA_CARD, read_card
from adfml_assets.training.feature_lists import describe_difference, hash_features
from adfml_assets.training.trained import read_metadata
from resources.lake import Lake
from resources.manifest import read_manifest

if TYPE_CHECKING:
    import pyarrow as pa

_NUMBER = "a number"


@dataclass(frozen=True)
class ModelFeatures:
    """What a version of a model takes.

    Attributes:
        model, version: which one.
        names: its features, in its order.
        sha256: what it is bound to, see `adfml_assets.training.feature_lists`.
        definition_sha256: of the feature set it was trained on; empty where it was trained on a table, or does not say.
        pinned: category column -> its categories at training time.
        types: feature -> Arrow type at training time, where it is known.
        parameters: of the feature set at training time; None where they are not known.
    """

    model: str
    version: str
    names: tuple[str, ...]
    sha256: str
    definition_sha256: str
    pinned: Mapping[str, tuple[str, ...]]
    types: Mapping[str, str]
    parameters: Mapping[str, Any] | None


@dataclass(frozen=True)
class RecordFeatures:
    """What records have.

    Attributes:
        types: their columns in order, without key and dates, category columns expanded: name -> Arrow type.
        definition_sha256: of their feature set; empty for rows of a table, or where it is not known.
        parameters: of their feature set.
    """

    types: Mapping[str, pa.DataType]
    definition_sha256: str = ""
    parameters: Mapping[str, Any] | None = None


def read_model_features(lake: Lake, model: str, version: str) -> ModelFeatures:
    """What a version takes, by its metadata.json and, where it is still the one it was trained on, its data card.

    Raises:
        NotFound: there is no such version; with those that are.
        WrongResult: its metadata or card cannot be read.
    """
    metadata = read_metadata(lake, model, version)
    sha256 = str(metadata.get("features_sha256", ""))
    card = _read_card(lake, model, version)
    if card.get("features_sha256") != sha256:
        card = {}  # the training data was made anew after the training
    said = {**card, **{name: value for name, value in metadata.items() if value}}
    return ModelFeatures(
        model=model,
        version=version,
        names=tuple(metadata["features"]),
        sha256=sha256,
        definition_sha256=str(said.get("definition_sha256") or ""),
        pinned={column: tuple(names) for column, names in (said.get("pinned") or {}).items()},
        types=dict(card.get("feature_types") or {}),
        parameters=_find_parameters(lake, card),
    )


def check_features(wanted: ModelFeatures, found: RecordFeatures) -> None:
    """Make sure that records are what a model was trained on.

    A model that was trained on a feature set has to get its features as they are: the same names in the same order,
    made in the same way. One that was trained on a table, or does not say on what, takes its own out of what there is.

    Raises:
        FeaturesDiffer: they are not; with both lists side by side.
    """
    bound = bool(wanted.definition_sha256 and found.definition_sha256)
    names = list(found.types)
    missing = [name for name in wanted.names if name not in found.types]
    if missing or (bound and list(wanted.names) != names):
        missed = f"missing are {', '.join(missing)}" if missing else "the lists are not the same"
        _differ(wanted, found, f"{missed}.\n{describe_difference(wanted.names, names)}")
    wrong = [name for name in wanted.names if not _is_number(found.types[name])]
    if wrong:
        lists = ([f"{name}: {of.get(name, _NUMBER)}" for name in wrong] for of in (wanted.types, found.types))
        _differ(wanted, found, f"these are no numbers: {', '.join(wrong)}.\n{describe_difference(*lists)}")
    if bound and hash_features(found.definition_sha256, wanted.names, wanted.pinned) != wanted.sha256:
        _differ(wanted, found, _explain_hash(wanted, found))


def _differ(wanted: ModelFeatures, found: RecordFeatures, reason: str) -> None:
    raise FeaturesDiffer(wanted.model, wanted.version, wanted.names, list(found.types), reason)


def _explain_hash(wanted: ModelFeatures, found: RecordFeatures) -> str:
    """What differs where the names do not."""
    same = f"the names are the same ({len(wanted.names)}, in the same order), but not how they are made"
    if wanted.definition_sha256 == found.definition_sha256:
        return f"{same}: the pinned categories are not those of its features_sha256 {wanted.sha256[:12]}."
    trained, given = wanted.parameters, found.parameters
    if trained is not None and given is not None:
        shown = [
            f"{name} was {_show(trained, name)}, is {_show(given, name)}"
            for name in sorted({*trained, *given})
            if _show(trained, name) != _show(given, name)
        ]
        if shown:
            return f"{same}: parameters: {'; '.join(shown)}."
    hashes = f"definition was {wanted.definition_sha256[:12]}, is {found.definition_sha256[:12]}"
    return f"{same}: the function, its SQL or its tables ({hashes})."


def _show(parameters: Mapping[str, Any], name: str) -> str:
    return json.dumps(parameters[name], sort_keys=True, default=str) if name in parameters else "not given"


def _is_number(kind: pa.DataType) -> bool:
    import pyarrow as pa

    kinds = pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean, pa.types.is_null
    return any(is_kind(kind) for is_kind in kinds)


def _read_card(lake: Lake, model: str, version: str) -> dict[str, Any]:
    folder = lake_layout.training_data_folder(model, version)
    try:
        return read_card(lake, folder) or {}
    except ValueError as error:
        raise WrongResult(f"{folder}/{DATA_CARD}", "JSON", str(error)) from None


def _find_parameters(lake: Lake, card: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The parameters of the snapshot a version was trained on, if that is still what it was then."""
    source = card.get("source") or {}
    days = source.get("snapshot_dates")
    if source.get("kind") != "features" or not days:
        return None
    manifest = read_manifest(lake, lake_layout.features_folder(str(source["feature_set"]), str(days[-1])))
    if manifest is None or manifest.facts.get("definition_sha256") != card.get("definition_sha256"):
        return None
    return dict(manifest.facts.get("parameters") or {})
