"""Promoting a version and rolling back: the control database first, which is the truth, then Unity Catalog."""

from __future__ import annotations

from dataclasses import dataclass

from adfml_assets.models.errors import ReasonMissing
from resources.control import ControlDatabase
from resources.databricks import Databricks
from resources.errors import ResourceError
from resources.model_registry import AliasChange, ModelRegistry
from resources.unity_catalog import mirror_aliases


@dataclass(frozen=True)
class Mirrored:
    """What Unity Catalog was told.

    Attributes:
        told: a sentence an alias.
        problem: why it could not be told, where it could not: the next promotion, rollback or training tells it.
    """

    told: tuple[str, ...] = ()
    problem: str | None = None

    def __str__(self) -> str:
        """As it stands in an asset's metadata."""
        if self.problem is not None:
            return f"not told yet: {self.problem}"
        return f"told: {'; '.join(self.told)}" if self.told else "nothing to tell"


@dataclass(frozen=True)
class Promotion:
    """What a promotion or a rollback did.

    Attributes:
        change: of the alias `champion`; where the version was champion already, the change that had made it so.
        unity_catalog: what Unity Catalog was told.
    """

    change: AliasChange
    unity_catalog: Mirrored


def promote_version(
    control: ControlDatabase,
    databricks: Databricks,
    model: str,
    version: str,
    by: str,
    reason: str,
    force: bool = False,
) -> Promotion:
    """Make a version champion. One that is champion already stays it.

    Args:
        databricks: the workspace that is told; it is asked only for versions that are in its Unity Catalog.
        by: a run, or who promotes by hand.
        reason: why; it stays in the history.
        force: also a version that was refused, was not judged, was compared with another champion, or was rolled back.

    Raises:
        ReasonMissing: force without a reason.
        UnknownVersion, NotPassed: see `ModelRegistry.promote`.
    """
    if force and not reason.strip():
        raise ReasonMissing(model, version)
    change = control.models.promote(model, version, by, reason, force=force)
    return Promotion(change, tell_unity_catalog(control.models, databricks, model))


def roll_back(control: ControlDatabase, databricks: Databricks, model: str, by: str, reason: str) -> Promotion:
    """Make the version champion that was it before; the one that is taken back does not come back by itself.

    Raises:
        NothingToRollBack: no version was champion before.
    """
    change = control.models.rollback(model, by, reason)
    return Promotion(change, tell_unity_catalog(control.models, databricks, model))


def tell_unity_catalog(models: ModelRegistry, databricks: Databricks, model: str) -> Mirrored:
    """Tell Unity Catalog what it was not told yet. What fails is said, and told the next time: nothing is lost."""
    try:
        return Mirrored(tuple(mirror_aliases(models, databricks, model)))
    except ResourceError as error:
        return Mirrored(problem=str(error))
