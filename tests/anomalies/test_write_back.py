"""What is found goes back to SQL once, whatever is repeated, overlaps or dies."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adfml_assets.anomalies.declared import DetectorSpec
from adfml_assets.anomalies.detecting import Detection
from adfml_assets.anomalies.write_back import OtherKey, WhichRows, write_back_anomalies
from adfml_assets.write_back.errors import TargetInvalid
from resources.database import Databases
from resources.lake import Lake
from resources.manifest import read_manifest
from tests.anomalies.conftest import SPEC, detect, make_values, read_rows, row_of, to_table
from tests.kills import repeat_kills

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("Detector", "ReadingTime", "IsAnomaly", "Severity", "Score", "SnapshotDate")


def find(lake: Lake, day: str = "2026-03-10", fault: float = 0.5, spec: DetectorSpec = SPEC) -> Detection:
    values = make_values()
    values[row_of(fault) : row_of(fault) + 6, 1] += 3.0
    return detect(lake, to_table(values), spec, day)


def write(lake: Lake, databases: Databases, found: Detection, which: WhichRows = "all") -> tuple[int, int]:
    where = ("shop", "main", "Anomalies", found.folder, found.manifest, which)
    written = write_back_anomalies(lake, databases, *where)
    return written.rows, written.kept_newer


def read(shop: sqlite3.Connection, where: str = "1") -> list[Any]:
    return shop.execute(f"SELECT * FROM Anomalies WHERE {where} ORDER BY ReadingTime").fetchall()


def test_writing_twice_changes_nothing(lake: Lake, databases: Databases, shop: sqlite3.Connection) -> None:
    found = find(lake)
    assert write(lake, databases, found) == (144, 0)
    first = read(shop)
    assert write(lake, databases, found) == (144, 0)
    assert read(shop) == first
    rows = read_rows(lake, found).to_pylist()
    stored = shop.execute(f"SELECT {', '.join(NAMES)} FROM Anomalies ORDER BY ReadingTime").fetchall()
    assert stored == [
        (
            "press",
            f"{row['timestamp']:%Y-%m-%d %H:%M:%S.%f}",
            row["is_anomaly"],
            row["severity"],
            row["score"],
            "2026-03-10",
        )
        for row in rows
    ]
    (named,) = shop.execute("SELECT Contributors FROM Anomalies WHERE IsAnomaly LIMIT 1").fetchone()
    first_named = json.loads(named)[0]
    assert (first_named["variable"], first_named["contributionScore"] > 0.5) == ("Pressure", True)
    assert shop.execute(
        "SELECT count(*) FROM Anomalies WHERE NOT IsAnomaly AND Contributors IS NOT NULL"
    ).fetchone() == (0,)


def test_what_is_no_anomaly_any_more_does_not_stay(lake: Lake, databases: Databases, shop: sqlite3.Connection) -> None:
    write(lake, databases, find(lake, fault=0.2), "anomalies")
    before = len(read(shop))
    assert 6 <= before <= 7
    write(lake, databases, find(lake, fault=0.7), "anomalies")
    assert 6 <= len(read(shop)) <= 7
    assert min(row[1] for row in read(shop)) >= "2026-03-10 16"


def test_a_newer_partition_wins_where_they_overlap(lake: Lake, databases: Databases, shop: sqlite3.Connection) -> None:
    spec = replace(SPEC, detect_days=2)
    newer, older = find(lake, "2026-03-10", spec=spec), find(lake, "2026-03-09", spec=spec)
    write(lake, databases, newer)
    assert write(lake, databases, older) == (288, 144)
    days = shop.execute("SELECT SnapshotDate, count(*) FROM Anomalies GROUP BY 1 ORDER BY 1").fetchall()
    assert days == [("2026-03-09", 144), ("2026-03-10", 288)]
    write(lake, databases, newer)
    assert shop.execute("SELECT SnapshotDate, count(*) FROM Anomalies GROUP BY 1 ORDER BY 1").fetchall() == days


def test_detectors_share_a_table(lake: Lake, databases: Databases, shop: sqlite3.Connection) -> None:
    write(lake, databases, find(lake))
    write(lake, databases, find(lake, spec=replace(SPEC, name="other")))
    assert shop.execute("SELECT Detector, count(*) FROM Anomalies GROUP BY 1").fetchall() == [
        ("other", 144),
        ("press", 144),
    ]


def test_a_table_that_does_not_fit_is_refused(lake: Lake, databases: Databases, shop: sqlite3.Connection) -> None:
    found = find(lake)
    shop.execute("CREATE TABLE Anomalies (Detector TEXT, ReadingTime DATETIME)")
    shop.commit()
    with pytest.raises(TargetInvalid, match=r"shop.main.Anomalies cannot take the rows(.|\n)*no column IsAnomaly"):
        write(lake, databases, found)
    shop.execute("DROP TABLE Anomalies")
    shop.commit()
    write(lake, databases, found)
    columns = shop.execute("SELECT sql FROM sqlite_master WHERE name = 'Anomalies'").fetchone()[0]
    shop.execute("DROP TABLE Anomalies")
    changed = columns.replace('PRIMARY KEY ("Detector", "ReadingTime")', 'PRIMARY KEY ("Detector")')
    assert changed != columns
    shop.execute(changed)
    shop.commit()
    with pytest.raises(OtherKey, match=r"has the primary key \(Detector\), expected \(Detector, ReadingTime\)"):
        write(lake, databases, found)


def test_columns_that_somebody_added_keep_their_defaults(
    lake: Lake, databases: Databases, shop: sqlite3.Connection
) -> None:
    found = find(lake)
    write(lake, databases, found)
    shop.execute("ALTER TABLE Anomalies ADD COLUMN Handled INTEGER NOT NULL DEFAULT 0")
    shop.commit()
    assert write(lake, databases, found) == (144, 0)
    assert shop.execute("SELECT Handled, count(*) FROM Anomalies GROUP BY 1").fetchall() == [(0, 144)]


def test_an_empty_partition_takes_away_what_was_there(
    lake: Lake, databases: Databases, shop: sqlite3.Connection
) -> None:
    write(lake, databases, find(lake))
    empty = detect(lake, to_table(make_values(15)))
    assert write(lake, databases, empty) == (0, 0)
    assert read(shop) == []


KILLED = """
import os, signal
import sqlalchemy as sa
from tests.anomalies.test_write_back import find, write
from resources.database import Databases
from resources.lake import Lake

