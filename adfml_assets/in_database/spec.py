"""A model that scores rows of a table inside their database, as it is declared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from adfml_assets.in_database.platform import DeclaredWay
from adfml_assets.scoring.model_choice import ModelChoice
from adfml_assets.scoring.predictions import Target
from adfml_assets.scoring.source_rows import SourceSpec

Verify = Literal["sample", "synthetic"]


@dataclass(frozen=True)
class InDatabaseSpec:
    """What is scored, by what, how, and where the scores go.

    Attributes:
        model: its name.
        choice: the alias or version that scores, as declared.
        source: the rows that are scored.
        target: the table the scores go to, in the same database.
        way: of scoring.
        verify: what compiled scores are compared on before any row is written: a sample of the table's rows, or rows
            that are made up, so that none of the table's leaves the database.
        sample_rows: how many rows are compared at most; 0 (with made-up rows only): a usual number.
        tolerance: how far two scores of a row may be apart, as a share of the model's own.
    """

    model: str
    choice: ModelChoice
    source: SourceSpec
    target: Target
    way: DeclaredWay = "auto"
    verify: Verify = "sample"
    sample_rows: int = 1_000
    tolerance: float = 1e-6
