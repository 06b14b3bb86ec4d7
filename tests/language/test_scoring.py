"""Every row that is not scored is scored once, in the table and in the lake, and what cannot be is told."""

from __future__ import annotations

from decimal import Decimal

import pytest
import sqlalchemy as sa

from adfml_assets.text.language_rows import KeysNotUnique, MarkImpossible
from adfml_assets.text.language_run import PastDay
from resources.errors import NotFound
from tests.language.conftest import Scorer, Service, Shop, today

GOOD, BAD, PLAIN = "I love it. Excellent quality!", "Terrible. The worst I ever bought.", "It arrived on Monday."


def test_sentiment_and_confidences_are_in_the_table_and_in_the_lake(
    scorer: Scorer, shop: Shop, service: Service
) -> None:
    table = shop.feedback([GOOD, BAD, PLAIN, "I love it. The box was terrible."])
    manifest, progress, left = scorer.score()
    rows = shop.read(table)
    assert [(row.FeedbackId, row.Sentiment, row.scored) for row in rows] == [
        (1, "positive", 1),
        (2, "negative", 1),
        (3, "neutral", 1),
        (4, "mixed", 1),
    ]
    for row in rows:
        assert row.ConfidencePositive + row.ConfidenceNeutral + row.ConfidenceNegative == pytest.approx(1)
    lake = scorer.read("predictions")
    assert [(r["FeedbackId"], r["sentiment"], r["positive"], r["neutral"], r["negative"]) for r in lake] == [
        (row.FeedbackId, row.Sentiment, row.ConfidencePositive, row.ConfidenceNeutral, row.ConfidenceNegative)
        for row in rows
    ]
    assert scorer.read("rejects") == []
    characters = sum(len(row.FeedbackText) for row in rows)
    assert (manifest.facts["characters"], manifest.facts["text_records"]) == (characters, 4)
    assert (progress.scored, progress.characters, left) == (4, characters, 0)
    assert service.documents() == {"1": 1, "2": 1, "3": 1, "4": 1}


def test_25000_rows_are_scored_ten_a_request(sqlite_scorer: Scorer, sqlite_shop: Shop, service: Service) -> None:
    table = sqlite_shop.feedback([f"{GOOD if n % 2 else BAD} {n}" for n in range(25_000)])
    _, progress, left = sqlite_scorer.score(page_rows=2_500)
    assert (progress.scored, progress.pages, left) == (25_000, 10, 0)
    assert service.requests() == 2_500
    assert service.peak() <= 4
    documents = service.documents()
    assert len(documents) == 25_000
    assert set(documents.values()) == {1}
    assert {row.scored for row in sqlite_shop.read(table)} == {1}
    assert len(sqlite_scorer.read("predictions")) == 25_000


def test_a_second_run_of_the_day_adds_what_came_since(scorer: Scorer, shop: Shop, service: Service) -> None:
    table = shop.feedback([GOOD, BAD])
    scorer.score()
    shop.add(table, [{"FeedbackId": 3, "FeedbackText": PLAIN}])
    manifest, progress, _ = scorer.score()
    assert (progress.scored, manifest.facts["scored"]) == (1, 3)
    assert [row["FeedbackId"] for row in scorer.read("predictions")] == [1, 2, 3]
    assert service.documents() == {"1": 1, "2": 1, "3": 1}
    assert (scorer.pages(), len(manifest.files)) == ([], 2)
    folder = f"ml/text-scores/mood/{today().replace('-', '/')}"
    assert len(scorer.lake.list_files(folder)) == 3


def test_nothing_to_score_gives_an_empty_partition_and_sends_nothing(
    scorer: Scorer, shop: Shop, service: Service
) -> None:
    shop.feedback([])
    manifest, progress, left = scorer.score()
    assert (manifest.rows, progress.pages, left, service.requests()) == (0, 0, 0, 0)
    assert (scorer.read("predictions"), scorer.read("rejects")) == ([], [])
    assert manifest.facts["text_records"] == 0


def test_a_row_set_to_0_again_is_scored_again_and_its_newer_score_stays(
    sqlite_scorer: Scorer, sqlite_shop: Shop
) -> None:
    scorer, shop = sqlite_scorer, sqlite_shop
    table = shop.feedback([GOOD, "   ", PLAIN])
    scorer.score()
    assert [row.scored for row in shop.read(table)] == [1, -1, 1]
    shop.execute(table.update().where(table.c.FeedbackId < 3).values(FeedbackText=BAD, scored=0))
    scorer.score()
    assert [(row["FeedbackId"], row["sentiment"]) for row in scorer.read("predictions")] == [
        (1, "negative"),
        (2, "negative"),
        (3, "neutral"),
    ]
    assert scorer.read("rejects") == []


def test_texts_that_cannot_be_scored_are_marked_and_reported(
    sqlite_scorer: Scorer, sqlite_shop: Shop, service: Service
) -> None:
    scorer, shop = sqlite_scorer, sqlite_shop
    table = shop.feedback([None, "", " \n", GOOD])
    manifest, progress, left = scorer.score()
    assert [(row.scored, row.Sentiment) for row in shop.read(table)] == [(-1, None)] * 3 + [(1, "positive")]
    assert [(row["FeedbackId"], row["code"], row["reason"]) for row in scorer.read("rejects")] == [
        (1, "TextMissing", "The text is NULL."),
        (2, "TextMissing", "The text is empty."),
        (3, "TextMissing", "The text is empty."),
    ]
    assert manifest.facts["reject_codes"] == {"TextMissing": 3}
    assert (progress.rejected, left, service.documents()) == (3, 0, {"4": 1})


