"""What is about to be scored inside a database, by what and how: all that is known before a row is written."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from adfml_assets.in_database.opened_model import OpenedModel
from adfml_assets.in_database.platform import ChosenWay, Platform
from adfml_assets.in_database.source_table import SourceTable
from adfml_assets.in_database.spec import InDatabaseSpec


@dataclass(frozen=True)
class ScoringPlan:
    """A day's scoring.

    Attributes:
        spec: what is declared.
        model: the version that scores.
        source: the table, which has what the model takes.
        platform: its server.
        way: of scoring.
        day: the partition, today.
        now: the moment of scoring, UTC, with its zone.
    """

    spec: InDatabaseSpec
    model: OpenedModel
    source: SourceTable
    platform: Platform
    way: ChosenWay
    day: date
    now: datetime

    @property
    def constants(self) -> dict[str, Any]:
        """What all rows have in common: column of the target -> value."""
        chosen = self.model.chosen
        return {
            "ModelName": chosen.model,
            "ModelVersion": chosen.version,
            "ModelAlias": chosen.alias,
            "ScoredAt": self.now,
            "FeatureSnapshot": self.day,
            "SnapshotDate": self.day,
        }
