"""A shop database is there whole or not at all, is built once, and replaces nothing that is not its own."""

import json
import os
import signal
import sqlite3
from contextlib import closing

import pytest

from demo import shop_database
from demo.sample_shop import ensure_sample_shop, write_sample_shop
from demo.shop_schema import ShopFileError, summarise
from tests.demo_data.shop import query, start_python, value, wait_for

BUILD = """
import sys
from pathlib import Path
from demo.sample_shop import write_sample_shop
write_sample_shop(Path(sys.argv[1]), customers=2000, seed=99)
"""

LEAVE_WAL_BEHIND = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("UPDATE Customers SET Name = 'from the log'")
os._exit(0)
"""


@pytest.fixture
def shop(tmp_path):
    path = tmp_path / "shop.db"
    write_sample_shop(path, customers=30)
    return path


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.startswith((".shop", "shop")))


def unfinished(shop):
    return [path for path in shop.parent.glob(".shop.db.*.tmp") if path.exists()]


@pytest.mark.parametrize("written", [0, 1_000_000, 12_000_000], ids=["at the start", "early", "late"])
def test_a_killed_build_leaves_the_old_database_whole(shop, written):
    before, fingerprint = shop.read_bytes(), shop.with_name("shop.db.json").read_bytes()
    summary = summarise(shop)
    process = start_python(BUILD, shop)
    try:
        wait_for(lambda: any(path.stat().st_size >= written for path in unfinished(shop)), process)
    finally:
        os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert shop.read_bytes() == before
    assert shop.with_name("shop.db.json").read_bytes() == fingerprint
    assert value(shop, "PRAGMA integrity_check") == "ok"
    assert len(unfinished(shop)) == 1
    assert ensure_sample_shop(shop, customers=30).rows == summary.rows
    assert shop.read_bytes() == before

    write_sample_shop(shop, customers=31)
    assert names(shop.parent) == ["shop.db", "shop.db.json"], "the next build takes the dead one's file away"


def test_the_file_of_a_build_that_still_runs_is_left_alone(shop):
    process = start_python(BUILD, shop)
    try:
        wait_for(lambda: bool(unfinished(shop)), process)
        os.kill(process.pid, signal.SIGSTOP)
        running = unfinished(shop)
        write_sample_shop(shop, customers=31)
        assert unfinished(shop) == running
        os.kill(process.pid, signal.SIGCONT)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    assert value(shop, "SELECT count(*) FROM Customers") == 2000
    assert names(shop.parent) == ["shop.db", "shop.db.json"]


def test_a_failed_build_leaves_nothing(shop):
    before = shop.read_bytes()
    recipe = shop_database.Recipe("sample_shop", 1, {})

    def fail(connection):
        connection.execute("INSERT INTO Customers VALUES (1, NULL, 'Spain', '2026', '2026')")
        raise RuntimeError("no more rows")

    with pytest.raises(RuntimeError, match="no more rows"):
        shop_database.build(shop, recipe, fail)
    assert shop.read_bytes() == before
    assert names(shop.parent) == ["shop.db", "shop.db.json"]


def test_equal_arguments_keep_the_database_and_what_was_done_to_it(shop):
    with closing(sqlite3.connect(shop)) as connection, connection:
        connection.execute("UPDATE Feedback SET scored = 1, Sentiment = 'positive'")
        connection.execute(
            "INSERT INTO Customers VALUES (1, 'New', 'Spain', '2026-11-01 00:00:00.000001', '2026-11-02 00:00:00.0')"
        )
        connection.execute("CREATE TABLE Scores (CustomerId INTEGER)")
    before = shop.read_bytes()
    summary = ensure_sample_shop(shop, customers=30)
    assert shop.read_bytes() == before
    assert summary.rows["Customers"] == 31
    assert len(summary.planted_faults) == 4


@pytest.mark.parametrize("change", [{"customers": 31}, {"seed": 8}, {"days": 541}])
def test_other_arguments_build_it_anew(shop, change):
    before = shop.read_bytes()
    summary = ensure_sample_shop(shop, **{"customers": 30, **change})
    assert shop.read_bytes() != before
    assert summary == ensure_sample_shop(shop, **{"customers": 30, **change})


def test_the_fingerprint_says_what_it_was_built_from(shop):
    known = json.loads(shop.with_name("shop.db.json").read_text())
    assert known["kind"] == "sample_shop"
    assert known["arguments"] == {"customers": 30, "seed": 7, "days": 540, "end": "2026-10-31T18:00:00+00:00"}
    assert known["rows"] == summarise(shop).rows
    assert known["schema_version"] == 1
    assert [fault["machine"] for fault in known["planted_faults"]]


def remove_fingerprint(shop):
    shop.with_name("shop.db.json").unlink()


def cut_fingerprint(shop):
    file = shop.with_name("shop.db.json")
    file.write_bytes(file.read_bytes()[:100])


def drop_table(shop):
    with closing(sqlite3.connect(shop)) as connection:
        connection.execute("DROP TABLE SensorReadings")


def empty_database(shop):
    shop.write_bytes(b"")


def remove_database(shop):
    shop.unlink()


@pytest.mark.parametrize("harm", [remove_fingerprint, cut_fingerprint, drop_table, empty_database, remove_database])
def test_what_does_not_fit_its_fingerprint_is_built_anew(shop, harm):
    fresh = ensure_sample_shop(shop, customers=30)
    with closing(sqlite3.connect(shop)) as connection, connection:
        connection.execute("DELETE FROM Customers")
    harm(shop)
    assert ensure_sample_shop(shop, customers=30) == fresh


def test_a_death_between_database_and_fingerprint_is_noticed(shop):
    old_fingerprint = shop.with_name("shop.db.json").read_bytes()
    new = write_sample_shop(shop, customers=31)
    shop.with_name("shop.db.json").write_bytes(old_fingerprint)
    assert ensure_sample_shop(shop, customers=30).rows["Customers"] == 30
    shop.with_name("shop.db.json").write_bytes(old_fingerprint)
    assert ensure_sample_shop(shop, customers=31) == new


def test_a_log_left_by_a_dead_process_does_not_leak_into_the_new_database(shop):
    assert start_python(LEAVE_WAL_BEHIND, shop).wait(60) == 0
    assert shop.with_name("shop.db-wal").stat().st_size > 0
    write_sample_shop(shop, customers=31)
    assert value(shop, "SELECT count(*) FROM Customers WHERE Name = 'from the log'") == 0
    assert value(shop, "SELECT count(*) FROM Customers") == 31
    assert value(shop, "PRAGMA integrity_check") == "ok"
    assert names(shop.parent) == ["shop.db", "shop.db.json"]


def test_a_log_whose_database_is_gone_does_not_leak_either(shop):
    assert start_python(LEAVE_WAL_BEHIND, shop).wait(60) == 0
    shop.unlink()
    write_sample_shop(shop, customers=31)
    assert value(shop, "PRAGMA integrity_check") == "ok"
    assert value(shop, "SELECT count(*) FROM Customers WHERE Name = 'from the log'") == 0


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_a_database_in_use_is_not_replaced(shop, monkeypatch, mode):
    monkeypatch.setattr(shop_database, "LOCK_SECONDS", 0.2)
    with closing(sqlite3.connect(shop, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE Customers SET Name = 'mine'")
        with pytest.raises(ShopFileError, match="locked") as caught:
            write_sample_shop(shop, customers=31)
        assert "End the processes" in caught.value.remedy
        connection.execute("COMMIT")
    assert value(shop, "SELECT count(*) FROM Customers WHERE Name = 'mine'") == 30
    assert unfinished(shop) == []


def make_text(path):
    path.write_text("Dear diary, this is no database.")


def make_other_database(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE Customers (CustomerId INTEGER)")


def make_folder(path):
    path.mkdir()


@pytest.mark.parametrize("make", [make_text, make_other_database, make_folder])
@pytest.mark.parametrize("function", [write_sample_shop, ensure_sample_shop])
def test_what_is_not_a_shop_is_never_replaced(tmp_path, make, function):
    path = tmp_path / "precious"
    make(path)
    before = None if path.is_dir() else path.read_bytes()
    with pytest.raises(ShopFileError) as caught:
        function(path, customers=5)
    assert caught.value.where == str(path)
    assert [entry.name for entry in tmp_path.iterdir() if "precious" in entry.name] == ["precious"]
    assert (None if path.is_dir() else path.read_bytes()) == before


def test_a_damaged_database_is_reported_not_replaced(shop):
    data = bytearray(shop.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    shop.write_bytes(data)
    with pytest.raises(ShopFileError, match="delete it"):
        ensure_sample_shop(shop, customers=30)
    assert shop.read_bytes() == data


def test_odd_names_and_missing_folders_work(tmp_path):
    path = tmp_path / "a b" / "Läden 100% [neu]?#.db"
    summary = write_sample_shop(path, customers=5, days=30)
    assert ensure_sample_shop(path, customers=5, days=30) == summary
    assert sorted(entry.name for entry in path.parent.iterdir()) == [path.name, path.name + ".json"]
    assert query(path, "SELECT count(*) FROM Customers") == [(5,)]