def test_without_a_mark_they_stay_and_are_met_once_a_run(scorer: Scorer, shop: Shop) -> None:
    table = shop.feedback([None] * 25 + [GOOD])
    for _ in range(2):
        _, progress, left = scorer.score(error_mark=None)
        assert (progress.rejected, progress.gone, left) == (25, 0, 25)
    assert len(scorer.read("rejects")) == 25
    assert [row.scored for row in shop.read(table)] == [0] * 25 + [1]


def test_each_row_may_have_its_own_language(sqlite_scorer: Scorer, sqlite_shop: Shop) -> None:
    scorer, shop = sqlite_scorer, sqlite_shop
    table = shop.create(
        sa.Column("FeedbackId", sa.Integer, primary_key=True),
        sa.Column("FeedbackText", sa.UnicodeText),
        sa.Column("Lang", sa.String(10)),
    )
    languages = ["en-GB", "xx", None, ""]
    rows = [{"FeedbackId": n, "FeedbackText": GOOD, "Lang": code} for n, code in enumerate(languages)]
    shop.add(table, rows)
    scorer.score(language_column="Lang", language_per_row=True)
    assert [row.scored for row in shop.read(table)] == [1, -1, 1, 1]
    (reject,) = scorer.read("rejects")
    assert (reject["FeedbackId"], reject["code"]) == (1, "UnsupportedLanguageCode")
    assert "xx" in reject["reason"]


def test_a_key_may_be_composite_and_of_several_types(scorer: Scorer, shop: Shop, service: Service) -> None:
    table = shop.create(
        sa.Column("Shop", sa.String(10), primary_key=True),
        sa.Column("Number", sa.Numeric(12, 2), primary_key=True),
        sa.Column("FeedbackText", sa.UnicodeText),
    )
    keys = [(name, Decimal(number) / 4) for name in ("a", "b|1", "c'd") for number in range(9)]
    shop.add(table, [{"Shop": name, "Number": number, "FeedbackText": GOOD} for name, number in keys])
    scorer.score(keys=("Shop", "Number"), page_rows=4)
    assert {row.scored for row in shop.read(table)} == {1}
    found = [(row["Shop"], Decimal(row["Number"])) for row in scorer.read("predictions")]
    assert sorted(found) == sorted(keys)
    assert set(service.documents().values()) == {1}
    assert len(service.documents()) == 27


def test_scored_may_be_a_yes_or_no_column(scorer: Scorer, shop: Shop) -> None:
    table = shop.create(
        sa.Column("FeedbackId", sa.Integer, primary_key=True),
        sa.Column("FeedbackText", sa.UnicodeText),
        sa.Column("scored", sa.Boolean, nullable=False),
    )
    with shop.engine.begin() as connection:
        rows = [(1, GOOD, False), (2, None, False), (3, BAD, True)]
        names = ("FeedbackId", "FeedbackText", "scored")
        connection.execute(table.insert(), [dict(zip(names, row, strict=True)) for row in rows])
    with pytest.raises(
        MarkImpossible, match=r"Feedback\.scored is yes or no and cannot hold the engine's error_mark -1"
    ):
        scorer.score()
    scorer.score(error_mark=None)
    assert [(row.scored, row.Sentiment) for row in shop.read(table)] == [
        (True, "positive"),
        (False, None),
        (True, None),
    ]


def test_a_further_condition_picks_rows(sqlite_scorer: Scorer, sqlite_shop: Shop) -> None:
    scorer, shop = sqlite_scorer, sqlite_shop
    table = shop.feedback([GOOD, BAD, "12:30 o'clock"])
    where = """"FeedbackId" > 1 AND "FeedbackText" <> 'x:y' -- not the first one"""
    _, progress, left = scorer.score(where=where)
    assert (progress.scored, left) == (2, 0)
    assert [row.scored for row in shop.read(table)] == [0, 1, 1]


@pytest.mark.parametrize("column", ["FeedbackId", "FeedbackText", "scored", "Sentiment", "ConfidenceNeutral"])
def test_a_missing_column_is_named_before_anything_is_sent(
    sqlite_scorer: Scorer, sqlite_shop: Shop, service: Service, column: str
) -> None:
    table = sqlite_shop.feedback([GOOD])
    sqlite_shop.execute(sa.text(f'ALTER TABLE Feedback RENAME COLUMN "{column}" TO "Other"'))
    with pytest.raises(NotFound, match=rf"no column '{column}' in table shop.main.Feedback. It has: .*Other"):
        sqlite_scorer.score()
    assert (service.requests(), table.name) == (0, "Feedback")


def test_a_key_that_does_not_identify_rows_is_refused(scorer: Scorer, shop: Shop, service: Service) -> None:
    table = shop.create(sa.Column("FeedbackId", sa.Integer), sa.Column("FeedbackText", sa.UnicodeText))
    shop.add(table, [{"FeedbackId": n, "FeedbackText": GOOD} for n in (1, 2, 2)])
    with pytest.raises(KeysNotUnique, match=r"FeedbackId does not identify its rows: several rows have \(2,\)"):
        scorer.score()
    shop.execute(table.update().where(table.c.FeedbackId == 2).values(FeedbackId=None))
    with pytest.raises(KeysNotUnique, match="2 rows to be scored have NULL in it"):
        scorer.score()
    assert service.requests() == 0


def test_a_past_day_is_never_scored_today(sqlite_scorer: Scorer, sqlite_shop: Shop, service: Service) -> None:
    scorer, shop = sqlite_scorer, sqlite_shop
    shop.feedback([GOOD])
    with pytest.raises(PastDay, match=f"rows can only be scored now. What is not scored yet is taken by {today()}"):
        scorer.score("2026-01-02")
    assert service.requests() == 0
