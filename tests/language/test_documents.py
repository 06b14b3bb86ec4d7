"""Texts are counted as the service counts, cut where they are too long without losing a character, and packed."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime

import pytest
import regex
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adfml_assets.text.language_rows import TextRow
from adfml_assets.text.language_scoring import TextRules, build_id, combine_scores, prepare_row
from local_cloud.language_analysis import count_text_elements as count_at_the_service
from resources.language_answers import Rejected, Scored
from resources.language_documents import (
    DOCUMENT_CHARACTERS,
    REQUEST_BYTES,
    REQUEST_DOCUMENTS,
    build_document,
    count_at_most,
    count_text_elements,
    count_text_records,
    pack,
    split_text,
)
from resources.language_session import build_body
from tests.language.conftest import Scorer, Service, Shop

NOW = datetime(2026, 3, 10, tzinfo=UTC)
PIECES = [
    *("a", "Z", ".", "! ", " ", "\n", "\r\n", "\t", "\u0000", "é", "e\u0301", "\u0301", "ñ", "ß", "日", "。"),
    *("अ", "क्षि", "नु", "각", "\u1100\u1161\u11a8", "\u200d", "\u200b", "\ufe0f", "z" + "\u0300" * 30),
    *("😀", "👍🏽", "👩‍👩‍👧‍👦", "🇩🇪", "🇫"),
]
texts = st.lists(st.sampled_from(PIECES) | st.characters(exclude_categories=["Cs"]), max_size=60).map("".join)


def count_by_net_framework(text: str) -> int:
    """StringInfo before .NET 5: a character and the marks that follow it; formats and controls stand alone."""
    alone = {"Cc", "Cf", "Cn", "Mn", "Mc", "Me"}
    count, base = 0, False
    for point in text:
        kind = unicodedata.category(point)
        if not (base and kind in {"Mn", "Mc", "Me"}):
            count += 1
            base = kind not in alone
    return count


@pytest.mark.parametrize(
    ("text", "characters"),
    [
        ("", 0),
        ("hello", 5),
        ("é", 1),
        ("e\u0301", 1),
        ("👍🏽", 1),
        ("👩‍👩‍👧‍👦", 1),
        ("🇩🇪🇫🇷", 2),
        ("अनुच्छेद", 4),
        ("a\r\nb", 3),
    ],
)
def test_a_character_is_what_a_reader_sees(text: str, characters: int) -> None:
    assert count_text_elements(text) == characters == count_at_the_service(text)


@given(texts)
@settings(max_examples=300, deadline=None)
def test_the_cautious_count_is_never_below_the_services(text: str) -> None:
    assert count_text_elements(text) == len(regex.findall(r"\X", text))
    assert count_text_elements(text) <= count_at_most(text) <= len(text)
    assert count_at_the_service(text) <= count_at_most(text)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc", "Cf", "Cn", "Mc"]), max_size=60))
@settings(deadline=None)
def test_nor_below_net_frameworks(text: str) -> None:
    assert count_by_net_framework(text) <= count_at_most(text)


@given(texts, st.integers(4, 20))
@example("aaaaaaa\r\n\u0301a", 5)
@settings(max_examples=300, deadline=None)
def test_a_cut_text_is_whole_and_every_part_fits(text: str, limit: int) -> None:
    clusters = regex.findall(r"\X", text)
    if any(count_at_most(cluster) > limit for cluster in clusters):
        with pytest.raises(ValueError, match="its first character has"):
            split_text(text, limit)
        return
    parts = split_text(text, limit)
    kept = "".join(parts)
    assert all(part.strip() and count_at_the_service(part) <= limit for part in parts)
    # Only parts of nothing but white space are left out.
    assert "".join(kept.split()) == "".join(text.split())
    assert all(cluster in clusters for part in parts for cluster in regex.findall(r"\X", part))


def test_texts_are_cut_at_sentences_then_at_words_then_between_characters() -> None:
    assert split_text("One two six. Three four five six.", 18) == ["One two six. ", "Three four five ", "six."]
    assert split_text("abcdefghij", 4) == ["abcd", "efgh", "ij"]
    assert split_text("ab。cdef。gh", 6) == ["ab。cde", "f。gh"]
    assert split_text("👩‍👩‍👧‍👦" * 3, 7) == ["👩‍👩‍👧‍👦"] * 3


def test_a_single_character_beyond_the_limits_is_reported() -> None:
    row = TextRow((1,), "z" + "\u0300" * 600_000, None)
    rejected = prepare_row(row, TextRules("en", "split"))
    assert rejected == Rejected("TextTooLong", "The text cannot be cut: its first character has 600001 code points.")


@given(st.lists(st.integers(1, 400_000), max_size=40))
@settings(deadline=None)
def test_requests_keep_both_limits_and_the_order(sizes: list[int]) -> None:
    documents = [build_document(str(n), "ü" * (size // 2 or 1), "en") for n, size in enumerate(sizes)]
    batches = list(pack(documents))
    assert [d for batch in batches for d in batch] == documents
    for batch in batches:
        assert 1 <= len(batch) <= REQUEST_DOCUMENTS
        assert len(build_body(batch, "latest")) <= REQUEST_BYTES


@given(st.lists(st.tuples(st.text(max_size=5), st.integers()), unique=True, max_size=20))
def test_every_key_has_an_id_of_its_own(keys: list[tuple[str, int]]) -> None:
    valid = [key for key in keys if key[0].isascii()]
    ids = [build_id(key) for key in valid]
    assert len(set(ids)) == len(valid)
    assert all(0 < len(id) <= 100 for id in ids)
    assert len(build_id(("x" * 500,))) == 64


@pytest.mark.parametrize(("characters", "records"), [(1, 1), (1000, 1), (1001, 2), (5120, 6)])
def test_a_text_record_is_a_thousand_characters(characters: int, records: int) -> None:
    assert count_text_records(characters) == records


def test_parts_count_by_their_length() -> None:
    long = Scored("positive", 0.9, 0.1, 0.0, 3000, 3, "v")
    short = Scored("negative", 0.1, 0.1, 0.8, 1000, 1, "v")
    whole = combine_scores([long, short])
    assert (whole.sentiment, whole.characters, whole.text_records) == ("mixed", 4000, 4)
    assert (whole.positive, whole.neutral, whole.negative) == pytest.approx((0.7, 0.1, 0.2))
    neutral = Scored("neutral", 0.1, 0.8, 0.1, 500, 1, "v")
    assert combine_scores([neutral, short]).sentiment == "negative"
    assert combine_scores([neutral, neutral]).sentiment == "neutral"


def test_half_a_surrogate_pair_is_reported() -> None:
    assert prepare_row(TextRow((1,), "ab\ud83d", None), TextRules("en", "split")) == Rejected(
        "TextInvalid", "The text is not valid Unicode: half a surrogate pair at 2."
    )
    assert prepare_row(TextRow((1,), b"ab", None), TextRules("en", "split")) == Rejected(
        "TextInvalid", "The text is binary."
    )


EMOJI = "👩‍👩‍👧‍👦"
LONG = {
    1: "I love it. " * 1000,  # 11,000 characters
    2: "x" * DOCUMENT_CHARACTERS,
    3: "x" * (DOCUMENT_CHARACTERS + 1),
    4: EMOJI
    * DOCUMENT_CHARACTERS,  # as many characters as may be, by the newest rule, and seven times as many code points
    5: "short",
}


def test_long_texts_are_split_and_scored_as_one(sqlite_scorer: Scorer, sqlite_shop: Shop, service: Service) -> None:
    scorer, shop = sqlite_scorer, sqlite_shop
    table = shop.feedback(list(LONG.values()))
    _, progress, _ = scorer.score()
    assert {row.scored for row in shop.read(table)} == {1}
    rows = {row["FeedbackId"]: row for row in scorer.read("predictions")}
    assert {id: row["parts"] for id, row in rows.items()} == {1: 3, 2: 1, 3: 2, 4: 8, 5: 1}
    assert rows[1]["sentiment"] == "positive"
    assert rows[1]["characters"] == 11_000
    assert rows[1]["positive"] + rows[1]["neutral"] + rows[1]["negative"] == pytest.approx(1)
    assert rows[4]["characters"] == DOCUMENT_CHARACTERS
    assert set(service.documents()) >= {"1#1", "1#2", "1#3", "2", "3#1", "5"}
    assert progress.text_records == sum(row["text_records"] for row in rows.values())


def test_long_texts_are_reported_where_the_declaration_says_so(
    sqlite_scorer: Scorer, sqlite_shop: Shop, service: Service
) -> None:
    scorer, shop = sqlite_scorer, sqlite_shop
    table = shop.feedback(list(LONG.values()))
    scorer.score(long_texts="report")
    # The fourth is within the limit by one rule and beyond it by another: the service decided.
    assert [row.scored for row in shop.read(table)] == [-1, 1, -1, 1, 1]
    rejects = {row["FeedbackId"]: (row["code"], row["reason"]) for row in scorer.read("rejects")}
    assert rejects == {
        1: (
            "TextTooLong",
            "The text has 11000 characters and takes 11067 bytes; the service takes 5120 characters and 1 MB.",
        ),
        3: (
            "TextTooLong",
            "The text has 5121 characters and takes 5188 bytes; the service takes 5120 characters and 1 MB.",
        ),
    }
    assert set(service.documents()) == {"2", "4", "5"}
