"""What is found, and what is not: faults of every kind, none where there is none, nothing of the future."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adfml_assets.anomalies.declared import Alignment, DetectorSpec, FitRules
from adfml_assets.anomalies.readings import LiveSource
from demo.sample_shop import write_sample_shop
from resources.database import Databases
from resources.lake import Lake
from tests.anomalies.conftest import (
    DAY,
    MIDDLES,
    SPEC,
    START,
    STEPS_A_DAY,
    SWINGS,
    VARIABLES,
    anomalous_rows,
    detect,
    make_times,
    make_values,
    read_rows,
    row_of,
    to_table,
)

FAULT = range(row_of(0.4), row_of(0.4) + 12)


def spike(values: np.ndarray) -> None:
    values[FAULT[0], 3] += 3 * SWINGS[3]


def drift(values: np.ndarray) -> None:
    values[FAULT, 0] += np.linspace(1.0, 3.0, len(FAULT)) * SWINGS[0]


def frozen_sensor(values: np.ndarray) -> None:
    values[FAULT, 4] = MIDDLES[4] - 1.4 * SWINGS[4]


def all_rise_together(values: np.ndarray) -> None:
    values[FAULT] = MIDDLES + SWINGS * 4.0 * np.array([1.0, 0.8, -0.9, 1.1, 0.7])


def broken_correlation(values: np.ndarray) -> None:
    values[FAULT, 2] = 2 * MIDDLES[2] - values[FAULT, 2]


FAULTS: dict[Callable[[np.ndarray], None], tuple[str | None, int]] = {
    spike: ("Current", 1),
    drift: ("Temperature", 12),
    frozen_sensor: ("Speed", 12),
    all_rise_together: (None, 12),
    broken_correlation: ("Vibration", 12),
}
"""A fault, the variable that stands out, and how many rows it has."""


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_fault_is_found_with_the_variable_that_stands_out(
    lake: Lake, fault: Callable[[np.ndarray], None], seed: int
) -> None:
    variable, length = FAULTS[fault]
    values = make_values(seed=seed)
    fault(values)
    found = detect(lake, to_table(values))
    rows = anomalous_rows(lake, found)
    faulty = set(FAULT[:length])
    assert len(rows & faulty) >= 0.9 * length, "recall"
    assert len(rows - faulty) <= 1, "precision"
    worst = max(read_rows(lake, found).to_pylist(), key=lambda row: row["score"])
    contributors = worst["contributors"]
    if variable:
        assert contributors[0]["variable"] == variable
        assert contributors[0]["contribution"] > 0.5
        at = VARIABLES.index(variable)
        row = int((worst["timestamp"] - START).total_seconds() // 600)
        assert contributors[0]["actual"] == pytest.approx(values[row, at])
    shares = [c["contribution"] for c in contributors]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1.0)


def test_a_broken_correlation_is_no_outlier_of_any_variable(lake: Lake) -> None:
    """What looking at each variable alone cannot find."""
    values = make_values()
    broken_correlation(values)
    before = values[row_of(-14) : row_of(0)]
    for at in range(len(VARIABLES)):
        low, high = np.quantile(before[:, at], [0.001, 0.999])
        assert (values[FAULT, at] > low).all()
        assert (values[FAULT, at] < high).all()
    assert set(FAULT) <= anomalous_rows(lake, detect(lake, to_table(values)))


def test_healthy_machines_raise_next_to_no_alarm(lake: Lake) -> None:
    alarms = sum(detect(lake, to_table(make_values(seed=seed))).summary.anomalies for seed in range(10))
    assert alarms <= 2, "of 1,440 rows"


def test_anomalies_inside_the_fit_window_hide_none(lake: Lake) -> None:
    values = make_values()
    faulty = values.copy()
    for begin in (row_of(-9), row_of(-5.3), row_of(-2)):
        faulty[begin : begin + 40, 1] += 6 * SWINGS[1]
    for each in (values, faulty):
        broken_correlation(each)
    clean, dirty = (detect(lake, to_table(each)) for each in (values, faulty))
    (series,) = dirty.summary.series
    assert series.trimmed >= 120
    assert series.threshold == pytest.approx(clean.summary.series[0].threshold, rel=0.15)
    assert set(FAULT) <= anomalous_rows(lake, dirty)


def test_severity_grows_with_the_fault_and_stays_below_1(lake: Lake) -> None:
    values = make_values()
    for step, size in enumerate((0.0, 2.0, 5.0, 50.0, 1e6)):
        values[FAULT[step], 1] += size * SWINGS[1]
    rows = read_rows(lake, detect(lake, to_table(values))).to_pylist()
    severities = [row["severity"] for row in rows[FAULT[0] - row_of(0) :][:5]]
    assert severities[0] == 0.0
    assert severities == sorted(severities)
    assert all(0 < severity < 1 for severity in severities[1:])
    assert all((row["severity"] > 0) == row["is_anomaly"] == bool(row["contributors"]) for row in rows)
    assert all(row["is_anomaly"] == (row["score"] > row["threshold"]) for row in rows)


def test_only_so_many_contributors_are_named(lake: Lake) -> None:
    values = make_values()
    drift(values)
    found = detect(lake, to_table(values), replace(SPEC, top_contributors=2))
    lengths = {len(row["contributors"]) for row in read_rows(lake, found).to_pylist()}
    assert lengths == {0, 2}


SHOP_SPEC = DetectorSpec(
    "shop", "ReadingTime", ("Temperature", "Pressure", "Vibration"), by="MachineId", fit=FitRules(28), detect_days=14
)


@pytest.mark.parametrize("seed", [7, 11])
def test_the_faults_planted_in_the_sample_shop_are_found(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Recall 1 and precision above 0.95, over four machines, 14 days and four faults of two to three hours."""
    path = tmp_path / "sample.sqlite"
    planted = write_sample_shop(path, customers=1, seed=seed).planted_faults
    assert len(planted) == 4
    with sqlite3.connect(path) as shop:
        columns = list(zip(*shop.execute("SELECT * FROM SensorReadings ORDER BY ReadingId"), strict=True))
        names = [row[1] for row in shop.execute("PRAGMA table_info(SensorReadings)")]
    table = pa.table(dict(zip(names, map(list, columns), strict=True)))
    found = detect(lake, table, SHOP_SPEC, "2026-11-20", as_of="last_reading")
    assert str(found.windows.detect) == "2026-10-18 to 2026-10-31"
    rows = [row for row in read_rows(lake, found).to_pylist() if row["is_anomaly"]]

    def is_planted(row: dict) -> bool:
        return any(f.machine == row["MachineId"] and f.start <= row["timestamp"] <= f.end for f in planted)

    faulty = sum(int((fault.end - fault.start).total_seconds() // 600) + 1 for fault in planted)
    hits = sum(map(is_planted, rows))
    assert hits == faulty
    assert hits / len(rows) > 0.95
    for row in rows:
        sensors = {f.sensors for f in planted if f.machine == row["MachineId"]}
        if is_planted(row) and len(next(iter(sensors))) == 1:
            assert row["contributors"][0]["variable"] in next(iter(sensors))


later = st.lists(
    st.tuples(st.integers(0, 5 * STEPS_A_DAY), *[st.floats(-1e6, 1e6) for _ in VARIABLES]),
    min_size=1,
    max_size=20,
    unique_by=lambda row: row[0],
)
BASE = make_values(20 + 1)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(later=later)
@pytest.mark.parametrize("as_of", ["partition", "last_reading"])
def test_what_comes_after_the_day_changes_nothing(lake: Lake, as_of: str, later: list[tuple]) -> None:
    values = BASE.copy()
    spike(values)
    expected = read_rows(lake, detect(lake, to_table(values), as_of=as_of))
    more = np.array([row[1:] for row in later])
    times = make_times(len(values) + 6 * STEPS_A_DAY)
    moments = times[: len(values)] + [times[len(values) + row[0]] for row in later]
    found = detect(lake, to_table(np.vstack([values, more]), moments), as_of=as_of)
    assert read_rows(lake, found).equals(expected)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_the_rows_does_not_matter(lake: Lake, seed: int) -> None:
    values = BASE.copy()
    drift(values)
    table = to_table(values)
    shuffled = table.take(np.random.default_rng(seed).permutation(len(values)))
    assert read_rows(lake, detect(lake, shuffled)).equals(read_rows(lake, detect(lake, table)))


def test_each_series_has_a_model_of_its_own(lake: Lake) -> None:
    """Two machines of opposite correlations: each is healthy by itself."""
    one, other = make_values(seed=1), make_values(seed=2)
    other[:, 1] = 2 * MIDDLES[1] - other[:, 1]
    table = to_table(
        np.vstack([one, other]), make_times(len(one)) * 2, machine=pa.array([1] * len(one) + [2] * len(other))
    )
    found = detect(lake, table, replace(SPEC, by="machine"))
    assert [series.series for series in found.summary.series] == ["1", "2"]
    assert found.summary.anomalies <= 1
    rows = read_rows(lake, found)
    assert rows["machine"].to_pylist() == [1] * STEPS_A_DAY + [2] * STEPS_A_DAY
    assert rows.schema.field("machine").type == pa.int64()
    other[FAULT, 1] = 2 * MIDDLES[1] - other[FAULT, 1]
    table = table.set_column(2, "Pressure", pa.array(np.concatenate([one[:, 1], other[:, 1]])))
    found = detect(lake, table, replace(SPEC, by="machine"))
    assert [series.anomalies >= 10 for series in found.summary.series] == [False, True]


def test_several_days_are_checked_at_once_and_none_was_learned_from(lake: Lake) -> None:
    values = make_values()
    found = detect(lake, to_table(values), replace(SPEC, detect_days=3, fit=FitRules(10)))
    assert str(found.windows.detect) == "2026-03-08 to 2026-03-10"
    assert str(found.windows.fit) == "2026-02-26 to 2026-03-07"
    assert found.manifest.rows == 3 * STEPS_A_DAY
    assert found.summary.series[0].fitted_rows + found.summary.series[0].trimmed == 10 * STEPS_A_DAY


def test_a_day_without_readings_is_an_empty_partition_that_says_so(lake: Lake) -> None:
    table = to_table(make_values(15))
    found = detect(lake, table)
    assert (found.manifest.rows, found.summary.anomalies) == (0, 0)
    assert found.manifest.facts["newest_reading"] == "2026-03-04T23:50:00+00:00"
    assert read_rows(lake, found).schema.names[0] == "timestamp"
    assert lake.list_files("ml/anomaly-models") == []


def test_an_even_distance_is_made_of_uneven_readings(lake: Lake) -> None:
    """Readings every 7 to 13 minutes, some lost: rows every half hour."""
    rng = np.random.default_rng(5)
    values = make_values()
    broken_correlation(values)
    kept = np.sort(rng.choice(len(values), len(values) - 200, replace=False))
    times = make_times(len(values))
    jitter = [times[at] + (times[1] - times[0]) * float(rng.uniform(-0.3, 0.3)) for at in kept]
    table = to_table(values[kept], [max(moment, START) for moment in jitter])
    spec = replace(SPEC, align=Alignment(every=30 * 60_000_000, max_gap=3 * 3_600_000_000))
    found = detect(lake, table, spec)
    rows = read_rows(lake, found).to_pylist()
    assert [row["timestamp"].minute % 30 for row in rows] == [0] * 48
    hours = {row["timestamp"].hour for row in rows if row["is_anomaly"]}
    assert hours >= {10}
    assert hours <= {9, 10, 11}


def test_a_live_table_gives_what_the_archive_gives(
    lake: Lake, databases: Databases, shop_of_sensors: sqlite3.Connection
) -> None:
    from adfml_assets.anomalies.detecting import detect_anomalies

    names = ["MachineId", "ReadingTime", *VARIABLES]
    columns = zip(*shop_of_sensors.execute(f"SELECT {', '.join(names)} FROM SensorReadings"), strict=True)
    table = pa.table(dict(zip(names, map(list, columns), strict=True)))
    spec = replace(SPEC, by="MachineId")
    archived = detect(lake, table, spec)
    expected = read_rows(lake, archived)
    live = LiveSource("shop.main.SensorReadings", databases, "shop", "main", "SensorReadings")
    found = detect_anomalies(lake, spec, live, DAY, asset="a", now=datetime.now(UTC), run_id="r")
    assert read_rows(lake, found).equals(expected)
    assert found.summary.anomalies >= 12
