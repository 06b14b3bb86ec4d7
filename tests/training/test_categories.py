"""Categories are pinned by the train split; what is new later is counted in `other` and reported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Any

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adfml_assets.features.categories import expand_categories, expanded_names, list_unknown, pin_categories
from adfml_assets.training.errors import NamesTaken
from adfml_assets.training.spec import FeaturesSource
from resources.errors import NotFound
from tests.training.conftest import CATEGORIES, SET, World, day

counts = st.one_of(
    st.none(),
    st.dictionaries(st.sampled_from(["A b", "a-b", "a_b 2", "ä", "other", "日本", ""]), st.integers(1, 9), max_size=5),
)


@pytest.fixture(scope="module")
def backend() -> Any:
    return ibis.duckdb.connect()


def make_table(backend: Any, rows: list[Mapping[str, int] | None], folder: Any) -> Any:
    lists = [None if row is None else [{"name": name, "count": row[name]} for name in sorted(row)] for row in rows]
    path = f"{folder}/c.parquet"
    pq.write_table(pa.table({"n": range(len(rows)), "c": pa.array(lists, CATEGORIES)}), path)
    return backend.read_parquet(path)


@settings(max_examples=30, deadline=None)
@given(st.lists(counts, min_size=1, max_size=8), st.integers(0, 4))
def test_counts_go_to_their_columns_and_the_rest_to_other(
    backend: Any, tmp_path_factory: pytest.TempPathFactory, rows: list[Mapping[str, int] | None], most: int
) -> None:
    table = make_table(backend, rows, tmp_path_factory.mktemp("c"))
    pinned = pin_categories(backend, table, "c", most=most)
    totals = {name: sum((row or {}).get(name, 0) for row in rows) for row in rows for name in row or {}}
    assert pinned == sorted(sorted(totals, key=lambda name: (-totals[name], name.encode()))[:most])
    expanded = backend.to_pyarrow(expand_categories(table, {"c": pinned}).order_by("n"))
    names = expanded_names(["c"], {"c": pinned})
    assert expanded.column_names == ["n", *names]
    assert len(set(names)) == len(names)
    found = [list(row.values())[1:] for row in expanded.to_pylist()]
    assert found == [
        [
            *((row or {}).get(name, 0) for name in pinned),
            sum(count for name, count in (row or {}).items() if name not in pinned),
        ]
        for row in rows
    ]
    unknown = sorted(set(totals) - set(pinned))
    assert list_unknown(backend, table, {"c": pinned}) == ({"c": unknown} if unknown else {})


def test_names_are_slugs_and_the_later_of_two_equal_ones_has_a_number() -> None:
    pinned = {"c": ["Crème brûlée!", "other", "a b", "A-B", "日本"]}
    assert expanded_names(["x", "c", "y"], pinned) == [
        "x",
        "c_a_b",
        "c_creme_brulee",
        "c_a_b_2",
        "c_other_2",
        "c_category",
        "c_other",
        "y",
    ]


def test_a_category_without_a_name_counts_as_other(backend: Any, tmp_path: Any) -> None:
    table = pa.table({"c": pa.array([[{"name": None, "count": 3}, {"name": "a", "count": 1}]], CATEGORIES)})
    pq.write_table(table, tmp_path / "c.parquet")
    rows = backend.read_parquet(tmp_path / "c.parquet")
    assert pin_categories(backend, rows, "c", most=5) == ["a"]
    assert backend.to_pyarrow(expand_categories(rows, {"c": ["a"]})).to_pylist() == [{"c_a": 1, "c_other": 3}]
    assert list_unknown(backend, rows, {"c": ["a"]}) == {}


def bought(key: int, when: date) -> list[dict[str, Any]]:
    """Tea always, cake from the validation's date on."""
    later = [{"name": "cake", "count": 100}] if when >= day(240) else []
    return [*later, {"name": "tea", "count": key}]


def with_categories(world: World) -> World:
    world.write_events(day(300), 300)
    columns = {"amount_30d": lambda key, when: float(key), "bought": bought, "age": lambda key, when: key}
    world.write_features(day(300), [day(n) for n in range(30, 301, 10)], columns, {"bought": CATEGORIES})
    return world


def test_a_category_that_the_train_split_does_not_have_gets_no_column_and_is_reported(world: World) -> None:
    built = with_categories(world).build()
    assert built.card["pinned"] == {"bought": ["tea"]}
    assert built.card["features"] == ["amount_30d", "bought_tea", "bought_other", "age"]
    assert built.card["unknown_categories"] == {"validation": {"bought": ["cake"]}, "test": {"bought": ["cake"]}}
    assert built.card["feature_types"]["bought_tea"] == "int64"
    assert built.read("test")["bought_other"].to_pylist() == [100, 100, 100]
    assert built.read("test")["bought_tea"].to_pylist() == [1, 2, 3]
    assert set(built.read("train").column("bought_tea").to_pylist()) == {1, 2, 3}


def test_the_number_of_columns_has_a_limit_and_the_hash_knows_the_categories(world: World) -> None:
    whole = with_categories(world).build()
    # With nothing that can be a column, `other` has it all, and the train split has something in it.
    world.version, world.source = "2", replace(FeaturesSource(SET), most_categories=0)
    limited = world.build()
    assert limited.card["features"] == ["amount_30d", "bought_other", "age"]
    assert limited.card["unknown_categories"]["train"] == {"bought": ["tea"]}
    assert limited.card["features_sha256"] != whole.card["features_sha256"]


def test_the_label_may_have_a_category_as_its_baseline(world: World) -> None:
    assert with_categories(world).build(baseline="bought_tea").card["baseline"] == "bought_tea"
    with pytest.raises(NotFound, match=r"no feature 'bought_tee' in model m.*Did you mean 'bought_tea'"):
        world.build(baseline="bought_tee")


def test_a_column_of_a_category_that_is_a_feature_already_is_refused(world: World) -> None:
    world.write_events(day(300), 300)
    columns = {"bought": bought, "bought_tea": lambda key, when: key}
    world.write_features(day(300), [day(n) for n in range(30, 301, 10)], columns, {"bought": CATEGORIES})
    with pytest.raises(NamesTaken, match="bought_tea would be in the training data twice"):
        world.build(baseline="bought_tea")
