"""Answers in the table their texts are from: a day that is written late takes nothing from a newer one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from adfml_assets.components.scored_text import TextWriteBack
from adfml_assets.text.results import PREDICTIONS, REJECTS
from adfml_assets.text.written_text import WrittenText, write_answers
from resources.database import Databases
from resources.lake import Lake

COLUMNS = {"sentiment": "Sentiment", "scored_at": "At"}


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sqlite3.Connection]:
    monkeypatch.setenv("ADFML_LAKE", str(tmp_path / "lake"))
    monkeypatch.setenv("ADFML_SHOP_URL", f"sqlite:///{tmp_path}/shop.sqlite")
    with closing(sqlite3.connect(tmp_path / "shop.sqlite")) as connection:
        connection.execute(
            "CREATE TABLE Feedback (Id INTEGER PRIMARY KEY, Sentiment TEXT, At TIMESTAMP, scored INTEGER)"
        )
        connection.execute("INSERT INTO Feedback (Id) VALUES (1), (2), (3)")
        connection.commit()
        yield connection


def put_answers(lake: Lake, day: int, ids: list[int], sentiment: str) -> str:
    """A day's result, as it is collected."""
    folder, moment = f"ml/scores/{day}", datetime(2026, 3, day, 12, tzinfo=UTC)
    answers = {"Id": ids, "sentiment": [sentiment] * len(ids), "scored_at": [moment] * len(ids)}
    lake.write_table(f"{folder}/{PREDICTIONS}", pa.table(answers))
    lake.write_table(
        f"{folder}/{REJECTS}", pa.table({"Id": pa.array([], pa.int64()), "final": pa.array([], pa.bool_())})
    )
    return folder


def test_an_older_day_takes_nothing_from_a_newer_one(shop: sqlite3.Connection) -> None:
    lake, databases = Lake(), Databases()
    older, newer = put_answers(lake, 9, [1, 2], "older"), put_answers(lake, 10, [2, 3], "newer")
    wanted = TextWriteBack("shop.main.Feedback", COLUMNS, mark={"scored": 1}, mark_rejected={"scored": -1})

    def write(folder: str, wanted: TextWriteBack = wanted) -> WrittenText:
        return write_answers(lake, databases, wanted, ["Id"], folder)

    assert write(newer) == WrittenText(2, 0)
    assert write(older) == WrittenText(1, 0)
    found = shop.execute("SELECT Id, Sentiment, scored FROM Feedback").fetchall()
    assert found == [(1, "older", 1), (2, "newer", 1), (3, "newer", 1)]
    before = shop.execute("SELECT * FROM Feedback").fetchall()
    assert (write(newer), write(older)) == (WrittenText(2, 0), WrittenText(1, 0))
    assert shop.execute("SELECT * FROM Feedback").fetchall() == before
    # A table that does not say when: what is written last is there.
    assert write(older, TextWriteBack("shop.main.Feedback", {"sentiment": "Sentiment"})) == WrittenText(2, 0)
    assert shop.execute("SELECT Sentiment FROM Feedback WHERE Id = 2").fetchone() == ("older",)
