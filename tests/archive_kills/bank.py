"""A bank that books while it is archived: what its transactions write together must be seen together."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from adfml_assets.archive.tables import SourceTable
from tests.archive.conftest import Source

TABLES = ("Accounts", "Bookings")
KEYS = {"Accounts": "AccountId", "Bookings": "BookingId"}
ACCOUNTS = 40
EPOCH = datetime(2026, 1, 1)
PAUSE_SECONDS = 0.01
WAIT_SECONDS = 60.0

_DDL = (
    'CREATE TABLE "Clock" ("Ticks" BIGINT NOT NULL)',
    'INSERT INTO "Clock" VALUES (1)',
    'CREATE TABLE "Accounts" ("AccountId" INTEGER PRIMARY KEY, "Balance" BIGINT NOT NULL, "ModifiedDate" TIMESTAMP)',
    'CREATE TABLE "Bookings" ("BookingId" INTEGER PRIMARY KEY, "TransferId" INTEGER NOT NULL, '
    '"AccountId" INTEGER NOT NULL, "Amount" BIGINT NOT NULL, "Note" VARCHAR(200), "ModifiedDate" TIMESTAMP)',
    'CREATE INDEX "Transfers" ON "Bookings" ("TransferId")',
)


class Bank:
    """Accounts and double-entry bookings in a source database.

    In every committed state the amounts of all bookings, and of every transfer, sum to 0, and an account's balance is
    the sum of its bookings. Each transaction takes the next tick of the one clock, whose row it holds to its end, and
    stamps what it writes with it: the order of commits is the order of watermarks.
    """

    def __init__(self, source: Source, transfers: int) -> None:
        self.source = source
        self.transfers = transfers
        self.commits = 0
        self._failures: list[BaseException] = []
        self._fill()

    def table(self, name: str) -> SourceTable:
        """A table, as the archive names it."""
        return self.source.table(name)

    def _fill(self) -> None:
        """The accounts, and transfers of two bookings each, in one transaction."""
        recursive = self.source.kind == "sqlite"

        def count(until: int) -> str:
            if recursive:
                return f"WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {until})"
            return f"WITH n(i) AS (SELECT generate_series(0, {until - 1}))"

        at = f"'{format_tick(1)}'"
        note = "hex(randomblob(40))" if recursive else "md5(i::text) || md5((i + 1)::text)"
        self.source.execute(
            *_DDL,
            f'INSERT INTO "Accounts" {count(ACCOUNTS)} SELECT i, 0, {at} FROM n',
            f'INSERT INTO "Bookings" {count(2 * self.transfers)} SELECT i, i / 2, (i * 7 + i % 2) % {ACCOUNTS}, '
            f"(1 - 2 * (i % 2)) * (i / 2 % 1000), {note}, {at} FROM n",
            'UPDATE "Accounts" SET "Balance" = (SELECT coalesce(sum("Amount"), 0) FROM "Bookings" b '
            'WHERE b."AccountId" = "Accounts"."AccountId")',
        )

    @contextmanager
    def booking(self, seed: int, writers: int = 2) -> Iterator[None]:
        """Threads that book transfers and correct earlier ones until the block ends."""
        ended = threading.Event()
        threads = [
            threading.Thread(target=self._book_until, args=(ended, random.Random(seed + number)), daemon=True)  # noqa: S311 - no secrets
            for number in range(writers)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            ended.set()
            for thread in threads:
                thread.join()
        assert not self._failures, self._failures

    def wait_for_commits(self, count: int = 3) -> None:
        """Wait until so many more transactions were committed: nothing that was killed holds the writers up."""
        wanted, deadline = self.commits + count, time.monotonic() + WAIT_SECONDS
        while self.commits < wanted and not self._failures:
            assert time.monotonic() < deadline, "the writers make no progress: something holds a lock"
            time.sleep(PAUSE_SECONDS)

    def read(self, table: str) -> dict[int, dict[str, Any]]:
        """The rows that the source has now, by key."""
        with self.source.engine.connect() as connection:
            rows = connection.execute(sa.text(f'SELECT * FROM "{table}"')).mappings().all()
        return {row[KEYS[table]]: normalise(dict(row)) for row in rows}

    def _book_until(self, ended: threading.Event, chance: random.Random) -> None:
        try:
            with self.source.engine.connect() as connection:
                while not ended.wait(PAUSE_SECONDS):
                    with connection.begin():
                        self._book(connection, chance)
                    self.commits += 1
        except BaseException as error:
            self._failures.append(error)

    def _book(self, connection: sa.Connection, chance: random.Random) -> None:
        tick = connection.execute(sa.text('UPDATE "Clock" SET "Ticks" = "Ticks" + 1 RETURNING "Ticks"')).scalar_one()
        if chance.random() < 0.5:
            changes = self._correct(connection, tick, chance)
        else:
            changes = self._transfer(connection, tick, chance)
        for account, amount in sorted(changes.items()):
            connection.execute(
                sa.text(
                    'UPDATE "Accounts" SET "Balance" = "Balance" + :amount, "ModifiedDate" = :at '
                    'WHERE "AccountId" = :id'
                ),
                {"amount": amount, "at": _bind(connection, tick), "id": account},
            )

    def _transfer(self, connection: sa.Connection, tick: int, chance: random.Random) -> dict[int, int]:
        """A new transfer of two to five bookings, at keys that nothing else takes: those of its tick."""
        accounts = chance.sample(range(ACCOUNTS), chance.randint(2, 5))
        amounts = [chance.randint(-500, 500) for _ in accounts[1:]]
        changes = dict(zip(accounts, [*amounts, -sum(amounts)], strict=True))
        first = 1_000_000 + 5 * tick
        rows = [
            {"id": first + number, "transfer": first, "account": account, "amount": amount, "note": f"tick {tick}"}
            for number, (account, amount) in enumerate(changes.items())
        ]
        connection.execute(
            sa.text('INSERT INTO "Bookings" VALUES (:id, :transfer, :account, :amount, :note, :at)'),
            [{**row, "at": _bind(connection, tick)} for row in rows],
        )
        return changes

    def _correct(self, connection: sa.Connection, tick: int, chance: random.Random) -> dict[int, int]:
        """Move an amount between the two bookings of one of the first transfers."""
        first = 2 * chance.randrange(self.transfers)
        amount = chance.randint(1, 99)
        changes: dict[int, int] = {}
        for booking, change in ((first, amount), (first + 1, -amount)):
            account = connection.execute(
                sa.text(
                    'UPDATE "Bookings" SET "Amount" = "Amount" + :amount, "Note" = :note, "ModifiedDate" = :at '
                    'WHERE "BookingId" = :id RETURNING "AccountId"'
                ),
                {"amount": change, "note": f"corrected at {tick}", "at": _bind(connection, tick), "id": booking},
            ).scalar_one()
            changes[account] = changes.get(account, 0) + change
        return changes


def format_tick(tick: int) -> str:
    """A tick as a moment: each is a microsecond."""
    return f"{EPOCH + timedelta(microseconds=tick):%Y-%m-%d %H:%M:%S.%f}"


def _bind(connection: sa.Connection, tick: int) -> str | datetime:
    # SQLite keeps text; PostgreSQL wants a timestamp.
    return format_tick(tick) if connection.dialect.name == "sqlite" else EPOCH + timedelta(microseconds=tick)


def normalise(row: dict[str, Any]) -> dict[str, Any]:
    """A row with its watermark as a datetime, whatever kept it; without what the archive's readers add."""
    at = row["ModifiedDate"]
    return {**row, "ModifiedDate": datetime.fromisoformat(at) if isinstance(at, str) else at}


def require_balanced(rows: dict[str, list[dict[str, Any]]]) -> None:
    """Make sure that archived rows are of one committed state; the tables must have been read by one run."""
    sums: dict[int, int] = {}
    transfers: dict[int, int] = {}
    for booking in rows["Bookings"]:
        sums[booking["AccountId"]] = sums.get(booking["AccountId"], 0) + booking["Amount"]
        transfers[booking["TransferId"]] = transfers.get(booking["TransferId"], 0) + booking["Amount"]
    assert not {transfer: amount for transfer, amount in transfers.items() if amount}
    if "Accounts" in rows:
        balances = {account["AccountId"]: account["Balance"] for account in rows["Accounts"]}
        assert balances == {account: sums.get(account, 0) for account in balances}
