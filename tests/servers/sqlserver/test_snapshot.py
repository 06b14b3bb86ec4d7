"""A snapshot of SQL Server: which statements, in which order, on which connection, and what is closed.

The driver is a stand-in here (`standin`): no T-SQL runs.
"""

from __future__ import annotations

import threading

import pyarrow as pa
import pytest
import sqlalchemy as sa
from mssql_python import exceptions

from resources.errors import (
    ConnectionLost,
    NotFound,
    NotPermitted,
    Refused,
    SettingInvalid,
    UnexpectedValue,
    Unreachable,
)
from resources.servers import open_server
from resources.servers.base import TableName, TableQuery, Watermark
from resources.servers.sqlserver import SqlServer
from resources.servers.sqlserver_watermarks import UnfitWatermark
from tests.servers.sqlserver.standin import SHOP, StandIn, column_row, server_error

ORDERS = TableName("dbo", "Orders")
COLUMNS = [
    column_row("Id", "int", nullable=False, key=1),
    column_row("Changed", "datetime2", scale=7),
    column_row("Version", "timestamp", length=8),
]
DRIVER_BATCH = pa.record_batch({"Id": pa.array([1, 2, 3], pa.int32())})


def open_stand_in(**facts: int) -> StandIn:
    database = StandIn(**facts)
    database.answer("FROM sys.objects", COLUMNS)
    database.batches = [DRIVER_BATCH]
    return database


def test_snapshot_transactions_begin_together_after_the_clock_was_read() -> None:
    database = open_stand_in()
    with database.server().open_snapshot() as snapshot:
        facts = snapshot.facts
    assert not any("ISOLATION LEVEL" in text for text in database.statements(0))
    begun = [
        "ROLLBACK",
        "SET LANGUAGE us_english",
        "CLOSE CURSOR",
        "SET TRANSACTION ISOLATION LEVEL SNAPSHOT",
        "CLOSE CURSOR",
        "ROLLBACK",
        "SELECT TOP (1) 1 FROM [dbo].[Orders]",
        "CLOSE CURSOR",
        "CLOSE",
    ]
    assert database.statements(1) == begun
    assert database.statements(2) == begun
    closed = database.log.index((0, "CLOSE"))
    anchors = [i for i, (_, text) in enumerate(database.log) if text.startswith("SELECT TOP (1) 1")]
    assert closed < min(anchors), "the clock has to be read before any snapshot begins"
    assert facts["isolation"].startswith("SNAPSHOT: 2 connections, each with its own transaction")
    assert facts["taken_at"] == "2026-03-10T09:30:00.123456+00:00"
    assert (facts["edition"], facts["id"], facts["connections"]) == (
        "Azure SQL Database",
        "0x00000000000007D2",
        2,
    )
    assert database.open_connections() == 0


def test_all_that_is_done_with_a_table_is_of_one_transaction() -> None:
    database = open_stand_in()
    database.answer("COUNT_BIG", [(3,)])
    with database.server().open_snapshot() as snapshot:
        table = snapshot.describe(ORDERS)
        query = TableQuery(table, ("Id",))
        assert snapshot.count(query) == 3
        other: list[int] = []
        thread = threading.Thread(target=lambda: other.append(snapshot.count(query)))
        thread.start()
        thread.join()
        assert sum(batch.num_rows for batch in snapshot.read(query)) == 3
    asked = {number for number, text in database.log if "[Orders]" in text and "TOP (1)" not in text}
    assert len(asked) == 1
    assert other == [3]


def test_reads_beside_each_other_have_connections_of_their_own() -> None:
    database = open_stand_in()
    with database.server(connections=1).open_snapshot() as snapshot:
        query = TableQuery(snapshot.describe(ORDERS), ("Id",))
        first, second = snapshot.read(query), snapshot.read(query)
        assert next(first).num_rows == next(second).num_rows == 3
        assert "1 more began when first needed, with a later state" in snapshot.facts["isolation"]
        first.close()  # type: ignore[attr-defined]
        second.close()  # type: ignore[attr-defined]
    assert database.open_connections() == 0


