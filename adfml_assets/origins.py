"""Where columns come from: which columns of which assets each is made of, and which of them are personal data.

Both are facts of a partition's manifest, so that whatever is made of it can go on from there: an asset's origins become
its column lineage in the UI, and what is made of personal data is shown in no sample.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import dagster as dg

from resources.manifest import Manifest

Origin = tuple[str, str]
"""(asset, its key slash-separated; column)."""

Origins = Mapping[str, Sequence[Origin]]
"""Column -> what it is made of. A column that is not in it is made of nobody knows what."""

ORIGINS, PERSONAL = "origins", "personal"
"""The facts' names."""

_MOST_NAMED = 6
_MOST_DEPENDENCIES = 5_000
"""Of an asset that Dagster's event log keeps for every partition; a lineage that is larger is left out."""


def build_facts(origins: Origins, hidden: Mapping[str, Collection[str]], columns: Sequence[str]) -> dict[str, Any]:
    """The facts of a partition that is made of others.

    Args:
        hidden: asset -> its columns of personal data; see `map_personal`.
        columns: of the partition. One whose origin is not known counts as personal where anything upstream is.
    """
    personal = find_personal(origins, hidden, columns)
    facts: dict[str, Any] = {ORIGINS: {name: [list(one) for one in found] for name, found in origins.items()}}
    return {**facts, PERSONAL: personal} if personal else facts


def find_personal(origins: Origins, hidden: Mapping[str, Collection[str]], columns: Sequence[str]) -> list[str]:
    """The columns that are made of personal data, or may be.

    Args:
        hidden: asset -> its columns of personal data.
    """
    any_hidden = any(hidden.values())
    return [
        name
        for name in columns
        if (any(column in hidden.get(asset, ()) for asset, column in origins[name]) if name in origins else any_hidden)
    ]


def map_personal(upstream: Iterable[Manifest]) -> dict[str, list[str]]:
    """Asset -> its columns of personal data, of the partitions that another is made of."""
    return {manifest.asset: list_personal(manifest) for manifest in upstream}


def list_personal(manifest: Manifest) -> list[str]:
    """The columns of a partition that are personal data."""
    return list(manifest.facts.get(PERSONAL, ()))


def read_origins(manifest: Manifest) -> Origins | None:
    """What a partition's columns are made of; None: it does not say."""
    stated = manifest.facts.get(ORIGINS)
    if stated is None:
        return None
    return {name: [(asset, column) for asset, column in found] for name, found in stated.items()}


def copy_columns(asset: str, columns: Iterable[str]) -> dict[str, list[Origin]]:
    """The origins of columns that are an asset's under the same names."""
    return {name: [(asset, name)] for name in columns}


def describe_origins(found: Sequence[Origin]) -> str:
    """What a column is made of, in words: Dagster's own UI draws column lineage in its paid edition only."""
    by_asset: dict[str, list[str]] = {}
    for asset, column in found:
        by_asset.setdefault(asset, []).append(column)
    parts = []
    for asset, names in by_asset.items():
        few = len(names) <= _MOST_NAMED
        parts.append(f"{', '.join(f'`{name}`' for name in names) if few else f'{len(names)} columns'} of {asset}")
    return f"Made of {'; '.join(parts)}." if parts else ""


def build_lineage(origins: Origins) -> dict[str, Any]:
    """Origins as the metadata that Dagster draws its column lineage of; nothing where there is none, or too much."""
    known = {name: found for name, found in origins.items() if found}
    if not known or sum(map(len, known.values())) > _MOST_DEPENDENCIES:
        return {}
    deps = {
        name: [dg.TableColumnDep(dg.AssetKey.from_user_string(asset), column) for asset, column in found]
        for name, found in known.items()
    }
    return {"dagster/column_lineage": dg.TableColumnLineage(deps)}
