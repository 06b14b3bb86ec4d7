"""PostgreSQL's binary rows: what the server reads is tried elsewhere; here, that parts of arrays are encoded alike."""

from __future__ import annotations

from datetime import date, datetime, time

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adfml_assets.write_back.postgresql_rows import encode

KINDS = {
    pa.bool_(): st.booleans(),
    pa.int16(): st.integers(-(2**15), 2**15 - 1),
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float32(): st.floats(width=32, allow_nan=False),
    pa.float64(): st.floats(allow_nan=False),
    pa.string(): st.text(max_size=5),
    pa.binary(): st.binary(max_size=5),
    pa.date32(): st.dates(date(1, 1, 1)),
    pa.time64("us"): st.times(),
    pa.timestamp("us"): st.datetimes(datetime(1, 1, 1)),
}


def test_a_row_as_the_manual_has_it() -> None:
    batch = pa.record_batch({"a": [1], "b": ["ü"], "c": pa.array([None], pa.int16()), "d": [date(2000, 1, 2)]})
    expected = "000400000008000000000000000100000002c3bcffffffff0000000400000001"
    assert bytes(encode(batch)).hex() == expected
    moment = pa.record_batch({"t": pa.array([datetime(2000, 1, 1, 0, 0, 1)], pa.timestamp("us")), "c": [time(0, 0, 2)]})
    expected = "00020000000800000000000f42400000000800000000001e8480"
    assert bytes(encode(moment)).hex() == expected


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_part_is_encoded_as_if_it_were_all(kind: pa.DataType) -> None:
    @settings(max_examples=10, deadline=None)
    @given(values=st.lists(st.none() | KINDS[kind], min_size=3, max_size=12), start=st.integers(0, 2))
    def hold(values: list[object], start: int) -> None:
        numbers = pa.array(range(len(values)), pa.int64())
        batch = pa.RecordBatch.from_arrays([pa.array(values, kind), numbers], names=["v", "n"])
        rest = pa.RecordBatch.from_arrays([pa.array(values[start:], kind), numbers[start:]], names=["v", "n"])
        whole = bytes(encode(batch))
        assert bytes(encode(batch.slice(start))) == bytes(encode(rest))
        assert whole == bytes(encode(batch.slice(0, start))) + bytes(encode(rest))

    hold()
