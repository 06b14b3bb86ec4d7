"""The data card says what the rows are: counted independently here."""

from __future__ import annotations

import json
import math
import sqlite3
from typing import Any

import numpy as np
import pytest

from adfml_assets.training.feature_lists import hash_features
from adfml_assets.training.shown import show_card
from tests.training.conftest import World, day
from workloads.training_data import DataCard, read_data_card


def some(key: int, when: Any) -> float | None:
    """NULL, NaN, infinite or a number, by the key."""
    return {1: None, 2: math.nan, 3: math.inf}.get(key, float((when - day(0)).days))


@pytest.fixture
def built(world: World) -> Any:
    world.keys = (1, 2, 3, 4, 5)
    world.write_events(day(300), 300)
    columns = {"amount_30d": lambda key, when: float(key), "some": some, "whole": lambda key, when: key}
    world.write_features(day(300), [day(n) for n in range(30, 301, 10)], columns)
    return world.build()


def test_the_label_distribution_is_that_of_the_rows(built: Any) -> None:
    for split in ("train", "validation", "test"):
        label = built.read(split)["spend"].to_numpy()
        found = built.card["label_distribution"][split]
        assert found["rows"] == built.card["rows"][split] == len(label)
        assert found["zeros"] == int((label == 0).sum())
        wanted = {
            "mean": label.mean(),
            "std": label.std(),
            "min": label.min(),
            "p25": np.quantile(label, 0.25),
            "p50": np.quantile(label, 0.5),
            "p75": np.quantile(label, 0.75),
            "max": label.max(),
        }
        assert {name: found[name] for name in wanted} == pytest.approx(wanted, rel=1e-9)
        counts = built.card["label_histogram"]["counts"][split]
        edges = built.card["label_histogram"]["edges"]
        assert counts == np.histogram(label, bins=edges)[0].tolist()


def test_the_missing_share_counts_null_nan_and_infinite_values(built: Any) -> None:
    for split in ("train", "validation", "test"):
        assert built.card["missing"][split] == {"amount_30d": 0.0, "some": 0.6, "whole": 0.0}


def test_features_have_types_and_one_identity(built: Any) -> None:
    card = built.card
    assert card["features"] == ["amount_30d", "some", "whole"]
    assert card["feature_types"] == {"amount_30d": "double", "some": "double", "whole": "int64"}
    assert card["features_sha256"] == hash_features("d" * 64, card["features"], {})
    assert card["definition_sha256"] == "d" * 64


def test_the_card_is_a_file_that_the_training_job_reads_and_the_manifest_has_its_facts(
    built: Any, tmp_path: Any
) -> None:
    content = built.lake.read_bytes(f"{built.folder}/data_card.json")
    assert json.loads(content) == json.loads(json.dumps(built.card))
    (tmp_path / "card.json").write_bytes(content)
    read = read_data_card(tmp_path / "card.json", "card")
    assert isinstance(read, DataCard)
    assert read.features == ("amount_30d", "some", "whole")
    facts = built.manifest.facts
    names = ("features", "features_sha256", "definition_sha256", "pinned", "feature_types", "label_distribution")
    for name in (*names, "periods", "source", "start_date", "end_date", "snapshot_date"):
        assert facts[name] == built.card[name], name
    assert [file.rows for file in built.manifest.files] == [built.card["rows"][split] for split in built.card["rows"]]


def test_a_changed_definition_changes_the_hash_and_another_period_does_not(built: Any, world: World) -> None:
    world.version = "2"
    world.write_features(day(300), [day(n) for n in range(40, 301, 10)])
    fewer = world.build().card
    world.version = "3"
    world.write_features(day(300), [day(n) for n in range(50, 301, 10)], definition_sha256="e" * 64)
    other = world.build().card
    assert fewer["features"] == other["features"]
    assert fewer["features_sha256"] != other["features_sha256"]
    world.version = "4"
    world.write_features(day(300), [day(n) for n in range(60, 301, 10)])
    assert world.build().card["features_sha256"] == fewer["features_sha256"]


def test_the_metadata_has_a_table_a_small_picture_and_what_is_missing(built: Any) -> None:
    shown = show_card(built.card)
    table = shown["splits"].value
    assert f"| train | {built.card['rows']['train']} | 19 | 2025-01-31 | 2025-07-30 |" in table
    assert shown["label_distribution"].value.startswith("![label distribution](data:image/png;base64,")
    assert len(shown["label_distribution"].value) < 60_000
    assert "| `some` | 60.0% |" in shown["missing_in_train"].value
    assert shown["dates_left_out"].value == {"window_past_data": 3, "between_splits": 4}
    assert shown["snapshot_date"] == day(300).isoformat()


def test_the_hash_of_a_query_is_that_of_its_columns(world: World, table: sqlite3.Connection) -> None:
    card = world.build().card
    assert card["features_sha256"] == hash_features("", card["features"], {})
    assert "snapshot_date" not in show_card(card)
