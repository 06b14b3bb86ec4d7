"""What the end-to-end workflow is about: all that its mode selects, or what belongs to a database and a model."""

from __future__ import annotations

from collections.abc import Iterable, Set
from typing import TYPE_CHECKING

import dagster as dg

from adfml_assets.asset_keys import (
    archive_key,
    champion_key,
    drift_key,
    job_key,
    model_key,
    scores_key,
    scoring_input_key,
    training_data_key,
)
from adfml_assets.workflow_parameters import require_known

if TYPE_CHECKING:
    from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph

ARCHIVES = ("archive", "incremental", "current")
"""The first part of the keys of archived tables; the second is the database."""


def select_assets(
    asset_graph: BaseAssetGraph, selected: Set[dg.AssetKey], *, source_database: str | None, model_name: str | None
) -> set[dg.AssetKey]:
    """What is left of a selection for a database and a model.

    With a database, of the archived tables only its own, all of them; and of the rest what is made of at least one of
    them, or of no archived table at all. With a model, its own assets and what they are made of; its database's
    tables are archived whole where the database is given too, otherwise only those it is made of.

    Raises:
        InvalidParameter: there is no such database or model in the selection.
    """
    databases = {key.path[1] for key in selected if key.path[0] in ARCHIVES}
    archived: set[dg.AssetKey] = set()
    if source_database is not None:
        # Names that asset keys cannot hold are written otherwise in them: this one is too.
        part = archive_key(source_database, "any", "any").path[1]
        require_known("source_database", source_database if part not in databases else part, databases)
        archived = {key for key in selected if key.path[0] in ARCHIVES and key.path[1] == part}
    if model_name is not None:
        part = model_key(model_name).path[-1]
        known = find_models(selected) | find_scored_inside(asset_graph, selected).keys()
        require_known("model_name", model_name if part not in known else part, known)
        own = _list_own(asset_graph, selected, part)
        chosen = own | _list_ancestors(asset_graph, selected, own)
    else:
        chosen = set(selected)
    if source_database is None:
        return chosen
    chosen = {key for key in chosen if key.path[0] not in ARCHIVES}
    if model_name is None:
        chosen = {key for key in chosen if _draws_on(asset_graph, selected, key, archived)}
    return chosen | archived


def find_models(assets: Iterable[dg.AssetKey]) -> set[str]:
    """The models that are trained or scored by in a selection, as the asset keys name them."""
    firsts = {tuple(key.path[:-1]) for key in (training_data_key("m"), scoring_input_key("m"))}
    return {key.path[-1] for key in assets if tuple(key.path[:-1]) in firsts}


def find_scored_inside(asset_graph: BaseAssetGraph, selected: Set[dg.AssetKey]) -> dict[str, set[dg.AssetKey]]:
    """The tables in a selection whose rows a model scores inside their database, by the model."""
    versions = {tuple(key.path[:-1]) for key in (model_key("m"), champion_key("m"))}
    found: dict[str, set[dg.AssetKey]] = {}
    for key in (one for one in selected if one.path[0] == "database"):
        for parent in asset_graph.get(key).parent_keys:
            if tuple(parent.path[:-1]) in versions:
                found.setdefault(parent.path[-1], set()).add(key)
    return found


def _list_own(asset_graph: BaseAssetGraph, selected: Set[dg.AssetKey], model: str) -> set[dg.AssetKey]:
    trained = (training_data_key(model), job_key(model_key(model)), model_key(model), champion_key(model))
    scores = scores_key(model)
    scored = (scoring_input_key(model), job_key(scores), scores, drift_key(model))
    own = {key for key in (*trained, *scored) if key in selected}
    own |= find_scored_inside(asset_graph, selected).get(model, set())
    if scores in own:
        own |= {key for key in asset_graph.get(scores).child_keys & selected if key.path[0] == "database"}
    return own


def _list_ancestors(
    asset_graph: BaseAssetGraph, selected: Set[dg.AssetKey], keys: Iterable[dg.AssetKey]
) -> set[dg.AssetKey]:
    """All that some assets are made of, as far as each step is in the selection."""
    found: set[dg.AssetKey] = set()
    left = list(keys)
    while left:
        new = (asset_graph.get(left.pop()).parent_keys & selected) - found
        found |= new
        left.extend(new)
    return found


def _draws_on(
    asset_graph: BaseAssetGraph, selected: Set[dg.AssetKey], key: dg.AssetKey, archived: Set[dg.AssetKey]
) -> bool:
    sources = {one for one in _list_ancestors(asset_graph, selected, [key]) if one.path[0] in ARCHIVES}
    return not sources or bool(sources & archived)
