"""What the UI says of an asset before anything of it is materialised: description, counterpart in ADF, kinds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from resources.settings import database_setting

PIPELINE_TAG = "adf/pipeline"
"""The tag by which the catalogue finds everything that takes the place of a pipeline."""

_DATABASE_KINDS = {"mssql": "sqlserver", "postgresql": "postgres", "sqlite": "sqlite", "duckdb": "duckdb"}
_MOST_TAG_CHARACTERS = 63


@dataclass(frozen=True)
class About:
    """An asset, in words for whoever meets it for the first time. Markdown; each a sentence or two.

    Attributes:
        what: what it is.
        partition: what one of its partitions holds.
        materialising: what happens when one is materialised.
        failing: what a failed run means, and what to do.
        activity: the activity or pattern of Azure Data Factory that it takes the place of.
    """

    what: str
    partition: str
    materialising: str
    failing: str
    activity: str

    def describe(self, adf_pipeline: str | None) -> str:
        """The description, as Markdown; what comes first is what the graph shows."""
        counterpart = f"`{adf_pipeline}`: {self.activity}" if adf_pipeline else self.activity
        return (
            f"{self.what}\n\n"
            f"- **A partition** is {self.partition}\n"
            f"- **Materialising** {self.materialising}\n"
            f"- **A failure** {self.failing}\n\n"
            f"ADF: {counterpart}."
        )

    def build_options(self, adf_pipeline: str | None) -> dict[str, Any]:
        """Description, tags and metadata, as `dg.asset` and `dg.AssetSpec` take them."""
        metadata = {"adf_activity": self.activity}
        if adf_pipeline is None:
            return {"description": self.describe(None), "tags": {}, "metadata": metadata}
        return {
            "description": self.describe(adf_pipeline),
            "tags": {PIPELINE_TAG: to_tag(adf_pipeline)},
            "metadata": {"adf_pipeline": adf_pipeline, **metadata},
        }


def extend_options(
    options: Mapping[str, Any], *, tags: Mapping[str, str] | None = None, metadata: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The keyword arguments of `dg.asset` with more tags and metadata."""
    return {
        **options,
        "tags": {**options.get("tags", {}), **(tags or {})},
        "metadata": {**options.get("metadata", {}), **(metadata or {})},
    }


def find_database_kind(database: str) -> str:
    """The kind of a database, for its icon: `sqlserver`, `duckdb` and the like; `sql` where its address is not at hand.

    Only the environment is looked at: an address that is kept in Key Vault stays there while assets are loaded.
    """
    scheme = database_setting(database).read_given().partition("://")[0]
    return _DATABASE_KINDS.get(scheme.partition("+")[0], "sql")


def to_tag(name: str) -> str:
    """A name as the value of a tag: other characters than letters, digits, `-`, `_` and `.` become `_`."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:_MOST_TAG_CHARACTERS]