@sa.event.listens_for(sa.Engine, "after_cursor_execute")
def die(connection, cursor, sql, *rest):
    # The last statement: everything is written, nothing is committed.
    if "ON CONFLICT" in sql:
        os.kill(os.getpid(), signal.SIGKILL)

lake = Lake()
write(lake, Databases(), find(lake, fault=0.7))
"""


@repeat_kills()
def test_a_process_that_dies_while_it_writes_leaves_what_was_there(
    lake: Lake, databases: Databases, shop: sqlite3.Connection, kill: int
) -> None:
    write(lake, databases, find(lake, fault=0.2))
    before = read(shop)
    done = subprocess.run([sys.executable, "-c", KILLED], cwd=ROOT, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert read(shop) == before
    found = find(lake, fault=0.7)
    write(lake, databases, found)
    assert len(read(shop)) == 144
    assert read(shop, "IsAnomaly")[0][1] >= "2026-03-10 16"


KILLED_DETECTION = """
import os, signal, sys
from adfml_assets.anomalies import detecting
from resources.lake import Lake
from tests.anomalies.test_write_back import find

moment = sys.argv[1]

def die(*arguments, **keywords):
    os.kill(os.getpid(), signal.SIGKILL)

if moment == "file":
    delete = Lake.delete
    Lake.delete = lambda lake, path: die() if path.endswith("_manifest.json") else delete(lake, path)
else:
    detecting.commit_manifest = die
find(Lake(), fault=0.7)
"""


@repeat_kills()
@pytest.mark.parametrize("moment", ["file", "manifest"])
def test_a_process_that_dies_while_it_detects_leaves_a_whole_partition_or_none(
    lake: Lake, moment: str, kill: int
) -> None:
    before = find(lake, fault=0.2)
    done = subprocess.run([sys.executable, "-c", KILLED_DETECTION, moment], cwd=ROOT, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    manifest = read_manifest(lake, before.folder)
    if moment == "manifest":
        assert manifest is None
    else:
        assert manifest == before.manifest
        lake.verify_file(f"{before.folder}/anomalies.parquet", manifest.files[0])
    again = find(lake, fault=0.7)
    lake.verify_file(f"{again.folder}/anomalies.parquet", again.manifest.files[0])
    files = [path.rpartition("/")[2] for path in lake.list_files(again.folder)]
    assert files == ["_manifest.json", "anomalies.parquet"]
