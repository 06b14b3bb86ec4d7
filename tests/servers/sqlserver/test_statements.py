"""The statements for SQL Server, as text and parsed as T-SQL; none is run here."""

from __future__ import annotations

import pyarrow as pa
import pytest
import sqlglot
from hypothesis import given
from hypothesis import strategies as st
from sqlglot import exp

from resources.errors import NotFound
from resources.servers import sqlserver_catalog as catalog
from resources.servers.base import Column, TableName, TableQuery, TableSchema, Watermark, compare_watermarks
from resources.servers.sqlserver_catalog import read_table
from resources.servers.sqlserver_statements import (
    NotTemporal,
    Statement,
    count_nulls,
    count_rows,
    quote,
    select_largest,
    select_rows,
    touch_table,
)
from resources.servers.sqlserver_watermarks import UnfitWatermark, settle_row_version, unify_moment, unify_watermark
from tests.servers.sqlserver.standin import column_row

NAME = TableName("dbo", "Orders")
CLOCK = "2026-03-10 09:30:00.1234567"
TABLE = read_table(
    NAME,
    [
        column_row("Id", "bigint", temporal=2),
        column_row("Day", "date"),
        column_row("Minute", "smalldatetime"),
        column_row("Old", "datetime"),
        column_row("Changed", "datetime2", scale=7),
        column_row("Sent", "datetimeoffset", scale=3),
        column_row("Version", "timestamp", length=8),
        column_row("Amount", "decimal", precision=12, scale=2),
    ],
    None,
)


def parse(statement: Statement) -> exp.Expr:
    """The statement as T-SQL; the parameters have to be as many as there are places for them."""
    tree = sqlglot.parse_one(statement.text, read="tsql")
    assert len(list(tree.find_all(exp.Placeholder))) == len(statement.parameters)
    return tree


def test_rows_are_selected_by_names_in_brackets() -> None:
    statement = select_rows(TableQuery(TABLE, ("Id", "Changed", "Changed_100ns")))
    assert statement == Statement(
        "SELECT\n    [Id] AS [Id],\n    [Changed] AS [Changed],\n"
        "    CONVERT(tinyint, DATEPART(NANOSECOND, [Changed]) % 1000 / 100) AS [Changed_100ns]\n"
        "FROM [dbo].[Orders]"
    )
    parse(statement)


@pytest.mark.parametrize(
    ("column", "kind", "text", "condition", "bound"),
    [
        ("Id", "integer", "-9", "[Id] > CONVERT(bigint, ?)", "-9"),
        ("Day", "datetime", "2026-03-10", "[Day] > CONVERT(date, CONVERT(datetime2(7), ?, 121))", None),
        ("Minute", "datetime", CLOCK, "[Minute] > CONVERT(smalldatetime, CONVERT(datetime2(7), ?, 121))", None),
        ("Old", "datetime", CLOCK, "[Old] > CONVERT(datetime, CONVERT(datetime2(7), ?, 121))", None),
        ("Changed", "datetime", "2026-03-10T09:30:00.1234567", "[Changed] > CONVERT(datetime2(7), ?, 121)", CLOCK),
        ("Sent", "datetime", CLOCK, "[Sent] > CONVERT(datetimeoffset(3), ?, 121)", f"{CLOCK} +00:00"),
        ("Version", "rowversion", "0x00000000000007d1", "[Version] > CONVERT(binary(8), ?, 1)", "0x00000000000007D1"),
    ],
)
def test_watermarks_are_compared_in_the_columns_own_type(
    column: str, kind: str, text: str, condition: str, bound: str | None
) -> None:
    watermark = Watermark(column, kind)  # type: ignore[arg-type]
    query = TableQuery(TABLE, ("Id",), watermark=watermark, lower=text, upper=text)
    statement = select_rows(query)
    assert statement.text.endswith(f"WHERE {condition} AND {condition.replace('>', '<=')}")
    assert statement.parameters == ((bound or unify_moment(text)),) * 2
    parse(statement)


