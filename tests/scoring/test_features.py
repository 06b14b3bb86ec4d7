"""Records have exactly the features the model was trained on, or the run says what differs, before anything is sent."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from adfml_assets import lake_layout
from adfml_assets.scoring import scoring_input
from resources.lake import Lake
from tests.conftest import TODAY
from tests.scoring.conftest import (
    CATEGORY_TYPE,
    DEFINITION,
    FEATURES,
    MODEL,
    Site,
    category,
    make_features,
    put_features,
    put_model,
)

YESTERDAY = "2026-03-09"


def test_the_input_is_the_models_features_in_its_order_as_of_the_newest_date(site: Site) -> None:
    site.run("input")
    table, manifest = site.read_input()
    assert table.column_names == ["RecordId", *FEATURES]
    assert table.to_pydict() == {"RecordId": [1, 2, 3], "recency": [1, 2, 3], "amount": [1.5, 3.0, 4.5]}
    said = {name: manifest.facts[name] for name in ("key", "feature_date", "feature_snapshot", "unknown_categories")}
    assert said == {
        "key": "CustomerId",
        "feature_date": "2026-03-09",
        "feature_snapshot": TODAY,
        "unknown_categories": {},
    }
    metadata = json.loads(site.lake.read_bytes(f"{lake_layout.model_folder(MODEL, '1')}/metadata.json"))
    assert manifest.facts["features_sha256"] == metadata["features_sha256"]


def test_events_are_scored_of_the_last_day(site: Site) -> None:
    table = make_features().rename_columns(["Id", "at", "recency", "amount"])
    events = table.set_column(1, "at", table["at"].cast(pa.timestamp("us")))
    put_features(
        site.lake,
        events,
        key="Id",
        rows="event",
        event_time="at",
        feature_date=None,
    )
    site.run("input")
    table, manifest = site.read_input()
    assert (table["RecordId"].to_pylist(), manifest.facts["feature_date"]) == ([1, 2, 3], None)
    # The three of a month ago are not of the last day.
    assert events.num_rows == 6


def refuse(site: Site, *words: str) -> str:
    """The run fails with all of these words, nothing is sent, and no input is left."""
    said = site.fail("input")
    for word in words:
        assert word in said, said
    assert site.lake.list_files(lake_layout.scoring_input_folder(MODEL, TODAY)) == []
    assert site.service.submitted == []
    return said


def test_missing_features_are_named_with_both_lists_side_by_side(site: Site) -> None:
    put_model(site.lake, site.control, "2", ("recency", "amount", "visits"))
    refuse(
        site,
        "Model spend version 2 was trained on other features than these records have: missing are visits.",
        "  position  wanted  found",
        "         3  visits  -",
        "3 wanted, 2 found; 1 missing, 0 not wanted",
        "Nothing was submitted. Train a new version",
    )


def test_another_order_and_features_too_many_are_refused(site: Site) -> None:
    put_features(site.lake, make_features().select(["CustomerId", "feature_date", "amount", "recency"]))
    refuse(site, "         1  recency  amount", "         2  amount   recency", "the same names in another order")
    put_features(site.lake, make_features(visits=pa.array([1, 2, 3])))
    refuse(site, "         3  -       visits", "1 not wanted")


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"parameters": {"window_days": 60}, "definition_sha256": "e" * 64}, "parameters: window_days was 30, is 60."),
        ({"definition_sha256": "e" * 64}, "the function, its SQL or its tables (definition was dddddddddddd, is eeee"),
    ],
)
def test_the_same_names_made_in_another_way_are_refused(site: Site, facts: dict[str, Any], words: str) -> None:
    put_card(site.lake)
    put_features(site.lake, make_features(), YESTERDAY)
    put_features(site.lake, make_features(), **facts)
    refuse(site, "the names are the same (2, in the same order), but not how they are made", words)


def put_card(lake: Lake, **values: Any) -> None:
    metadata = json.loads(lake.read_bytes(f"{lake_layout.model_folder(MODEL, '1')}/metadata.json"))
    card = {
        "features_sha256": metadata["features_sha256"],
        "feature_types": {"recency": "int32", "amount": "double"},
        "definition_sha256": DEFINITION,
        "source": {"kind": "features", "feature_set": "customers", "snapshot_dates": [YESTERDAY]},
        **values,
    }
    lake.write_bytes(f"{lake_layout.training_data_folder(MODEL, '1')}/data_card.json", json.dumps(card).encode())


def test_a_card_of_other_training_data_says_nothing(site: Site) -> None:
    put_card(site.lake, features_sha256="another")
    put_features(site.lake, make_features(), YESTERDAY, parameters={"window_days": 90})
    put_features(site.lake, make_features(), definition_sha256="e" * 64)
    assert "window_days" not in refuse(site, "definition was dddd")


def test_a_wrong_type_is_refused_with_what_it_was(site: Site) -> None:
    put_card(site.lake)
    put_features(site.lake, make_features(recency=pa.array(["1", "2", "3"])))
    refuse(site, "these are no numbers: recency.", "recency: int32  recency: string")


@pytest.mark.parametrize("kind", [pa.bool_(), pa.uint8(), pa.float32(), pa.decimal128(25, 3), pa.null()], ids=str)
def test_numbers_of_every_kind_are_features(site: Site, kind: pa.DataType) -> None:
    values = pa.array([None] * 3 if pa.types.is_null(kind) else [0, 1, 1]).cast(kind)
    put_features(site.lake, make_features(recency=values))
    site.run("input")
    table, _ = site.read_input()
    assert table["recency"].null_count == values.null_count


def test_a_feature_that_is_null_in_every_record_is_refused_where_chance_cannot_be_why(site: Site) -> None:
    few = make_features(99, amount=pa.array([None] * 99, pa.float64()))
    put_features(site.lake, few)
    site.run("input")
    before = site.read_input()
    put_features(site.lake, make_features(100, amount=pa.array([None] * 100, pa.float64())))
    said = site.fail("input")
    assert "in all 100 records these features are NULL, though the model learned from their values: amount." in said
    assert site.read_input() == before


def test_a_model_that_does_not_say_how_its_features_are_made_takes_them_by_name(site: Site) -> None:
    put_model(site.lake, site.control, "2", ("amount",), definition="")
    site.run("input")
    assert site.read_input()[0].column_names == ["RecordId", "amount"]
    put_model(site.lake, site.control, "3", ("amount", "visits"), definition="")
    said = site.fail("input")
    assert "missing are visits" in said


PINNED = {"kinds": ["book", "toy"]}
COLUMN = pa.array([category(("book", 2), ("toy", 1)), category(("car", 3), ("toy", 4)), None], CATEGORY_TYPE)


def test_they_become_the_columns_of_the_version_and_new_ones_are_other(site: Site) -> None:
    put_model(site.lake, site.control, "2", (*FEATURES, "kinds"), pinned=PINNED)
    put_features(site.lake, make_features(kinds=COLUMN))
    result = site.run("input")
    table, manifest = site.read_input()
    assert table.column_names == ["RecordId", *FEATURES, "kinds_book", "kinds_toy", "kinds_other"]
    assert table.select([3, 4, 5]).to_pydict() == {
        "kinds_book": [2, 0, 0],
        "kinds_toy": [1, 4, 0],
        "kinds_other": [0, 3, 0],
    }
    assert manifest.facts["unknown_categories"] == {"kinds": ["car"]}
    shown = result.asset_materializations_for_node(f"ml__scoring_input__{MODEL}")[0].metadata
    assert shown["unknown_categories"].value == {"kinds": ["car"]}
    site.run("job")
    site.settle()
    site.run("scores")
    assert site.read_scores()[0]["score"].to_pylist() == [5.5, 12.0, 7.5]


def test_other_pinned_categories_are_another_model(site: Site) -> None:
    put_model(site.lake, site.control, "2", (*FEATURES, "kinds"), pinned=PINNED)
    path = f"{lake_layout.model_folder(MODEL, '2')}/metadata.json"
    metadata = json.loads(site.lake.read_bytes(path))
    for pinned, words in (
        ({"kinds": ["book", "car"]}, "kinds_toy"),
        ({"kinds": ["BOOK", "toy"]}, "the pinned categories are not those of its features_sha256"),
    ):
        site.lake.write_bytes(path, json.dumps({**metadata, "pinned": pinned}).encode())
        put_features(site.lake, make_features(kinds=COLUMN))
        refuse(site, words)


def test_a_column_that_is_none_of_categories_any_more_is_refused(site: Site) -> None:
    put_model(site.lake, site.control, "2", (*FEATURES, "kinds"), pinned=PINNED)
    put_features(site.lake, make_features(kinds=pa.array(["book", "toy", None])))
    refuse(site, "missing are kinds_book, kinds_toy, kinds_other")


def test_records_go_through_in_batches(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring_input, "_BATCH_ROWS", 1024)
    rows = 5000
    put_features(site.lake, make_features(rows))
    site.run("input")
    table, _ = site.read_input()
    assert table["RecordId"].to_pylist() == list(range(1, rows + 1))
    folder = lake_layout.scoring_input_folder(MODEL, TODAY)
    with site.lake.open_file(f"{folder}/scoring_input.parquet") as file:
        assert pq.ParquetFile(file).metadata.num_row_groups >= 5