def test_a_reader_that_stops_early_leaves_the_connection_to_the_next() -> None:
    database = open_stand_in()
    with database.server(connections=1).open_snapshot() as snapshot:
        query = TableQuery(snapshot.describe(ORDERS), ("Id",))
        reader = snapshot.read(query)
        next(reader)
        reader.close()  # type: ignore[attr-defined]
        assert sum(batch.num_rows for batch in snapshot.read(query)) == 3
        assert snapshot.facts["connections"] == 1


@pytest.mark.parametrize(
    ("versions", "words"), [(True, "READ COMMITTED by row versions"), (False, "READ COMMITTED by locks")]
)
def test_without_snapshots_every_read_is_committed_and_stands_for_itself(versions: bool, words: str) -> None:
    database = open_stand_in(snapshots=0, versions=versions)
    with database.server().open_snapshot() as snapshot:
        query = TableQuery(snapshot.describe(ORDERS), ("Id",))
        list(snapshot.read(query))
        assert snapshot.facts["isolation"].startswith(words)
    texts = [text for _, text in database.log]
    assert "SET TRANSACTION ISOLATION LEVEL READ COMMITTED" in texts
    assert "SET TRANSACTION ISOLATION LEVEL SNAPSHOT" not in texts
    assert not any("NOLOCK" in text or "UNCOMMITTED" in text for text in texts)
    assert texts[-3:] == ["CLOSE CURSOR", "ROLLBACK", "CLOSE"], "locks end with the read"


def test_a_pool_of_synapse_is_read_as_it_is() -> None:
    database = open_stand_in(edition=11)
    with database.server().open_snapshot() as snapshot:
        table = snapshot.describe(ORDERS)
        assert snapshot.facts["isolation"].startswith("as the Synapse serverless pool")
        with pytest.raises(UnfitWatermark, match="without row versions"):
            snapshot.find_largest(table, Watermark("Version", "rowversion"))
    assert not any("ISOLATION LEVEL" in text for _, text in database.log)


def test_memory_optimized_tables_are_read_outside_of_snapshot_sessions() -> None:
    database = open_stand_in()
    database.answer("FROM sys.objects", [column_row("Id", "int", memory=True)])
    with database.server().open_snapshot() as snapshot:
        list(snapshot.read(TableQuery(snapshot.describe(ORDERS), ("Id",))))
    number, text = next((n, text) for n, text in database.log if "AS [Id]" in text)
    assert "FROM [dbo].[Orders] WITH (SNAPSHOT)" in text
    assert "SET TRANSACTION ISOLATION LEVEL READ COMMITTED" in database.statements(number)


def test_the_largest_row_version_is_below_every_transaction_open_before_the_snapshot() -> None:
    database = open_stand_in()
    with database.server().open_snapshot() as snapshot:
        table = snapshot.describe(ORDERS)
        assert snapshot.find_largest(table, Watermark("Version", "rowversion")) == "0x00000000000007D1"


def test_a_lag_counts_from_the_earlier_of_the_servers_clocks() -> None:
    database = open_stand_in()
    database.answer("MAX", [("2026-03-10 04:00:00.0000001",)])
    with database.server().open_snapshot() as snapshot:
        table = snapshot.describe(ORDERS)
        largest = snapshot.find_largest(table, Watermark("Changed", lag_seconds=60))
    assert largest == "2026-03-10 04:00:00.0000001"
    assert ("60", "2026-03-10 04:30:00.1234567") in database.parameters


def test_an_interval_without_an_upper_end_holds_no_row_and_asks_nothing() -> None:
    database = open_stand_in()
    with database.server().open_snapshot() as snapshot:
        query = TableQuery(snapshot.describe(ORDERS), ("Id",), watermark=Watermark("Changed"))
        asked = len(database.log)
        assert list(snapshot.read(query)) == []
        assert snapshot.count(query) == 0
        assert list(snapshot.split(query, 4)) == [query]
        assert len(database.log) == asked


