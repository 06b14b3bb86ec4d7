"""The statements on MLModels, built here and run elsewhere: the same for all databases."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlalchemy as sa

    from adfml_assets.in_database.model_store import ModelToStore


def build_table(dialect: str, schema: str | None, table: str, *, is_pool: bool = False) -> sa.Table:
    """MLModels as statements see it; the constraints are in the shipped files.

    Args:
        dialect: `mssql`, `postgresql`, `duckdb` or `sqlite`.
        schema: None: the connection's own.
        is_pool: whether it is in a Synapse dedicated SQL pool.
    """
    import sqlalchemy as sa

    return sa.Table(
        table,
        sa.MetaData(),
        sa.Column("model_name", sa.Unicode(200), primary_key=True),
        sa.Column("model_version", sa.Unicode(60), primary_key=True),
        sa.Column("model_data", sa.LargeBinary(), nullable=False),
        sa.Column("model_sha256", sa.String(64), nullable=False),
        sa.Column("model_format", sa.String(20), nullable=False),
        sa.Column("features", sa.UnicodeText(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("registered_at", sa.DateTime(), nullable=False),
        schema=schema,
        info={"dialect": dialect, "is_pool": is_pool},
    )


def lock(store: sa.Table, model: str) -> sa.Executable | None:
    """What lets one writer at a time look at a name and change it, until the transaction ends.

    It has to be the transaction's first statement. None: a pool has no such lock, and DuckDB needs none.
    """
    import sqlalchemy as sa

    dialect = store.info["dialect"]
    if store.info["is_pool"] or dialect == "duckdb":
        return None
    if dialect == "sqlite":
        # Its driver would begin with a lock for readers, and then fail instead of waiting.
        return sa.text("BEGIN IMMEDIATE")
    if dialect == "postgresql":
        name = sa.literal(f"{store.fullname}:{model}", sa.String())
        return sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(name, 0)))
    held = sa.select(store.c.model_version).where(store.c.model_name == model)
    return held.with_hint(store, "WITH (UPDLOCK, HOLDLOCK)", "mssql")


def insert(store: sa.Table, record: ModelToStore, sha256: str, data: bytes, now: datetime) -> sa.Insert:
    """A version that is not active yet.

    Args:
        now: UTC, with its zone.
    """
    return store.insert().values(
        model_name=record.model,
        model_version=record.version,
        model_data=data,
        model_sha256=sha256,
        model_format=record.format,
        features=json.dumps(list(record.features), ensure_ascii=False),
        is_active=False,
        registered_at=now.replace(tzinfo=None, microsecond=now.microsecond // 1000 * 1000),
    )


def deactivate_others(store: sa.Table, model: str, version: str) -> sa.Update:
    """Before `activate`: at no moment two versions of a name are active."""
    import sqlalchemy as sa

    others = (store.c.model_name == model, store.c.model_version != version, store.c.is_active == sa.true())
    return store.update().where(*others).values(is_active=False)


def activate(store: sa.Table, model: str, version: str) -> sa.Update:
    """Make a version active; one that is stays as it is."""
    import sqlalchemy as sa

    mine = (store.c.model_name == model, store.c.model_version == version, store.c.is_active == sa.false())
    return store.update().where(*mine).values(is_active=True)


def select(store: sa.Table, model: str, version: str | None, *, data: bool = False) -> sa.Select[Any]:
    """One version, or the active one (None); its bytes only if told."""
    import sqlalchemy as sa

    chosen = store.c.is_active == sa.true() if version is None else store.c.model_version == version
    columns = [*_describe(store), *([store.c.model_data] if data else [])]
    return sa.select(*columns).where(store.c.model_name == model, chosen)


def list_all(store: sa.Table, model: str | None) -> sa.Select[Any]:
    """Every version, without bytes: by name, the newest first."""
    import sqlalchemy as sa

    query = sa.select(*_describe(store))
    if model is not None:
        query = query.where(store.c.model_name == model)
    return query.order_by(store.c.model_name, store.c.registered_at.desc(), store.c.model_version.desc())


def _describe(store: sa.Table) -> list[Any]:
    import sqlalchemy as sa

    # T-SQL's LEN is of texts, and so is DuckDB's.
    measures = {"mssql": sa.func.datalength, "duckdb": sa.func.octet_length}
    measure = measures.get(store.info["dialect"], sa.func.length)
    described = [column for column in store.columns if column.name != "model_data"]
    return [*described, measure(store.c.model_data).label("bytes")]
