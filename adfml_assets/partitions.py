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
