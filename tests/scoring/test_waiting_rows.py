"""Rows of a table that wait to be scored: read today, kept for the day, and noted as scored with their scores."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest

from adfml_assets import lake_layout, scoring_assets
from adfml_assets.components.scored_model import ScoringQuery
from adfml_assets.scoring import predictions
from adfml_assets.write_back.scored_rows import Marking
from tests.conftest import NOW, TODAY
from tests.scoring.conftest import MODEL, QUERY, MakeSite, Site, add_rows, put_model

TOMORROW = "2026-03-11"


@pytest.fixture
def site(make_site: MakeSite, waiting: sqlite3.Connection) -> Site:
    site = make_site(from_features=None, from_query=QUERY)
    put_model(site.lake, site.control, definition="")
    return site


def read_ids(site: Site) -> list[int]:
    return sorted(site.read_input()[0]["RecordId"].to_pylist())


def read_dates(shop: sqlite3.Connection) -> dict[int, str | None]:
    return dict(shop.execute("SELECT Id, ScoredDate FROM ScoringFeatures ORDER BY Id").fetchall())


def test_rows_that_wait_are_scored_and_then_have_a_date(site: Site, waiting: sqlite3.Connection) -> None:
    add_rows(waiting, 1, 2)
    waiting.execute("INSERT INTO ScoringFeatures VALUES (3, 'n', 1, 1, '2026-01-01 00:00:00')")
    waiting.commit()
    site.run("input", "job")
    table, manifest = site.read_input()
    assert table.to_pydict() == {"RecordId": [1, 2], "recency": [1, 2], "amount": [1.0, 1.0]}
    said = {name: manifest.facts[name] for name in ("key", "feature_snapshot", "waiting", "kept", "model_version")}
    assert said == {"key": "Id", "feature_snapshot": TODAY, "waiting": 2, "kept": 0, "model_version": "1"}
    assert read_dates(waiting) == {1: None, 2: None, 3: "2026-01-01 00:00:00"}
    site.settle()
    result = site.run("scores", "table")
    scored_at = site.read_scores()[0]["scored_at"][0].as_py()
    text = f"{scored_at:%Y-%m-%d %H:%M:%S.%f}"
    assert read_dates(waiting) == {1: text, 2: text, 3: "2026-01-01 00:00:00"}
    rows = waiting.execute("SELECT RecordId, Score, FeatureSnapshot FROM Predictions").fetchall()
    assert rows == [(1, 2.0, TODAY), (2, 3.0, TODAY)]
    shown = result.asset_materializations_for_node("database__shop__main__Predictions")[0].metadata
    assert shown["ScoringFeatures.ScoredDate"].value == "2 rows set"


def test_a_day_grows_and_keeps_what_was_scored_earlier(site: Site, waiting: sqlite3.Connection) -> None:
    add_rows(waiting, 1, 2)
    site.score()
    add_rows(waiting, 2, 3, amount=10.0)  # 2 waits again, with other features
    site.score()
    assert read_ids(site) == [1, 2, 3]
    assert site.read_input()[1].facts["kept"] == 1
    rows = waiting.execute("SELECT RecordId, Score FROM Predictions ORDER BY RecordId").fetchall()
    assert rows == [(1, 2.0), (2, 12.0), (3, 13.0)]
    assert all(read_dates(waiting).values())
    site.score()
    assert (read_ids(site), site.read_input()[1].facts["waiting"]) == ([1, 2, 3], 0)


def test_a_days_rows_are_there_for_another_version_too(site: Site, waiting: sqlite3.Connection) -> None:
    add_rows(waiting, 1)
    site.score()
    put_model(site.lake, site.control, "2", ("amount",), definition="")
    add_rows(waiting, 2)
    site.score()
    assert site.read_input()[0].to_pydict() == {"RecordId": [1, 2], "amount": [1.0, 1.0]}
    said = waiting.execute("SELECT DISTINCT ModelVersion FROM Predictions").fetchall()
    assert said == [("2",)]


def test_a_past_day_is_what_was_read_then_and_no_other_day_can_be_read(
    site: Site, waiting: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_rows(waiting, 1)
    site.run("input")
    add_rows(waiting, 2)
    said = site.fail("input", day="2026-03-09")
    assert "shop.main.ScoringFeatures, 2026-03-09: no records were read that day, and it has passed" in said
    assert f"Materialise {TODAY}: what still waits is in it." in said
    assert "it has not come yet" in site.fail("input", day=TOMORROW)
    monkeypatch.setattr(scoring_assets, "utc_now", lambda: NOW + timedelta(days=1))
    put_model(site.lake, site.control, "2", ("amount",), definition="")
    site.run("input")
    assert site.read_input()[0].to_pydict() == {"RecordId": [1], "amount": [1.0]}


def test_an_empty_table_gives_an_empty_day(site: Site, waiting: sqlite3.Connection) -> None:
    site.score()
    assert site.read_scores()[0].num_rows == 0
    assert site.service.submitted == []
    add_rows(waiting, 5)
    site.score()
    assert read_ids(site) == [5]


@pytest.mark.parametrize("step", ["before the dates", "after them"])
def test_a_write_back_that_breaks_off_is_made_whole_by_the_next(
    site: Site, waiting: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    add_rows(waiting, 1, 2)
    site.run("input", "job")
    site.settle()
    site.run("scores")

    mark = Marking.run

    def break_off(*args: object) -> int:
        if step == "after them":
            mark(*args)  # type: ignore[arg-type]
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(Marking, "run", break_off)
        assert "ZeroDivisionError" in site.fail("table")
    # One transaction: neither scores nor dates.
    assert set(read_dates(waiting).values()) == {None}
    assert waiting.execute("SELECT count(*) FROM sqlite_master WHERE name = 'Predictions'").fetchone()[0] in (0, 1)
    for _ in range(2):
        site.run("table")
        dates = read_dates(waiting)
        assert None not in dates.values()
        assert waiting.execute("SELECT count(*) FROM Predictions").fetchone() == (2,)


def test_dates_of_another_database_are_set_in_a_second_step(
    make_site: MakeSite, waiting: sqlite3.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sqlite3.connect(tmp_path / "source.sqlite") as source:
        source.execute("CREATE TABLE Rows (Id VARCHAR(10) PRIMARY KEY, recency INTEGER, amount REAL, Done DATE)")
        source.execute("INSERT INTO Rows VALUES ('a', 1, 2, NULL), ('b', 3, 4, NULL)")
    monkeypatch.setenv("ADFML_SOURCE_URL", f"sqlite:///{tmp_path}/source.sqlite")
    query = ScoringQuery("source.main.Rows", "Id", "Done IS NULL", "Done")
    site = make_site(from_features=None, from_query=query)
    put_model(site.lake, site.control, definition="")
    site.run("input", "job")
    site.settle()
    site.run("scores")
    with monkeypatch.context() as patch:
        patch.setattr(predictions, "mark_scored", lambda *args, **keywords: 1 / 0)
        site.fail("table")
    assert waiting.execute("SELECT RecordId FROM Predictions ORDER BY 1").fetchall() == [("a",), ("b",)]
    assert source.execute("SELECT count(*) FROM Rows WHERE Done IS NULL").fetchone() == (2,)
    for marked in ("2 rows set", "0 rows set"):
        result = site.run("table")
        shown = result.asset_materializations_for_node("database__shop__main__Predictions")[0].metadata
        assert shown["Rows.Done"].value == marked
    day = f"{site.read_scores()[0]['scored_at'][0].as_py():%Y-%m-%d}"
    assert source.execute("SELECT DISTINCT Done FROM Rows").fetchall() == [(day,)]
    source.close()


def test_an_older_days_scores_take_no_date_back(site: Site, waiting: sqlite3.Connection) -> None:
    add_rows(waiting, 1)
    site.score()
    waiting.execute("UPDATE ScoringFeatures SET ScoredDate = '2999-01-01 00:00:00.000000'")
    waiting.commit()
    site.run("table")
    assert read_dates(waiting) == {1: "2999-01-01 00:00:00.000000"}


@pytest.mark.parametrize(
    ("statement", "query", "words"),
    [
        ("DROP TABLE ScoringFeatures", QUERY, "There is no table 'ScoringFeatures'"),
        ("SELECT 1", ScoringQuery("shop.main.ScoringFeatures", "Key"), "There is no column 'Key'"),
        (
            "SELECT 1",
            ScoringQuery("shop.main.ScoringFeatures", "Id", scored_date="name"),
            "shop.main.ScoringFeatures.name is string: expected a date, datetime or timestamp column",
        ),
        (
            "INSERT INTO ScoringFeatures (Id, name) VALUES (7, NULL)",
            ScoringQuery("shop.main.ScoringFeatures", "name"),
            "name is NULL in 1 rows; every record needs a RecordId of its own. Nothing was sent.",
        ),
        (
            "INSERT INTO ScoringFeatures (Id, name) VALUES (7, 'n'), (8, 'n'), (9, 'o')",
            ScoringQuery("shop.main.ScoringFeatures", "name"),
            "several rows have the same name, for example n",
        ),
        (
            "ALTER TABLE ScoringFeatures DROP COLUMN amount",
            QUERY,
            "missing are amount",
        ),
    ],
)
def test_rows_that_cannot_be_scored_leave_nothing_behind(
    make_site: MakeSite, waiting: sqlite3.Connection, statement: str, query: ScoringQuery, words: str
) -> None:
    site = make_site(from_features=None, from_query=query)
    put_model(site.lake, site.control, definition="")
    waiting.execute(statement)
    waiting.commit()
    assert words in site.fail("input")
    folder = lake_layout.scoring_input_folder(MODEL, TODAY)
    assert f"{folder}/_manifest.json" not in site.lake.list_files(folder)
    assert site.service.submitted == []


def test_a_date_column_that_became_text_is_named(site: Site, waiting: sqlite3.Connection) -> None:
    add_rows(waiting, 1)
    site.run("input", "job")
    site.settle()
    site.run("scores")
    waiting.execute("ALTER TABLE ScoringFeatures DROP COLUMN ScoredDate")
    waiting.execute("ALTER TABLE ScoringFeatures ADD COLUMN ScoredDate VARCHAR(30)")
    waiting.commit()
    assert "ScoringFeatures.ScoredDate is VARCHAR(30): expected a date" in site.fail("table")
