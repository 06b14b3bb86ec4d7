"""What all declarations have in common."""

from collections.abc import Sequence
from typing import Any

import dagster as dg
from pydantic import ConfigDict

from adfml_assets.metadata import describe

STRICT = ConfigDict(extra="forbid")
"""Fields nobody knows are mistakes, not ignored (`adfml_assets.declarations` checks by it)."""


def build_options(
    what: str,
    *,
    adf_pipeline: str | None,
    partitions: dg.PartitionsDefinition,
    group: str,
    kinds: set[str],
    owners: Sequence[str],
) -> dict[str, Any]:
    """The keyword arguments of `dg.asset` that say what an asset is and to whom it belongs."""
    return {
        "description": describe(what, adf_pipeline),
        "partitions_def": partitions,
        "group_name": group,
        "kinds": kinds,
        "owners": list(owners),
    }