def test_the_first_interval_has_no_lower_end() -> None:
    query = TableQuery(TABLE, ("Id",), where="Id > 0", watermark=Watermark("Id", "integer"), upper="9")
    statement = count_rows(query)
    assert statement.text == (
        "SELECT COUNT_BIG(*)\nFROM [dbo].[Orders]\nWHERE (\nId > 0\n) AND [Id] <= CONVERT(bigint, ?)"
    )
    parse(statement)


def test_a_comment_in_a_condition_ends_with_it() -> None:
    query = TableQuery(
        TABLE, ("Id",), where="Id > 0 OR Amount < 1 -- all", watermark=Watermark("Id", "integer"), upper="9"
    )
    tree = parse(select_rows(query))
    condition = tree.find(exp.Where)
    assert condition is not None
    assert isinstance(condition.this, exp.And)
    assert isinstance(condition.this.this, exp.Paren)


@given(st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=40))
def test_any_name_is_one_identifier(name: str) -> None:
    assert quote(name) == f"[{name.replace(']', ']]')}]"


def test_a_name_cannot_leave_its_brackets() -> None:
    table = read_table(TableName("d]bo", "Or]; DROP"), [column_row("a]b", "int")], None)
    tree = parse(select_rows(TableQuery(table, ("a]b",))))
    found = tree.find(exp.Table)
    assert found is not None
    assert (found.db, found.name) == ("d]bo", "Or]; DROP")
    assert tree.named_selects == ["a]b"]


@pytest.mark.parametrize(
    ("column", "expression"),
    [
        ("Day", "CONVERT(varchar(10), MAX([Day]), 23)"),
        ("Minute", "CONVERT(varchar(19), CONVERT(datetime2(0), MAX([Minute])), 121)"),
        ("Old", "CONVERT(varchar(23), MAX([Old]), 121)"),
        ("Changed", "CONVERT(varchar(27), MAX([Changed]), 121)"),
        ("Sent", "CONVERT(varchar(34), SWITCHOFFSET(MAX([Sent]), '+00:00'), 121)"),
    ],
)
def test_the_largest_watermark_is_exact_text(column: str, expression: str) -> None:
    statement = select_largest(TABLE, Watermark(column), None, CLOCK)
    assert statement == Statement(f"SELECT {expression}\nFROM [dbo].[Orders]")
    parse(statement)


@pytest.mark.parametrize(
    ("column", "condition"),
    [
        ("Day", "[Day] < CONVERT(date, DATEADD(SECOND, -CONVERT(int, ?), CONVERT(datetime2(7), ?, 121)))"),
        (
            "Changed",
            "[Changed] <= CONVERT(datetime2(7), DATEADD(SECOND, -CONVERT(int, ?), CONVERT(datetime2(7), ?, 121)))",
        ),
        (
            "Sent",
            "[Sent] <= CONVERT(datetimeoffset(3), TODATETIMEOFFSET("
            "DATEADD(SECOND, -CONVERT(int, ?), CONVERT(datetime2(7), ?, 121)), '+00:00'))",
        ),
    ],
)
def test_rows_younger_than_the_lag_are_left_to_the_next_interval(column: str, condition: str) -> None:
    statement = select_largest(TABLE, Watermark(column, lag_seconds=90), "Id > 0", CLOCK)
    assert statement.text.endswith(f"WHERE (\nId > 0\n) AND {condition}")
    assert statement.parameters == ("90", CLOCK)
    parse(statement)


def test_a_past_state_is_read_by_the_servers_history() -> None:
    statement = select_rows(TableQuery(TABLE, ("Id",)), "2026-03-10 09:30:00")
    assert statement.text.endswith("FROM [dbo].[Orders] FOR SYSTEM_TIME AS OF '2026-03-10T09:30:00.0000000'")
    parse(statement)