def test_a_missing_table_is_named_with_those_there_are() -> None:
    database = open_stand_in()
    database.answer("FROM sys.objects", [])
    with database.server().open_snapshot() as snapshot, pytest.raises(NotFound) as raised:
        snapshot.describe(TableName("dbo", "Order"))
    assert raised.value.existing == ["dbo.Customers", "dbo.Orders"]
    assert "Did you mean 'dbo.Orders'?" in str(raised.value)


def test_a_name_in_another_case_is_another_table() -> None:
    database = open_stand_in()
    with database.server().open_snapshot() as snapshot, pytest.raises(NotFound):
        snapshot.describe(TableName("dbo", "ORDERS"))


def test_a_table_without_permission_is_told_with_the_grant() -> None:
    database = open_stand_in()
    database.answer("FROM sys.objects", [column_row("Id", "int", may_select=0)])
    with database.server().open_snapshot() as snapshot, pytest.raises(NotPermitted) as raised:
        snapshot.describe(ORDERS)
    assert raised.value.grant.startswith("GRANT SELECT ON [dbo].[Orders] TO [reader]")


def test_a_connection_cut_between_batches_is_lost_and_not_used_again() -> None:
    database = open_stand_in()
    cut = server_error(exceptions.OperationalError, "Communication link failure", "TCP Provider: Error code 0x2746")
    with database.server(connections=1).open_snapshot() as snapshot:
        query = TableQuery(snapshot.describe(ORDERS), ("Id",))
        database.batches = [pa.record_batch({"Id": pa.array(range(2 * 128 * 1024), pa.int32())}), cut]
        database.answer("TRANCOUNT", cut)
        reader = snapshot.read(query)
        next(reader)
        with pytest.raises(ConnectionLost, match="another try starts from the beginning"):
            list(reader)
        used = next(number for number, text in database.log if "AS [Id]" in text)
        assert database.connections[used].closed
    assert database.open_connections() == 0


def test_a_statement_that_fails_costs_no_snapshot() -> None:
    database = open_stand_in()
    denied = server_error(
        exceptions.ProgrammingError,
        "Syntax error or access violation",
        "The SELECT permission was denied on the object",
    )
    database.answer("COUNT_BIG", denied)
    with database.server(connections=1).open_snapshot() as snapshot:
        query = TableQuery(snapshot.describe(ORDERS), ("Id",))
        with pytest.raises(NotPermitted):
            snapshot.count(query)
        assert sum(batch.num_rows for batch in snapshot.read(query)) == 3
        assert snapshot.facts["connections"] == 1


def test_a_transaction_the_server_ended_is_not_gone_on_with() -> None:
    database = open_stand_in()
    failed = server_error(
        exceptions.ProgrammingError, "Syntax error or access violation", "Snapshot isolation transaction failed in"
    )
    database.answer("COUNT_BIG", failed)
    database.answer("TRANCOUNT", [(0,)])
    with database.server(connections=1).open_snapshot() as snapshot:
        query = TableQuery(snapshot.describe(ORDERS), ("Id",))
        with pytest.raises(ConnectionLost):
            snapshot.count(query)
        list(snapshot.read(query))
        assert "1 more began when first needed" in snapshot.facts["isolation"]


def test_after_its_connection_a_table_is_read_in_a_later_state_only() -> None:
    """In an earlier one rows could be missing that its largest watermark covers."""
    database = open_stand_in()
    cut = server_error(exceptions.OperationalError, "Communication link failure", "TCP Provider: Error code 0x2746")
    with database.server(connections=4).open_snapshot() as snapshot:
        query = TableQuery(snapshot.describe(ORDERS), ("Id",))
        database.answer("COUNT_BIG", cut)
        database.answer("TRANCOUNT", cut)
        with pytest.raises(ConnectionLost):
            snapshot.count(query)
        list(snapshot.read(query))
    assert next(number for number, text in database.log if "AS [Id]" in text) == 5


