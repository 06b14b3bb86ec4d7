"""`Gate`: what a version of a model has to be better than, as a part of `TrainedModel`."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import dagster as dg
from pydantic import ConfigDict

from adfml_assets.components.declaration import STRICT
from adfml_assets.errors import DeclarationInvalid
from adfml_assets.models.gate import DIRECTIONS, GateRules


@dataclass
class Gate(dg.Resolvable):
    """What a version has to achieve on the test split before it may be champion.

    Attributes:
        metric: mae, rmse, r2, spearman, or another one that the training job measures.
        direction: whether lower or higher values are better; to be given for other metrics than those four.
        tolerance: the share of the champion's value by which a version may be worse than the champion; 0.02 lets an MAE
            of 10.2 follow one of 10.
        confidence: how sure it has to be that the version is better than every baseline, 0.5 to 0.999.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    metric: str = "mae"
    direction: Literal["lower", "higher"] | None = None
    tolerance: float = 0.0
    confidence: float = 0.95

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            DeclarationInvalid: says which field.
        """
        known = DIRECTIONS.get(self.metric)
        if known is None and self.direction is None:
            expected = f"lower or higher: it is known for {', '.join(DIRECTIONS)} only"
            raise DeclarationInvalid("Gate", "direction", None, expected)
        if known is not None and self.direction not in (None, known):
            raise DeclarationInvalid("Gate", "direction", self.direction, f"{known}, which is better for {self.metric}")
        if not 0 <= self.tolerance < 1:
            raise DeclarationInvalid("Gate", "tolerance", self.tolerance, "a share of at least 0 and less than 1")
        if not 0.5 <= self.confidence <= 0.999:
            raise DeclarationInvalid("Gate", "confidence", self.confidence, "a number from 0.5 to 0.999")

    def build_rules(self) -> GateRules:
        """The rules as plain values."""
        direction = self.direction or DIRECTIONS[self.metric]
        return GateRules(self.metric, direction, self.tolerance, self.confidence)