@pytest.mark.parametrize("moment", ["yesterday", "2026-03-10' OR 1=1 --", "2026-03-10 09:30:00 +02:00", ""])
def test_a_moment_that_is_none_is_refused(moment: str) -> None:
    with pytest.raises(NotTemporal, match="expected UTC text"):
        select_rows(TableQuery(TABLE, ("Id",)), moment)


def test_a_table_without_history_has_no_past_state() -> None:
    table = read_table(NAME, [column_row("Id", "int")], None)
    with pytest.raises(NotTemporal, match="expected a system-versioned table"):
        count_rows(TableQuery(table, ("Id",)), "2026-03-10")


@pytest.mark.parametrize(
    ("column", "kind", "text"),
    [
        ("Amount", "integer", "1"),
        ("Id", "datetime", "2026-03-10"),
        ("Changed_100ns", "datetime", "2026-03-10"),
        ("Version", "integer", "1"),
        ("Id", "integer", "1; DROP TABLE x"),
        ("Changed", "datetime", "10.03.2026"),
        ("Version", "rowversion", "2001"),
    ],
)
def test_a_watermark_that_does_not_fit_its_column_is_refused(column: str, kind: str, text: str) -> None:
    query = TableQuery(TABLE, ("Id",), watermark=Watermark(column, kind), upper=text)  # type: ignore[arg-type]
    with pytest.raises(UnfitWatermark) as raised:
        select_rows(query)
    assert str(raised.value).startswith(f"dbo.Orders.{column} cannot be followed")


def test_an_unknown_column_is_named_with_those_there_are() -> None:
    with pytest.raises(NotFound, match="Did you mean 'Amount'"):
        select_rows(TableQuery(TABLE, ("Amont",)))
    with pytest.raises(TypeError):
        select_rows(TableQuery(TableSchema(NAME, (Column("Id", "int", pa.int32()),)), ("Id",)))


def test_nulls_are_counted_by_the_server() -> None:
    assert count_nulls(TABLE, "Changed", "Id > 0").text == (
        "SELECT COUNT_BIG(*)\nFROM [dbo].[Orders]\nWHERE (\nId > 0\n) AND [Changed] IS NULL"
    )


@pytest.mark.parametrize(
    "statement",
    [
        catalog.EDITION,
        catalog.LIST_TABLES,
        catalog.FIND_READABLE,
        catalog.select_state(5),
        catalog.select_state(11),
        catalog.select_columns(NAME),
        catalog.select_size(NAME),
        touch_table(NAME),
    ],
)
def test_what_the_catalog_is_asked_is_tsql(statement: Statement) -> None:
    assert parse(statement).find(exp.Select) is not None


digits = st.integers(0, 7).flatmap(lambda n: st.text("0123456789", min_size=n, max_size=n))


@given(st.datetimes(), st.datetimes(), digits, digits)
def test_the_order_of_moments_is_the_order_of_their_text(one, other, fraction, fraction_of_other) -> None:  # type: ignore[no-untyped-def]
    def spell(moment, digits):  # type: ignore[no-untyped-def]
        text = f"{moment.year:04}-{moment:%m-%d %H:%M:%S}"
        return text + (f".{digits}" if digits else "")

    def rank(moment, digits):  # type: ignore[no-untyped-def]
        return moment.replace(microsecond=0), int(digits.ljust(7, "0"))

    first, second = unify_moment(spell(one, fraction)), unify_moment(spell(other, fraction_of_other))
    assert first is not None
    assert second is not None
    expected = (rank(one, fraction) > rank(other, fraction_of_other)) - (
        rank(one, fraction) < rank(other, fraction_of_other)
    )
    assert compare_watermarks("datetime", first, second) == expected


@given(st.integers(1, 2**64 - 1))
def test_row_versions_end_before_the_oldest_open_transaction(active: int) -> None:
    settled = settle_row_version(f"0x{active:016X}")
    assert int(settled, 16) == active - 1
    assert unify_watermark(NAME, Watermark("Version", "rowversion"), settled) == settled
    assert compare_watermarks("rowversion", settled, f"0x{active:016X}") == -1
