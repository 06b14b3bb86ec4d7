"""A list of features has one identity, and two lists are shown side by side."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from adfml_assets.training.feature_lists import describe_difference, hash_features

names = st.lists(st.text('abcdefg\n,"', min_size=1, max_size=4), unique=True, max_size=6)


def test_the_hash_changes_with_definition_names_order_and_categories_and_with_nothing_else() -> None:
    given_hash = hash_features("d", ["a", "b"], {"c": ["x", "y"]})
    assert given_hash == hash_features("d", ["a", "b"], {"c": ["y", "x"]})
    assert given_hash == hash_features("d", ("a", "b"), {"c": ("x", "y")})
    others = [
        hash_features("e", ["a", "b"], {"c": ["x", "y"]}),
        hash_features("d", ["b", "a"], {"c": ["x", "y"]}),
        hash_features("d", ["a"], {"c": ["x", "y"]}),
        hash_features("d", ["a", "b"], {"c": ["x"]}),
        hash_features("d", ["a", "b"], {}),
    ]
    assert len({given_hash, *others}) == 6


@settings(max_examples=30)
@given(names, names)
def test_different_lists_have_different_hashes(one: list[str], other: list[str]) -> None:
    assert (hash_features("", one, {}) == hash_features("", other, {})) == (one == other)


@settings(max_examples=30)
@given(names, names)
def test_a_difference_is_described_exactly_where_there_is_one(one: list[str], other: list[str]) -> None:
    assert (describe_difference(one, other) == "") == (one == other)


def test_both_lists_are_shown_side_by_side_with_positions_and_counts() -> None:
    assert describe_difference(["age", "spend", "visits"], ["age", "visits"]).splitlines() == [
        "  position  wanted  found",
        "         2  spend   visits",
        "         3  visits  -",
        "  3 wanted, 2 found; 1 missing, 0 not wanted.",
    ]
    assert describe_difference(["a", "b"], ["b", "a"]).splitlines()[-1] == (
        "  2 wanted, 2 found; 0 missing, 0 not wanted, the same names in another order."
    )


def test_a_long_difference_is_cut_and_says_so() -> None:
    wanted = [f"w{number}" for number in range(40)]
    lines = describe_difference(wanted, [f"f{number}" for number in range(40)]).splitlines()
    assert lines[1].split() == ["1", "w0", "f0"]
    assert lines[-2:] == ["  and 30 more positions", "  40 wanted, 40 found; 40 missing, 40 not wanted."]
    assert len(lines) == 13
