"""What a run says of tables that it did not archive: once, and of the others only where there are any."""

from __future__ import annotations

from adfml_assets.archive_assets import describe_failures


def test_one_table_alone_is_not_counted_and_named_once() -> None:
    error = ValueError("shop.main.Orders: no interval was recorded.")
    assert (
        describe_failures({"shop.main.Orders": error}, 1) == "Not archived. shop.main.Orders: no interval was recorded."
    )


def test_of_several_tables_each_is_named_with_its_error() -> None:
    failures = {"shop.main.B": ValueError("locked"), "shop.main.A": ValueError("shop.main.A: gone")}
    expected = "2 of 3 tables were not archived; the others are.\n- shop.main.A: gone\n- shop.main.B: locked"
    assert describe_failures(failures, 3) == expected


def test_where_all_failed_there_are_no_others() -> None:
    failures = {"shop.main.A": ValueError("locked"), "shop.main.B": ValueError("locked")}
    assert describe_failures(failures, 2).splitlines()[0] == "2 of 2 tables were not archived."
