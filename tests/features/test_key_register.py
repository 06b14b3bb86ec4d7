"""Rows that repeat a key are counted exactly, whatever the keys: close together, far apart, negative, any batches."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adfml_assets.features.errors import DuplicateFeatures
from adfml_assets.features.key_register import open_register
from tests.features.conftest import EVENTS

_NEAR = st.integers(-40, 40)
_FAR = st.integers(-(2**62), 2**62)


@settings(max_examples=25, deadline=None)
@given(batches=st.lists(st.lists(st.one_of(_NEAR, _NEAR, _NEAR, _FAR), min_size=1, max_size=30), max_size=5))
def test_repeated_keys_are_counted_exactly(batches: list[list[int]]) -> None:
    assert _count_duplicates(batches) == _expected(batches)


def test_neighbours_that_share_a_byte_are_keys_of_their_own() -> None:
    numbers = [*range(1000, 1016), *range(1000, 1016, 3)]
    assert _count_duplicates([numbers]) == 6
    assert _count_duplicates([numbers[:16], numbers[16:]]) == 6


def test_what_was_marked_is_not_forgotten_when_a_key_lies_far_away() -> None:
    assert _count_duplicates([[5, 6, 5], [2**40, 6], [2**40, 7]]) == 3


def _expected(batches: list[list[int]]) -> int:
    keys = [key for batch in batches for key in batch]
    return len(keys) - len(set(keys))


def _count_duplicates(batches: list[list[int]]) -> int:
    schema = pa.schema([(EVENTS.key, pa.int64()), ("OrderedAt", pa.timestamp("us"))])
    with open_register(EVENTS, schema) as register:
        for keys in batches:
            register.add(pa.record_batch([pa.array(keys, pa.int64()), pa.nulls(len(keys), schema[1].type)], schema))
        try:
            register.check()
        except DuplicateFeatures as error:
            return error.duplicates
    return 0


def test_a_register_of_no_row_has_no_duplicate() -> None:
    assert _count_duplicates([]) == 0


def test_the_error_names_the_key() -> None:
    schema = pa.schema([(EVENTS.key, pa.int64())])
    with open_register(EVENTS, schema) as register:
        register.add(pa.record_batch([pa.array([1, 1], pa.int64())], schema))
        with pytest.raises(DuplicateFeatures, match=f"1 rows repeat a {EVENTS.key}"):
            register.check()
