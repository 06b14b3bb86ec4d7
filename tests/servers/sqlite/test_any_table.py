"""Whatever table, whatever values: both ways of reading give the same, and what they give is what is stored."""

import json
import math
from contextlib import closing
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from sqlite3 import connect
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from resources.servers.base import MISMATCHED
from tests.servers.sqlite.conftest import open_server, read_table

TYPES = [
    "INTEGER",
    "BOOLEAN",
    "DOUBLE",
    "DECIMAL(9,2)",
    "DECIMAL(20,4)",
    "DECIMAL(38,30)",
    "DATETIME",
    "TIMESTAMPTZ",
    "DATE",
]
TYPES += ["TIME", "TEXT", "BLOB", "NUMERIC", "", "JSON"]
MOMENTS = st.datetimes().map(str) | st.datetimes().map(datetime.isoformat)
VALUES = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-2, 2),
    st.floats(allow_nan=False),
    st.integers(-(10**17), 10**17).map(lambda number: number / 100),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.binary(),
    MOMENTS,
    MOMENTS.flatmap(
        lambda text: st.sampled_from(["Z", "+01:00", "-0930", "+14", "+15:00", "0", " "]).map(text.__add__)
    ),
    st.dates().map(str),
    st.times().map(str),
    st.decimals(-(10**12), 10**12, places=4).map(str),
)
TABLES = st.lists(st.sampled_from(TYPES), min_size=1, max_size=6).flatmap(
    lambda types: st.tuples(st.just(types), st.lists(st.tuples(*[VALUES] * len(types)), max_size=12))
)


def is_same(value: Any, stored: Any, declared: str) -> bool:
    """Whether an archived value is the stored one, told without any code of the project."""
    match value:
        case bool() | int():
            return not isinstance(stored, str | bytes) and stored == value
        case float():
            return (
                not isinstance(stored, str | bytes)
                and stored == value
                and math.copysign(1, stored) == math.copysign(1, value)
            )
        case Decimal() if isinstance(stored, float):
            return float(value) == stored
        case Decimal():
            return not isinstance(stored, bytes) and Decimal(stored) == value
        case datetime():
            parsed = datetime.fromisoformat(stored)
            return parsed == value if value.tzinfo is None or parsed.tzinfo else parsed == value.replace(tzinfo=None)
        case date():
            return date.fromisoformat(stored) == value
        case time():
            return time.fromisoformat(stored) == value
        case str() if isinstance(stored, int | float):
            return type(stored)(value) == stored
    return type(value) is type(stored) and value == stored


def text_of(stored: Any) -> str:
    return stored.hex() if isinstance(stored, bytes) else str(stored)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=TABLES)
@example(table=(["DECIMAL(38,30)", "DOUBLE"], [(0.1, 2**53 + 1), (1e-300, 2**63 - 1), (5e-324, -(2**63))]))
@example(table=(["DECIMAL(9,2)"] * 3, [(0.005, 1.005, 2.675), (9999999.99, 10000000.0, -9999999.99)]))
def test_both_ways_give_what_is_stored(table: tuple[list[str], list[tuple[Any, ...]]], tmp_path: Path) -> None:
    types, rows = table
    path = tmp_path / "any.sqlite"
    path.unlink(missing_ok=True)
    names = [f"c{number}" for number in range(len(types))]
    with closing(connect(path)) as source:
        declared = ", ".join(f"{name} {kind}" for name, kind in zip(names, types, strict=True))
        source.execute(f"CREATE TABLE t ({declared})")
        source.executemany(f"INSERT INTO t VALUES ({', '.join('?' * len(names))})", rows)
        source.commit()
        stored = source.execute("SELECT * FROM t").fetchall()
    found, other = (read_table(open_server(path, "keep", direct=direct), "t") for direct in (True, False))
    assert found.equals(other)
    for row, values in zip(found.to_pylist(), stored, strict=True):
        kept = json.loads(row[MISMATCHED] or "{}")
        for name, kind, value in zip(names, types, values, strict=True):
            if name in kept:
                assert (row[name], kept[name]) == (None, text_of(value))
            elif value is None or row[name] is None:
                assert row[name] is value is None
            else:
                assert is_same(row[name], value, kind)
