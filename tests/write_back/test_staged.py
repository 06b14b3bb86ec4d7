"""Rows that are in the database already: upserted within the caller's transaction, without leaving it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from adfml_assets.write_back.errors import DuplicateKeys, NullKeys
from adfml_assets.write_back.target import reflect_table
from adfml_assets.write_back.upsert import upsert_staged
from adfml_assets.write_back.written import Written
from tests.write_back.conftest import DAY, EARLIER, LATER, Place, count, scores_of, square, write

STAGING = sa.Table(
    "scored",
    sa.MetaData(),
    sa.Column("Key", sa.BigInteger),
    sa.Column("Value", sa.Float(53)),
    prefixes=["TEMPORARY"],
)


@contextmanager
def staged(place: Place, values: str) -> Iterator[Connection]:
    """A transaction with rows `(key, value), ...` staged, made by SQL."""
    with place.databases.connect("shop") as connection, connection.begin():
        STAGING.create(connection)
        connection.exec_driver_sql(f"INSERT INTO scored {values}")
        yield connection
        STAGING.drop(connection)


def upsert(connection: Connection, *, overwrite_newer: bool = False) -> Written:
    target = reflect_table(connection, None, "Predictions")
    values = {
        "RecordId": STAGING.c.Key,
        "ModelName": sa.literal("m"),
        "Score": sa.func.coalesce(STAGING.c.Value, 0.0),
        "SnapshotDate": sa.literal(DAY, sa.Date),
    }
    arguments = {"values": values, "newer": "SnapshotDate", "overwrite_newer": overwrite_newer}
    return upsert_staged(connection, target, STAGING, ("RecordId", "ModelName"), **arguments)  # type: ignore[arg-type]


def test_what_a_query_made_is_upserted(place: Place) -> None:
    write(place, square(range(4)), day=EARLIER)
    write(place, {9: 9.0}, day=LATER)
    expected = [(1, 3, 0, 1), (0, 0, 4, 1)]
    for counted in expected:
        with staged(place, "VALUES (1, 0.5), (2, NULL), (3, 3.5), (7, 7.5), (9, 0.5)") as connection:
            assert count(upsert(connection)) == counted
    assert scores_of(place) == {0: 0.0, 1: 0.5, 2: 0.0, 3: 3.5, 7: 7.5, 9: 9.0}
    with staged(place, "VALUES (9, 0.5)") as connection:
        assert count(upsert(connection, overwrite_newer=True)) == (0, 1, 0, 0)


def test_the_callers_transaction_decides(place: Place) -> None:
    write(place, {1: 1.0})
    with place.databases.connect("shop") as connection:
        transaction = connection.begin()
        STAGING.create(connection)
        connection.exec_driver_sql("INSERT INTO scored VALUES (1, 2.0), (2, 2.0)")
        assert upsert(connection).changed == 2
        transaction.rollback()
    assert scores_of(place) == {1: 1.0}


def test_all_columns_by_their_own_names(place: Place) -> None:
    write(place, {1: 1.0})
    copied = sa.Table("copied", sa.MetaData(), sa.Column("RecordId", sa.BigInteger), sa.Column("ModelName", sa.Text))
    with place.databases.connect("shop") as connection, connection.begin():
        copied.create(connection)
        connection.execute(copied.insert(), [{"RecordId": 1, "ModelName": "m"}, {"RecordId": 2, "ModelName": "m"}])
        target = reflect_table(connection, None, "Predictions")
        assert count(upsert_staged(connection, target, copied, ("RecordId", "ModelName"))) == (1, 0, 1, 0)
    assert scores_of(place) == {1: 1.0, 2: None}


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ("VALUES (1, 1.0), (2, 2.0), (1, 3.0)", DuplicateKeys, r"one key \(RecordId, ModelName\): \(1, 'm'\)"),
        ("VALUES (1, 1.0), (NULL, 2.0)", NullKeys, r"1 rows have NULL in their key .*, for example \(None, 'm'\)"),
    ],
)
def test_keys_are_checked(place: Place, values: str, error: type[Exception], message: str) -> None:
    write(place, {5: 5.0})
    with pytest.raises(error, match=message), staged(place, values) as connection:
        upsert(connection)
    assert scores_of(place) == {5: 5.0}
