"""Every partitions definition. Days are UTC: daylight saving would make days of 23 and 25 hours."""

from __future__ import annotations

import dagster as dg

from resources.settings import FIRST_DAY


def build_daily_partitions() -> dg.DailyPartitionsDefinition:
    """One partition a UTC day, today included: a snapshot of today is taken today."""
    return dg.DailyPartitionsDefinition(start_date=FIRST_DAY.read(), timezone="UTC", end_offset=1)


def build_model_versions(model: str) -> dg.DynamicPartitionsDefinition:
    """One partition a version of a model ("1", "2", ...), added when it is to be trained."""
    return dg.DynamicPartitionsDefinition(name=f"{model}_versions")


def find_model(definition: dg.PartitionsDefinition | None) -> str | None:
    """The model whose versions a partitions definition has; None: it has something else."""
    name = definition.name if isinstance(definition, dg.DynamicPartitionsDefinition) else None
    return name.removesuffix("_versions") if name and name.endswith("_versions") else None
