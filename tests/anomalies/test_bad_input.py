"""What bad input gets: one clear message each, and nothing of the partition is visible."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from adfml_assets.anomalies.declared import Alignment, FitRules
from adfml_assets.anomalies.detecting import detect_anomalies
from adfml_assets.anomalies.errors import (
    ConstantColumn,
    DetectionError,
    FitOverlaps,
    GroupsFailed,
    MissingGroups,
    UnreadableTimestamps,
    WrongColumnType,
)
from adfml_assets.anomalies.readings import LiveSource
from resources.database import Databases
from resources.errors import NotFound, ResourceError
from resources.lake import Lake
from resources.manifest import read_manifest
from tests.anomalies.conftest import (
    DAY,
    SPEC,
    VARIABLES,
    anomalous_rows,
    archive,
    detect,
    make_times,
    make_values,
    read_rows,
    row_of,
    to_table,
)

VALUES = make_values()
COUNT = len(VALUES)


def set_column(table: pa.Table, name: str, column: Any) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, column)


def spoil_last_timestamp(table: pa.Table, text: str | None) -> pa.Table:
    texts = [str(moment) for moment in make_times(COUNT)]
    return set_column(table, "ReadingTime", pa.array([*texts[:-1], text], pa.string()))


def test_a_missing_column_is_named_with_those_there_are(lake: Lake) -> None:
    with pytest.raises(NotFound, match=r"no column 'Pressur' in shop.main.SensorReadings.*Did you mean 'Pressure'"):
        detect(lake, to_table(VALUES), replace(SPEC, variables=("Temperature", "Pressur")))
    with pytest.raises(NotFound, match=r"no column 'Machine' in shop.main.SensorReadings"):
        detect(lake, to_table(VALUES), replace(SPEC, by="Machine"))
    with pytest.raises(NotFound, match=r"no column 'At' in shop.main.SensorReadings"):
        detect(lake, to_table(VALUES), replace(SPEC, timestamp="At"))


def test_a_column_of_another_type_is_named(lake: Lake) -> None:
    table = set_column(to_table(VALUES), "Pressure", pa.array(["high"] * COUNT))
    with pytest.raises(WrongColumnType, match=r"SensorReadings.Pressure is VARCHAR: expected a column of numbers"):
        detect(lake, table)
    table = set_column(to_table(VALUES), "ReadingTime", pa.array(range(COUNT)))
    with pytest.raises(WrongColumnType, match=r"ReadingTime is BIGINT: expected a timestamp, a date, or text in ISO"):
        detect(lake, table)


def test_timestamps_that_are_none_are_counted_and_shown(lake: Lake) -> None:
    with pytest.raises(
        UnreadableTimestamps, match=r"0 rows have no timestamp, 1 have one that is no moment \(for example 'noon'\)"
    ):
        detect(lake, spoil_last_timestamp(to_table(VALUES), "noon"))
    with pytest.raises(UnreadableTimestamps, match="1 rows have no timestamp, 0 have one that is no moment"):
        detect(lake, spoil_last_timestamp(to_table(VALUES), None))


@pytest.mark.parametrize(
    "write",
    [
        lambda moment: moment.isoformat(),
        lambda moment: moment.isoformat().replace("+00:00", "Z"),
        lambda moment: str(moment.replace(tzinfo=None)),
        lambda moment: moment.astimezone(__import__("zoneinfo").ZoneInfo("Asia/Kolkata")).isoformat(),
    ],
)
def test_timestamps_as_text_are_read_in_utc(lake: Lake, write: Any) -> None:
    texts = pa.array([write(moment) for moment in make_times(COUNT)])
    found = detect(lake, set_column(to_table(VALUES), "ReadingTime", texts))
    assert read_rows(lake, found)["timestamp"].to_pylist() == make_times(COUNT)[row_of(0) :]


@pytest.mark.parametrize("kind", [pa.float32(), pa.int32(), pa.decimal128(23, 4)])
def test_numbers_of_any_type_are_taken(lake: Lake, kind: pa.DataType) -> None:
    values = np.round(VALUES * 100)
    values[row_of(0.5) : row_of(0.5) + 12, 1] += 600
    table = to_table(values)
    for name in VARIABLES:
        table = set_column(table, name, table[name].cast(pa.int64()).cast(kind))
    assert anomalous_rows(lake, detect(lake, table)) >= set(range(row_of(0.5), row_of(0.5) + 12))


def test_rows_of_no_series_are_counted(lake: Lake) -> None:
    table = to_table(VALUES, machine=pa.array(["a"] * (COUNT - 2) + [None] * 2))
    with pytest.raises(MissingGroups, match=r"SensorReadings.machine \(`by`\) is NULL in 2 rows"):
        detect(lake, table, replace(SPEC, by="machine"))


def spoil(kind: str) -> tuple[pa.Table, str]:
    """Readings of machine b with one fault of a kind, and what is said of it."""
    values, times = VALUES.copy(), make_times(COUNT)
    keep = np.ones(COUNT, bool)
    if kind == "constant":
        values[:, 2] = 4.25
        said = "Vibration is 4.25 in all 2016 rows of the fit window.*Leave it out of `variables`"
    elif kind == "nothing":
        values[row_of(0) :, 1] = np.nan
        said = "checked window 2026-03-10 to 2026-03-10: of 144 rows .* Pressure in 144.*has no value at all"
    elif kind == "infinite":
        values[row_of(0.5), 0] = np.inf
        said = "Temperature is infinite in 1 rows, first 2026-03-10 12:00:00"
    elif kind == "duplicate":
        times[row_of(0.5)] = times[row_of(0.5) + 1]
        said = r"1 readings repeat the timestamp of another one \(2026-03-10 12:10:00\)"
    elif kind == "gap":
        keep[row_of(0.25) : row_of(0.5)] = False
        said = "has no reading for .*, from 2026-03-10 05:50:00 to 2026-03-10 12:00:00; `max_gap` allows 1h"
    else:
        keep[: row_of(-0.25)] = False
        said = "fit window 2026-02-24 to 2026-03-09: 36 complete rows to fit on, 50 are needed"
    rows = np.flatnonzero(keep)
    both = np.vstack([VALUES, values[rows]])
    machines = pa.array(["a"] * COUNT + ["b"] * len(rows))
    return to_table(both, [*make_times(COUNT), *[times[at] for at in rows]], machine=machines), said


KINDS = ["constant", "nothing", "infinite", "duplicate", "gap", "too few"]
BY_MACHINE = replace(SPEC, by="machine", align=Alignment(max_gap=3_600_000_000))


@pytest.mark.parametrize("kind", KINDS)
def test_a_series_that_cannot_be_checked_fails_the_partition(lake: Lake, kind: str) -> None:
    table, said = spoil(kind)
    with pytest.raises(GroupsFailed, match=f"1 of 2 groups could not be checked.*\n- .*machine b, .*{said}") as caught:
        detect(lake, table, BY_MACHINE)
    assert "machine a" not in str(caught.value)
    assert lake.list_files("ml/anomalies") == []


@pytest.mark.parametrize("kind", KINDS)
def test_or_is_left_out_and_reported(lake: Lake, kind: str) -> None:
    table, _ = spoil(kind)
    found = detect(lake, table, replace(BY_MACHINE, leave_out_errors=True))
    assert set(read_rows(lake, found)["machine"].to_pylist()) == {"a"}
    ((series, (code, message)),) = found.summary.errors.items()
    assert series == "b"
    assert found.manifest.facts["errors"] == [{"series": "b", "code": code, "message": message}]
    assert found.manifest.rows == 144


def test_where_no_series_can_be_checked_the_partition_fails_all_the_same(lake: Lake) -> None:
    values = VALUES.copy()
    values[:, 0] = 1.0
    with pytest.raises(GroupsFailed, match="1 of 1 groups"):
        detect(lake, to_table(values), replace(SPEC, leave_out_errors=True))


def test_a_failing_day_leaves_the_partition_as_it_was(lake: Lake) -> None:
    good = detect(lake, to_table(VALUES))
    before = {path: lake.read_bytes(path) for path in lake.list_files("ml/anomalies")}
    values = VALUES.copy()
    values[row_of(0.5), 0] = np.inf
    with pytest.raises(GroupsFailed):
        detect(lake, to_table(values))
    assert {path: lake.read_bytes(path) for path in lake.list_files("ml/anomalies")} == before
    assert read_manifest(lake, good.folder) == good.manifest
    lake.verify_file(f"{good.folder}/anomalies.parquet", good.manifest.files[0])


def test_a_fixed_window_may_not_reach_into_what_is_checked_unless_declared(lake: Lake) -> None:
    fixed = FitRules(None, first_day=date(2026, 2, 20), last_day=date(2026, 3, 10))
    with pytest.raises(
        FitOverlaps, match=r"fitted on 2026-02-20 to 2026-03-10 and check 2026-03-10 to 2026-03-10.*may_"
    ):
        detect(lake, to_table(VALUES), replace(SPEC, fit=fixed))
    assert detect(lake, to_table(VALUES), replace(SPEC, fit=replace(fixed, may_overlap=True))).manifest.rows == 144


def test_a_rare_state_of_a_variable_is_not_trimmed_to_a_constant(lake: Lake) -> None:
    values = VALUES.copy()
    values[:, 4] = 0.0
    values[row_of(-10) : row_of(-10) + 3, 4] = 1.0
    assert detect(lake, to_table(values)).manifest.rows == 144


def test_all_errors_are_one_family_with_a_code() -> None:
    for error in (ConstantColumn, GroupsFailed, WrongColumnType):
        assert issubclass(error, DetectionError)
        assert error.code != DetectionError.code


@pytest.fixture
def live(databases: Databases, shop_of_sensors: sqlite3.Connection) -> LiveSource:
    return LiveSource("shop.main.SensorReadings", databases, "shop", "main", "SensorReadings")


def check_live(lake: Lake, source: LiveSource, spec: Any) -> Any:
    from tests.conftest import NOW

    return detect_anomalies(lake, spec, source, DAY, asset="a", now=NOW, run_id="r")


def test_a_live_table_names_what_is_wrong_with_it(
    lake: Lake, live: LiveSource, shop_of_sensors: sqlite3.Connection
) -> None:
    spec = replace(SPEC, by="MachineId")
    with pytest.raises(NotFound, match=r"no column 'Load' in shop.main.SensorReadings"):
        check_live(lake, live, replace(spec, variables=("Pressure", "Load")))
    with pytest.raises(NotFound, match="no table 'Readings' in database 'shop'"):
        check_live(lake, replace(live, table="Readings"), spec)
    shop_of_sensors.execute("UPDATE SensorReadings SET ReadingTime = 'noon' WHERE ReadingId = 7")
    shop_of_sensors.commit()
    with pytest.raises(ResourceError, match=r"main.SensorReadings.ReadingTime: .*no ISO dates"):
        check_live(lake, live, spec)


def test_a_live_table_without_rows_is_an_empty_partition(
    lake: Lake, live: LiveSource, shop_of_sensors: sqlite3.Connection
) -> None:
    shop_of_sensors.execute("DELETE FROM SensorReadings")
    shop_of_sensors.commit()
    assert check_live(lake, live, replace(SPEC, by="MachineId")).manifest.rows == 0


def test_an_archive_without_rows_is_an_empty_partition(lake: Lake) -> None:
    assert detect(lake, to_table(VALUES).slice(0, 0)).manifest.rows == 0
    assert archive(lake, to_table(VALUES)).manifest.rows == COUNT
