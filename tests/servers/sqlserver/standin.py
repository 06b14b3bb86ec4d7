"""A stand-in for the driver: connections that answer statements by patterns and log what was asked.

No T-SQL runs here. What is tested with it is the order of statements, what is cleaned up, and how errors are told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from mssql_python import exceptions

from resources.servers.sqlserver import SqlServer
from resources.settings import Setting

SHOP = Setting("ADFML_SHOP_URL", "the shop", "mssql+mssqlpython://host/shop", secret=True)
Answer = Sequence[Sequence[Any]] | BaseException | Callable[[], Any]


def column_row(name: str, type_name: str, *, table: str = "Orders", **facts: Any) -> tuple[Any, ...]:
    """A row of the catalog's columns."""
    return (
        "dbo",
        table,
        name,
        facts.get("nullable", True),
        facts.get("length", 0),
        facts.get("precision", 0),
        facts.get("scale", 0),
        type_name,
        facts.get("clr", False),
        facts.get("masked", False),
        facts.get("encryption"),
        facts.get("hidden", False),
        facts.get("generated", 0),
        facts.get("column_set", False),
        facts.get("key"),
        facts.get("temporal", 0),
        facts.get("memory", False),
        facts.get("may_select", 1),
    )


def server_error(kind: type[exceptions.Exception], state: str, text: str) -> exceptions.Exception:
    """An error as the driver raises it."""
    return kind(driver_error=state, ddbc_error=f"[Microsoft][SQL Server]{text}")


@dataclass
class StandIn:
    """A database: answers to statements, the first pattern that fits; every statement and close is in `log`."""

    snapshots: int = 1
    versions: bool = True
    edition: int = 5
    answers: list[tuple[str, Answer]] = field(default_factory=list)
    batches: list[pa.RecordBatch] = field(default_factory=list)
    log: list[tuple[int, str]] = field(default_factory=list)
    parameters: list[tuple[str, ...]] = field(default_factory=list)
    connections: list[StandInConnection] = field(default_factory=list)
    asked_rows: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        clock = ("2026-03-10 09:30:00.1234567", "2026-03-10 04:30:00.1234567")
        self.answers += [
            ("SERVERPROPERTY", [(self.edition,)]),
            (
                "MIN_ACTIVE_ROWVERSION",
                [("shop", "reader", *clock, self.snapshots, self.versions, "0x00000000000007D2")],
            ),
            ("SYSUTCDATETIME", [("shop", "reader", *clock, 0, 0, None)]),
            ("HAS_PERMS_BY_NAME.*ORDER BY t.object_id", [("dbo", "Orders")]),
            ("sys.allocation_units", [(81920,)]),
            ("TRANCOUNT", [(1,)]),
            ("FROM sys.tables", [("dbo", "Orders"), ("dbo", "Customers")]),
            (r"TOP \(1\)", [(1,)]),
            ("", []),
        ]

    def answer(self, pattern: str, answer: Answer) -> None:
        """Answer statements that contain a pattern, before all others."""
        self.answers.insert(0, (pattern, answer))

    def connect(self) -> StandInConnection:
        """A new connection."""
        connection = StandInConnection(self, len(self.connections))
        self.connections.append(connection)
        return connection

    def server(self, connections: int = 2) -> SqlServer:
        """The code under test over this stand-in."""
        engine = sa.create_engine(
            "mssql+mssqlpython://reader:s3cret@host/shop",
            creator=self.connect,
            poolclass=sa.NullPool,
            _initialize=False,
        )
        return SqlServer(engine, "shop", SHOP, connections)

    def statements(self, connection: int) -> list[str]:
        """What one connection was asked, first lines only."""
        return [text.splitlines()[0] for number, text in self.log if number == connection]

    def open_connections(self) -> int:
        """How many connections are not closed."""
        return sum(not connection.closed for connection in self.connections)


@dataclass(eq=False)
class StandInConnection:
    """A connection of the stand-in."""

    database: StandIn
    number: int
    closed: bool = False

    def cursor(self) -> StandInCursor:
        return StandInCursor(self)

    def rollback(self) -> None:
        self.database.log.append((self.number, "ROLLBACK"))

    def commit(self) -> None:
        raise AssertionError("a reader commits nothing")

    def close(self) -> None:
        if not self.closed:
            self.database.log.append((self.number, "CLOSE"))
        self.closed = True


class StandInCursor:
    """A cursor of the stand-in."""

    def __init__(self, connection: StandInConnection) -> None:
        self._connection = connection
        self._database = connection.database
        self._rows: Sequence[Sequence[Any]] = []
        self._batches: list[pa.RecordBatch] = []

    def execute(self, text: str, parameters: tuple[str, ...] = ()) -> None:
        self._database.log.append((self._connection.number, text))
        self._database.parameters.append(parameters)
        answer = next(a for pattern, a in self._database.answers if re.search(pattern, text, re.DOTALL))
        if callable(answer):
            answer = answer()
        if isinstance(answer, BaseException):
            raise answer
        self._rows = answer
        self._batches = list(self._database.batches)

    def fetchall(self) -> Sequence[Sequence[Any]]:
        return self._rows

    def arrow_batch(self, rows: int) -> Any:
        self._database.asked_rows.append(rows)
        if not self._batches:
            return pa.record_batch({"none": pa.array([], pa.int32())})
        batch = self._batches.pop(0)
        if isinstance(batch, BaseException):
            raise batch
        head, rest = batch.slice(0, rows), batch.slice(rows)
        if rest.num_rows:
            self._batches.insert(0, rest)
        return head

    def close(self) -> None:
        self._database.log.append((self._connection.number, "CLOSE CURSOR"))
