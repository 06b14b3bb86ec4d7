"""Any table, whatever its columns are called and hold, arrives as it is: both ways of fetching, any batch size."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from resources.servers import postgresql_copying
from resources.servers.postgresql import PostgresqlServer
from tests.postgresql_reading import query_of, read_table

Writer = psycopg.Connection[Any]

_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)


@st.composite
def _decimals(draw: st.DrawFn, precision: int, scale: int) -> Decimal:
    digits = draw(st.integers(-(10**precision) + 1, 10**precision - 1))
    sign, digit_tuple, _ = Decimal(digits).as_tuple()
    return Decimal((sign, digit_tuple, -scale))


@st.composite
def _numerics(draw: st.DrawFn) -> tuple[str, st.SearchStrategy[Any]]:
    precision = draw(st.integers(1, 38))
    scale = draw(st.integers(0, precision))
    return f"numeric({precision},{scale})", _decimals(precision, scale)


_scalars: list[tuple[str, st.SearchStrategy[Any]]] = [
    ("boolean", st.booleans()),
    ("smallint", st.integers(-(2**15), 2**15 - 1)),
    ("integer", st.integers(-(2**31), 2**31 - 1)),
    ("bigint", st.integers(-(2**63), 2**63 - 1)),
    ("double precision", st.floats(allow_nan=False)),
    ("real", st.floats(width=32, allow_nan=False)),
    ("text", _text),
    ("bytea", st.binary(max_size=60)),
    ("date", st.dates()),
    ("timestamp", st.datetimes()),
    ("timestamptz", st.datetimes(dt.datetime(2, 1, 1), dt.datetime(9998, 1, 1), timezones=st.just(dt.UTC))),
    ("time", st.times()),
    ("uuid", st.uuids()),
]
_columns = st.one_of(st.sampled_from(_scalars), _numerics())


@st.composite
def _tables(draw: st.DrawFn) -> tuple[list[str], list[str], list[list[Any]]]:
    """Names, types and rows; an element of a column may be NULL, a column an array."""
    columns = draw(st.lists(_columns, min_size=1, max_size=6))
    arrays = [draw(st.booleans()) and draw(st.booleans()) for _ in columns]
    name = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
    names = draw(st.lists(name, min_size=len(columns), max_size=len(columns), unique=True))
    values = [
        st.none() | (st.lists(st.none() | value, max_size=4) if array else value)
        for (_, value), array in zip(columns, arrays, strict=True)
    ]
    rows = draw(st.lists(st.tuples(*values).map(list), max_size=20))
    return names, [source + "[]" * array for (source, _), array in zip(columns, arrays, strict=True)], rows


def _expect(value: Any) -> Any:
    if isinstance(value, list):
        return [_expect(item) for item in value]
    return str(value) if isinstance(value, uuid.UUID) else value


@pytest.mark.parametrize("batch_bytes", [64, 8 << 20])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=_tables())
def test_any_table_arrives_as_it_is(
    writer: Writer,
    server: PostgresqlServer,
    fetching: str,
    batch_bytes: int,
    table: tuple[list[str], list[str], list[list[Any]]],
) -> None:
    names, types, rows = table
    writer.execute("DROP TABLE IF EXISTS t")
    columns = [sql.SQL("{} " + source).format(sql.Identifier(name)) for name, source in zip(names, types, strict=True)]  # type: ignore[arg-type]
    writer.execute(sql.SQL("CREATE TABLE t ({})").format(sql.SQL(", ").join(columns)))
    marks = sql.SQL(", ").join(sql.SQL("%s::" + source) for source in types)  # type: ignore[arg-type]
    for row in rows:
        writer.execute(sql.SQL("INSERT INTO t VALUES ({})").format(marks), row)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postgresql_copying, "BATCH_BYTES", batch_bytes)
        with server.open_snapshot() as snapshot:
            found = read_table(snapshot, query_of(snapshot, "t"))
    assert found.column_names == names
    for index in range(len(names)):
        assert found.column(index).to_pylist() == [_expect(row[index]) for row in rows]
