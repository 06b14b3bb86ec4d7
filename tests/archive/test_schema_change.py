"""What changed in a table's columns is told, with the difference."""

from adfml_assets.archive.schema_change import compare_columns

BEFORE = {"id": "int64", "price": "decimal128(12, 3)", "note": "string"}


def test_equal_columns_in_another_order_are_no_change() -> None:
    assert not compare_columns(BEFORE, dict(reversed(BEFORE.items())))


def test_an_added_column_breaks_nothing() -> None:
    change = compare_columns(BEFORE, {**BEFORE, "new": "bool"})
    assert (bool(change), change.breaks, change.describe()) == (True, False, "+ new bool")


def test_removed_and_retyped_columns_do() -> None:
    change = compare_columns(BEFORE, {"id": "int64", "price": "double"})
    assert change.breaks
    assert change.describe() == "- note string\n~ price decimal128(12, 3) -> double"