def test_a_value_of_another_type_names_its_column() -> None:
    database = open_stand_in()
    database.batches = [pa.record_batch({"Id": pa.array([1, None], pa.int32())})]
    with database.server().open_snapshot() as snapshot:
        query = TableQuery(snapshot.describe(ORDERS), ("Id",))
        with pytest.raises(UnexpectedValue, match=r"dbo\.Orders\.Id: .*not NULL"):
            list(snapshot.read(query))


def test_when_a_snapshot_cannot_begin_no_connection_stays_open() -> None:
    database = open_stand_in()
    database.answer(r"SELECT TOP \(1\) 1", server_error(exceptions.OperationalError, "Timeout expired", "no answer"))
    with pytest.raises(ConnectionLost), database.server().open_snapshot():
        pytest.fail("the snapshot has not begun")
    assert len(database.connections) == 3
    assert database.open_connections() == 0


def test_connections_are_closed_when_the_block_fails() -> None:
    database = open_stand_in()
    with pytest.raises(ZeroDivisionError), database.server().open_snapshot() as snapshot:
        _ = 1 / (len(snapshot.describe(ORDERS).primary_key) - 1)
    assert database.open_connections() == 0


def test_after_the_block_nothing_can_be_read() -> None:
    database = open_stand_in()
    with database.server().open_snapshot() as snapshot:
        query = TableQuery(snapshot.describe(ORDERS), ("Id",))
    with pytest.raises(ConnectionLost, match="closed"):
        list(snapshot.read(query))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            server_error(
                exceptions.OperationalError,
                "Invalid authorization specification",
                "Login failed for user 'reader'. PWD=s3cret",
            ),
            Refused,
        ),
        (server_error(exceptions.OperationalError, "Client unable to establish connection", "s3cret"), Unreachable),
        (exceptions.OperationalError("Failed to acquire token from credential (X)", "no identity"), Refused),
        (RuntimeError("Failed to load the driver. Please read the documentation"), Unreachable),
    ],
)
def test_a_server_that_lets_nobody_in_is_told_without_the_password(
    error: Exception, expected: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    database = StandIn()

    def fail() -> None:
        raise error

    monkeypatch.setattr(database, "connect", fail)
    with pytest.raises(expected) as raised:
        database.server().list_tables()
    assert type(raised.value) is expected
    assert "s3cret" not in str(raised.value)
    assert "ADFML_SHOP_URL" in str(raised.value)


def test_tables_are_listed_sorted_with_one_query() -> None:
    database = StandIn()
    assert database.server().list_tables() == [TableName("dbo", "Customers"), TableName("dbo", "Orders")]
    assert len([text for _, text in database.log if text.startswith("SELECT")]) == 1
    assert database.open_connections() == 0


def test_an_address_of_mssql_opens_this_server() -> None:
    engine = sa.create_engine("mssql+mssqlpython://reader:s3cret@host/shop", _initialize=False)
    server = open_server(engine, "shop", SHOP)
    assert isinstance(server, SqlServer)
    assert server.kind == "mssql"


def test_the_drivers_own_errors_of_an_address_are_told_without_the_password() -> None:
    """The real driver, and a port on which nobody listens; where its libraries are missing, it says that instead."""
    for address, expected in (
        ("mssql+mssqlpython://reader:s3cret@127.0.0.1:1/shop?Encrypt=no", Unreachable),
        ("mssql+mssqlpython://reader:s3cret@127.0.0.1:1/shop?NoSuchOption=1", SettingInvalid),
    ):
        server = SqlServer(sa.create_engine(address, poolclass=sa.NullPool, connect_args={"timeout": 1}), "shop", SHOP)
        with pytest.raises(expected, match="ADFML_SHOP_URL") as raised:
            server.list_tables()
        assert "s3cret" not in str(raised.value)
