"""The keys of assets: they follow the lake's folders. One place, so that components can name each other's assets."""

from __future__ import annotations

import re

import dagster as dg


def parse_table(name: str) -> tuple[str, str]:
    """(schema, table) of `schema.table`; a table's own dots stay.

    Raises:
        DagsterInvalidDefinitionError: there is no schema.
    """
    schema, dot, table = name.partition(".")
    if not (schema and dot and table):
        raise dg.DagsterInvalidDefinitionError(
            f"{name!r} names no table: expected schema.table, for example dbo.Transactions (SQLite's schema is main)."
        )
    return schema, table


def archive_key(database: str, schema: str, table: str) -> dg.AssetKey:
    """Full snapshots of a table."""
    return dg.AssetKey(["archive", *(_to_part(name) for name in (database, schema, table))])


def incremental_key(database: str, schema: str, table: str) -> dg.AssetKey:
    """Incremental extracts of a table."""
    return dg.AssetKey(["incremental", *(_to_part(name) for name in (database, schema, table))])


def current_key(database: str, schema: str, table: str) -> dg.AssetKey:
    """The current state of a table as of a day, put together from snapshots and increments."""
    return dg.AssetKey(["current", *(_to_part(name) for name in (database, schema, table))])


def table_key(database: str, schema: str, table: str) -> dg.AssetKey:
    """A table in a database that this project writes."""
    return dg.AssetKey(["database", *(_to_part(name) for name in (database, schema, table))])


def features_key(feature_set: str) -> dg.AssetKey:
    """A feature set."""
    return dg.AssetKey(["feature_store", _to_part(feature_set)])


def training_data_key(model: str) -> dg.AssetKey:
    """A model's training data."""
    return dg.AssetKey(["ml", "training_data", _to_part(model)])


def model_key(model: str) -> dg.AssetKey:
    """A model; the job that trains it is `<key>_job`."""
    return dg.AssetKey(["ml", "models", _to_part(model)])


def champion_key(model: str) -> dg.AssetKey:
    """The promotion of a model's version to champion."""
    return dg.AssetKey(["ml", "champions", _to_part(model)])


def drift_key(model: str) -> dg.AssetKey:
    """How far a day's records and scores are from the training data."""
    return dg.AssetKey(["ml", "drift", _to_part(model)])


def scoring_input_key(model: str) -> dg.AssetKey:
    """The records a model is to score."""
    return dg.AssetKey(["ml", "scoring_input", _to_part(model)])


def scores_key(model: str) -> dg.AssetKey:
    """A model's scores; the job that makes them is `<key>_job`."""
    return dg.AssetKey(["ml", "scores", _to_part(model)])


def text_scores_key(name: str) -> dg.AssetKey:
    """The answers to a table's texts; the job that gets them is `<key>_job`."""
    return dg.AssetKey(["ml", "text_scores", _to_part(name)])


def written_text_key(name: str, database: str, schema: str, table: str) -> dg.AssetKey:
    """The columns of a table that answers are written to: its rows are the source's own."""
    return dg.AssetKey([*table_key(database, schema, table).path, _to_part(name)])


def anomalies_key(detector: str) -> dg.AssetKey:
    """What a detector found."""
    return dg.AssetKey(["ml", "anomalies", _to_part(detector)])


def job_key(key: dg.AssetKey) -> dg.AssetKey:
    """The asset that submits the remote job whose result `key` collects."""
    return dg.AssetKey([*key.path[:-1], f"{key.path[-1]}_job"])


def _to_part(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]", "_", name)
