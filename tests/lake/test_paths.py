"""No path leaves the lake, and every name of a database's is one in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adfml_assets import lake_layout
from resources.errors import UnsafePath
from resources.lake import split_path
from tests.conftest import NOW


@pytest.mark.parametrize("path", ["ml", "ml/", "other/x", "ml/../x", "ml/a/../../b", "ml//x", "/ml/x", "ml/a\\..\\b"])
def test_a_path_cannot_leave_the_lake(path: str) -> None:
    with pytest.raises(UnsafePath):
        split_path(path)


@given(*[st.text(min_size=1, max_size=30)] * 3)
def test_any_table_name_is_a_path_in_the_lake(database: str, schema: str, table: str) -> None:
    folder = lake_layout.archive_folder(database, schema, table, "2026-01-01")
    assert split_path(f"{folder}/{lake_layout.snapshot_file(table, NOW)}")[0] == "archive"


@given(st.text(min_size=1, max_size=30), st.text(min_size=1, max_size=30))
def test_different_names_have_different_folders(one: str, other: str) -> None:
    assert (lake_layout.encode_name(one) == lake_layout.encode_name(other)) == (one == other)
