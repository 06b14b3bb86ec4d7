"""How columns lie: bins and counts of every kind of number, against plain Python."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adfml_assets.drift import profile
from adfml_assets.drift.errors import FeaturesMissing, NotNumeric
from adfml_assets.drift.profile import Bins, Profile, choose_bins, count_rows

numbers = st.one_of(st.none(), st.floats(), st.floats(-1, 1), st.sampled_from([0.0, 1.0, 2.0]))


def profile_of(folder: Path, column: pa.Array, name: str = "x") -> Profile:
    file = folder / "version=1.parquet"
    pq.write_table(pa.table({name: column}), file)
    return count_rows(file, choose_bins(file, [name], "t"), "t")[name]


def test_a_number_is_cut_at_its_deciles(tmp_path: Path) -> None:
    found = profile_of(tmp_path, pa.array(range(1, 1001)))
    assert found.bins == Bins((100, 200, 300, 400, 500, 600, 700, 800, 900))
    assert (found.counts, found.missing, found.rows) == ((100,) * 10, 0, 1000)
    assert found.bins.labels[0] == "≤ 100"
    assert found.bins.labels[-1] == "> 900"


@pytest.mark.parametrize("scale", [1e-300, 1e-7, 1.0, 3e11, 1e300])
def test_a_value_that_is_an_edge_is_in_the_edge_s_own_bin(tmp_path: Path, scale: float) -> None:
    found = profile_of(tmp_path, pa.array(np.random.default_rng(2).normal(size=2000) * scale))
    assert found.counts == (200,) * 10


def test_equal_deciles_are_one_edge(tmp_path: Path) -> None:
    found = profile_of(tmp_path, pa.array([0] * 650 + list(range(1, 351))))
    assert found.bins == Bins((0, 50, 150, 250))
    assert found.counts == (650, 50, 100, 100, 100)


@pytest.mark.parametrize(
    ("column", "edges", "counts", "missing"),
    [
        (pa.array([True, False, True, None]), (0, 1), (1, 2, 0), 1),
        (pa.array([4, 4, 4], pa.int8()), (4,), (3, 0), 0),
        (pa.array([2, 1, None, 2], pa.uint64()), (1, 2), (1, 2, 0), 1),
        (pa.array([Decimal("1.50"), Decimal("2.25")]), (1.5, 2.25), (1, 1, 0), 0),
        (pa.array([math.nan, math.inf, -math.inf, None, 1.0]), (1,), (1, 0), 4),
        (pa.array([None, None], pa.float64()), (), (0,), 2),
        (pa.array([None, None], pa.null()), (), (0,), 2),
        (pa.array([], pa.float64()), (), (0,), 0),
    ],
)
def test_few_values_have_a_bin_each(
    tmp_path: Path, column: pa.Array, edges: tuple[float, ...], counts: tuple[int, ...], missing: int
) -> None:
    found = profile_of(tmp_path, column)
    assert found == Profile(Bins(edges, by_value=True), counts, missing)
    assert found.bins.labels[-1] == "other"


def test_other_values_than_in_training_fall_into_open_bins(tmp_path: Path) -> None:
    file = tmp_path / "scored.parquet"
    pq.write_table(pa.table({"many": [-5.0, 3.0, 99.0], "few": [0, 7, 1]}), file)
    found = count_rows(file, {"many": Bins((1.0, 5.0)), "few": Bins((0.0, 1.0), by_value=True)}, "t")
    assert found["many"].counts == (1, 1, 1)
    assert found["few"].counts == (1, 1, 1)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(numbers, max_size=80))
def test_every_row_is_counted_where_its_value_belongs(tmp_path: Path, values: list[float | None]) -> None:
    found = profile_of(tmp_path, pa.array(values, pa.float64()), 'a "quoted", name')
    present = [value for value in values if value is not None and math.isfinite(value)]
    edges = list(found.bins.edges)
    if found.bins.by_value:
        assert edges == sorted(set(present))
        counted = Counter(edges.index(value) for value in present)
    else:
        assert len(set(present)) > profile.MOST_VALUES
        assert edges == sorted(set(edges))
        counted = Counter(bisect_left(edges, value) for value in present)
    assert found.counts == tuple(counted[at] for at in range(len(edges) + 1))
    assert found.missing == len(values) - len(present)


def test_bins_are_chosen_from_a_sample_and_all_rows_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profile, "SAMPLE_ROWS", 100)
    found = profile_of(tmp_path, pa.array(range(2050)))
    assert found.rows == 2050
    assert len(found.counts) == 10
    assert all(150 <= count <= 260 for count in found.counts)


def test_columns_that_are_missing_or_no_numbers_are_named(tmp_path: Path) -> None:
    file = tmp_path / "t.parquet"
    pq.write_table(pa.table({"amount": [1.0], "name": ["x"], "days": [[1, 2]]}), file)
    with pytest.raises(FeaturesMissing, match=r"records does not have amuont\. It has: amount, .*mean 'amount'"):
        choose_bins(file, ["amuont"], "records")
    with pytest.raises(NotNumeric, match=r"records: not numeric: name \(VARCHAR\), days \(BIGINT\[\]\)\.") as caught:
        choose_bins(file, ["amount", "name", "days"], "records")
    assert caught.value.types == {"name": "VARCHAR", "days": "BIGINT[]"}
