"""MLModels: versions of models kept in the database that scores by them, one of each name active.

PREDICT and sp_execute_external_script read a model's bytes from there. The table is made by
resources/sql/ml_models_*.sql; the database itself allows one active version a name (but not a Synapse dedicated pool,
which enforces nothing: its procedure refuses a name that has several).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from adfml_assets.in_database import model_store_statements as statements
from adfml_assets.in_database.platform import ModelKind, read_platform
from adfml_assets.in_database.server_errors import (
    ModelStoreInvalid,
    NoModelStore,
    NoSuchStoredVersion,
    VersionStored,
    WrongModelBytes,
)
from resources.database import Databases
from resources.duckdb_file import write_alone

if TYPE_CHECKING:
    import sqlalchemy as sa
    from sqlalchemy import Connection

TABLE = "MLModels"
ACTIVE_INDEX = "UX_MLModels_Active"


@dataclass(frozen=True)
class ModelToStore:
    """What is known of a version whose bytes are to be stored.

    Attributes:
        model, version: its name and number.
        sha256: what its bytes have to be, hexadecimal: as the registry recorded it.
        format: how it is stored.
        features: the columns it takes, in its order.
    """

    model: str
    version: str
    sha256: str
    format: ModelKind
    features: tuple[str, ...]


@dataclass(frozen=True)
class StoredModel(ModelToStore):
    """A version in MLModels.

    Attributes:
        is_active: whether procedures score by it.
        registered_at: when it was stored, UTC.
        bytes: the size of the model.
    """

    is_active: bool
    registered_at: datetime
    bytes: int


def store_model(
    databases: Databases,
    database: str,
    schema: str | None,
    table: str,
    record: ModelToStore,
    data: bytes,
    activate: bool = True,
) -> StoredModel:
    """Store a version, and make it the active one of its name in the same transaction. Older versions stay.

    Again with the same bytes it changes nothing but which version is active.

    Args:
        schema: of the table; None: the database's usual one (dbo on SQL Server, the first of PostgreSQL's search path).
        data: the model's file.
        activate: False stores it beside the active version.

    Raises:
        WrongModelBytes: the bytes are not what the record says; nothing was stored.
        VersionStored: another model is stored under this version.
        NoModelStore, ModelStoreInvalid: there is no such table, or it was made by hand.
        Unreachable: the database does not answer.
    """
    found = hashlib.sha256(data).hexdigest()
    where = f"Model {record.model} version {record.version}"
    if found != record.sha256.lower():
        raise WrongModelBytes(where, record.sha256, found)
    with _open(databases, database, schema, table) as (connection, store), connection.begin():
        _lock(connection, store, record.model)
        stored = _find(connection, store, record.model, record.version)
        if stored is None:
            connection.execute(statements.insert(store, record, found, data, datetime.now(UTC)))
        elif (stored.sha256, stored.format, stored.features) != (found, record.format, record.features):
            given = ModelToStore(record.model, record.version, found, record.format, record.features)
            raise VersionStored(record.model, record.version, store.fullname, _describe(stored), _describe(given))
        if activate:
            _activate(connection, store, record.model, record.version)
        return _get(connection, store, record.model, record.version)


def activate_version(
    databases: Databases, database: str, schema: str | None, table: str, model: str, version: str
) -> StoredModel:
    """Make a stored version the active one of its name: the next call of a procedure scores by it.

    Raises:
        NoSuchStoredVersion: it is not stored.
        NoModelStore, ModelStoreInvalid, Unreachable: as for `store_model`.
    """
    with _open(databases, database, schema, table) as (connection, store), connection.begin():
        _lock(connection, store, model)
        _get(connection, store, model, version)
        _activate(connection, store, model, version)
        return _get(connection, store, model, version)


def read_model(
    databases: Databases, database: str, schema: str | None, table: str, model: str, version: str | None = None
) -> tuple[StoredModel, bytes]:
    """A stored version and its bytes.

    Args:
        version: None: the active one.

    Raises:
        NoSuchStoredVersion: it is not stored, or none is active.
        WrongModelBytes: its bytes are not what its hash says.
        NoModelStore, ModelStoreInvalid, Unreachable: as for `store_model`.
    """
    with _open(databases, database, schema, table) as (connection, store):
        row = connection.execute(statements.select(store, model, version, data=True)).mappings().first()
        if row is None:
            raise NoSuchStoredVersion(model, version, store.fullname, _list_known(connection, store, model))
    stored, data = _to_stored(row), bytes(row["model_data"])
    found = hashlib.sha256(data).hexdigest()
    if found != stored.sha256:
        raise WrongModelBytes(f"Model {model} version {stored.version} in {table}", stored.sha256, found)
    return stored, data


def list_models(
    databases: Databases, database: str, schema: str | None, table: str, model: str | None = None
) -> list[StoredModel]:
    """What is stored, without the bytes: by name, the newest first.

    Args:
        model: None: of all models.

    Raises:
        NoModelStore, ModelStoreInvalid, Unreachable: as for `store_model`.
    """
    with _open(databases, database, schema, table) as (connection, store):
        return [_to_stored(row) for row in connection.execute(statements.list_all(store, model)).mappings()]


def create_store(databases: Databases, database: str) -> None:
    """Make MLModels where the shipped file makes it: in dbo, or the first schema of PostgreSQL's search path.

    A table that is there stays as it is.

    Raises:
        Unreachable: the database does not answer.
    """
    with databases.connect(database) as connection:
        texts = read_statements(connection.dialect.name, is_pool=read_platform(connection).is_pool)
        connection.commit()
        for text in texts:
            connection.exec_driver_sql(text)
            connection.commit()


def read_statements(dialect: str, *, is_pool: bool = False) -> list[str]:
    """The statements of the shipped file that make the table, in order.

    Args:
        dialect: `mssql`, `postgresql`, `duckdb` or `sqlite`.
        is_pool: for a Synapse dedicated SQL pool.
    """
    text = files("resources").joinpath("sql", name_file(dialect, is_pool=is_pool)).read_text("utf-8")
    statements = [part.strip() for part in re.split(r"(?m)^(?:-- )?GO$", text)]
    # The pool's file goes on with the procedure.
    return statements[:1] if is_pool else statements


def name_file(dialect: str, *, is_pool: bool = False) -> str:
    """The file of `resources/sql` that makes the table."""
    return "usp_ScoreWithPredict_synapse.sql" if is_pool else f"ml_models_{dialect}.sql"


@contextmanager
def _open(databases: Databases, database: str, schema: str | None, table: str) -> Iterator[tuple[Connection, sa.Table]]:
    """A connection, and the table, which is what the shipped file makes of it."""
    import sqlalchemy as sa

    with databases.connect(database) as connection, write_alone(connection):
        dialect = connection.dialect.name
        schema = schema or ("dbo" if dialect == "mssql" else None)
        is_pool = read_platform(connection).is_pool
        store, file = (
            statements.build_table(dialect, schema, table, is_pool=is_pool),
            name_file(dialect, is_pool=is_pool),
        )
        inspector = sa.inspect(connection)
        if not inspector.has_table(table, schema=schema):
            raise NoModelStore(database, store.fullname, file)
        known = {column["name"] for column in inspector.get_columns(table, schema=schema)}
        missing = [column.name for column in store.columns if column.name not in known]
        if (
            not missing
            and not is_pool
            and not any(map(_allows_one_active, inspector.get_indexes(table, schema=schema)))
        ):
            missing = ["the unique index that allows one active version a name"]
        if missing:
            raise ModelStoreInvalid(store.fullname, missing, file)
        # Looking has begun a transaction.
        connection.rollback()
        yield connection, store


def _allows_one_active(index: Any) -> bool:
    # DuckDB's is over an expression, and its text is the server's own.
    return index["unique"] and (index["column_names"] == ["model_name"] or index["name"] == ACTIVE_INDEX)


def _lock(connection: Connection, store: sa.Table, model: str) -> None:
    """Let one writer at a time look at a name and change it. A pool has nothing for that."""
    statement = statements.lock(store, model)
    if statement is not None:
        connection.execute(statement).close()


def _activate(connection: Connection, store: sa.Table, model: str, version: str) -> None:
    connection.execute(statements.deactivate_others(store, model, version))
    connection.execute(statements.activate(store, model, version))


def _find(connection: Connection, store: sa.Table, model: str, version: str) -> StoredModel | None:
    row = connection.execute(statements.select(store, model, version)).mappings().first()
    return None if row is None else _to_stored(row)


def _get(connection: Connection, store: sa.Table, model: str, version: str) -> StoredModel:
    found = _find(connection, store, model, version)
    if found is None:
        raise NoSuchStoredVersion(model, version, store.fullname, _list_known(connection, store, model))
    return found


def _list_known(connection: Connection, store: sa.Table, model: str) -> Sequence[str]:
    return [row["model_version"] for row in connection.execute(statements.list_all(store, model)).mappings()]


def _to_stored(row: Any) -> StoredModel:
    return StoredModel(
        model=row["model_name"],
        version=row["model_version"],
        sha256=row["model_sha256"],
        format=row["model_format"],
        features=tuple(json.loads(row["features"])),
        is_active=bool(row["is_active"]),
        registered_at=row["registered_at"].replace(tzinfo=UTC),
        bytes=int(row["bytes"]),
    )


def _describe(model: ModelToStore) -> str:
    return f"{model.format}, SHA-256 {model.sha256[:12]}, {len(model.features)} features"
