"""Reading whole PostgreSQL tables in tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
from sqlalchemy.engine import URL

from resources.servers import Snapshot, TableName, TableQuery
from resources.servers.postgresql import PostgresqlServer
from resources.settings import database_setting

SETTING = database_setting("shop")
Open = Callable[[URL], PostgresqlServer]
Read = Callable[..., pa.Table]


def query_of(snapshot: Snapshot, table: str, schema: str = "public", **changes: Any) -> TableQuery:
    """All columns of a table."""
    described = snapshot.describe(TableName(schema, table))
    columns = tuple(column.name for column in described.columns)
    return TableQuery(**({"table": described, "columns": columns} | changes))


def read_table(snapshot: Snapshot, query: TableQuery) -> pa.Table:
    """All rows of a query; every batch is valid and of the announced schema."""
    schema, batches = snapshot.schema_of(query), list(snapshot.read(query))
    for batch in batches:
        batch.validate(full=True)
        assert batch.schema.equals(schema, check_metadata=True)
    return pa.Table.from_batches(batches, schema)
