"""The current state of a table as of a day, from snapshots and increments."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from adfml_assets.archive.current import build_current
from adfml_assets.archive.tables import TableRules
from adfml_assets.errors import NoKey, NothingArchived
from resources.manifest import commit_manifest
from resources.servers.base import Watermark
from tests.archive.conftest import MODIFIED, Archive, Source
from tests.conftest import NOW, stamp


def at(day: int, minutes: int = 0) -> dict[str, Any]:
    now = NOW + timedelta(days=day, minutes=minutes)
    return {"day": f"{now:%Y-%m-%d}", "now": now, "run_id": f"{day}:{minutes}"}


def current(
    archive: Archive, source: Source, day: int, rules: TableRules = MODIFIED, name: str = "Transactions"
) -> Any:
    now = NOW + timedelta(days=day, hours=10)
    partition = f"{now:%Y-%m-%d}"
    claim = archive.control.claims.take("current", partition, now, "run")
    table = source.table(name)
    folder, manifest = build_current(archive.lake, table, rules, partition, claim, now=now, run_id="run")
    commit_manifest(archive.lake, folder, manifest, before=claim.stamp)
    rows = archive.lake.read_table(f"{folder}/{manifest.files[0].name}").to_pylist()
    return {row["TransactionId"]: row.get("InvoiceNo") for row in rows}


def test_the_newest_version_of_every_key_wins(archive: Archive, source: Source) -> None:
    source.add(1, stamp("2026-03-01"))
    source.add(2, stamp("2026-03-02"))
    archive.increment(source.transactions, **at(0))
    source.execute(
        f'UPDATE "Transactions" SET "InvoiceNo" = \'changed\', "ModifiedDate" = \'{stamp("2026-03-11")}\' '
        'WHERE "TransactionId" = 1'
    )
    source.add(3, stamp("2026-03-11"))
    archive.increment(source.transactions, **at(1))
    assert current(archive, source, 0) == {1: "I1", 2: "I2"}
    assert current(archive, source, 1) == {1: "changed", 2: "I2", 3: "I3"}


def test_a_full_snapshot_shows_what_was_deleted(archive: Archive, source: Source) -> None:
    source.add(1, stamp("2026-03-01"))
    source.add(2, stamp("2026-03-02"))
    archive.increment(source.transactions, **at(0))
    source.execute('DELETE FROM "Transactions" WHERE "TransactionId" = 1')
    assert current(archive, source, 0) == {1: "I1", 2: "I2"}, "nobody knows yet"
    archive.snapshot(source.transactions, **at(1))
    source.add(3, stamp("2026-03-12"))
    archive.increment(source.transactions, **at(1, minutes=5))
    assert current(archive, source, 1) == {2: "I2", 3: "I3"}
    source.execute('DELETE FROM "Transactions"')
    archive.snapshot(source.transactions, **at(2))
    assert current(archive, source, 2) == {}
    source.add(4, stamp("2026-03-14"))
    archive.increment(source.transactions, **at(3))
    assert current(archive, source, 3) == {4: "I4"}


def test_what_cannot_be_put_together_is_said(archive: Archive, source: Source) -> None:
    with pytest.raises(NothingArchived, match="neither a snapshot nor an incremental extract up to 2026-03-10"):
        current(archive, source, 0)
    source.execute('CREATE TABLE "Keyless" ("TransactionId" INTEGER, "ModifiedDate" TIMESTAMP)')
    archive.increment(source.table("Keyless"), rules=TableRules(Watermark("ModifiedDate")), **at(0))
    with pytest.raises(NoKey, match="has no primary key"):
        current(archive, source, 0, name="Keyless")
