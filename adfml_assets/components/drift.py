"""`drift`: how far scored days may be from the training data, and when that asks for a new version."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

import dagster as dg
from pydantic import ConfigDict

from adfml_assets.about import About
from adfml_assets.components.declaration import STRICT
from adfml_assets.drift.comparison import DriftRules
from adfml_assets.drift_assets import ABOUT, build_drift_asset
from adfml_assets.errors import DeclarationInvalid
from adfml_assets.retraining import build_retraining
from sensors.retraining_sensor import RetrainingRules

GROUP = "monitoring"
"""The group of assets that say how a model does; they are no part of scoring."""


@dataclass
class Retrain(dg.Resolvable):
    """When drift asks for a new version. It has to pass its gate like any other.

    Attributes:
        over, of: how many of the champion's last so many scored days have to be over a threshold.
        cooldown_days: how long after a request there is no other.
        deadline_hours: how long a requested version may take; one that takes longer no longer holds up the next.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    over: int = 3
    of: int = 5
    cooldown_days: float = 7.0
    deadline_hours: float = 48.0

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            DeclarationInvalid: says which field.
        """
        _require(self.of >= 1, "of", self.of, "1 or more")
        _require(1 <= self.over <= self.of, "over", self.over, f"1 up to `of`, {self.of}")
        _require(self.cooldown_days >= 0, "cooldown_days", self.cooldown_days, "0 or more")
        _require(self.deadline_hours > 0, "deadline_hours", self.deadline_hours, "more than 0")


@dataclass
class Drift(dg.Resolvable):
    """How far the records and scores of a day may be from the training data.

    Attributes:
        psi: the population stability index that a feature or the scores may have.
        missing: by how much the share of a feature's missing values may differ.
        features: those that are compared; without it all of the model's.
        leave_out: of the model's those that are not: what follows the calendar differs every day by its nature.
        retrain: when a new version is asked for; left out: never.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    psi: float = 0.2
    missing: float = 0.05
    features: Sequence[str] | None = None
    leave_out: Sequence[str] = ()
    retrain: Retrain | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            DeclarationInvalid: says which field.
        """
        _require(self.psi > 0, "psi", self.psi, "more than 0; 0.2 is usual")
        _require(0 <= self.missing < 1, "missing", self.missing, "a share from 0 to below 1, such as 0.05")
        named = self.features
        _require(named is None or len(named) > 0, "features", named, "at least one feature, or none of the field")
        twice = sorted({name for name in named or () if list(named or ()).count(name) > 1})
        _require(not twice, "features", twice, "each feature once")
        _require(named is None or not self.leave_out, "leave_out", list(self.leave_out), "`features` or this, not both")

    def build_defs(self, model: str, build_options: Callable[[About, set[str]], dict[str, Any]]) -> dg.Definitions:
        """The asset of a model's drift; with `retrain` also the sensor, and the job that launches a version.

        Args:
            model: whose scores.
            build_options: from what an asset is, and its kinds, to the keyword arguments of `dg.asset`.
        """
        features = tuple(self.features) if self.features is not None else None
        rules = DriftRules(self.psi, self.missing, features, tuple(self.leave_out))
        options = {**build_options(ABOUT, {"duckdb", "parquet"}), "group_name": GROUP}
        assets = dg.Definitions(assets=[build_drift_asset(model, rules, options)])
        if self.retrain is None:
            return assets
        retrain = RetrainingRules(
            over=self.retrain.over,
            of=self.retrain.of,
            cooldown=timedelta(days=self.retrain.cooldown_days),
            deadline=timedelta(hours=self.retrain.deadline_hours),
        )
        return dg.Definitions.merge(assets, build_retraining(model, retrain))


def _require(holds: bool, field_name: str, found: object, expected: str) -> None:
    if not holds:
        raise DeclarationInvalid("drift", field_name, found, expected)
