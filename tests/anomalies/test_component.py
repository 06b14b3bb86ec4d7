"""The component as a user has it: declared in YAML, materialised, checked, shown, scheduled."""

from __future__ import annotations

import base64
import re
import sqlite3
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from adfml_assets.anomalies.results import build_answer
from adfml_assets.declarations import find_mistakes
from resources.lake import Lake
from tests.anomalies.conftest import (
    DAY,
    VARIABLES,
    Declare,
    archive,
    build_defs,
    detect,
    make_values,
    materialise,
    read_partition,
    read_rows,
    row_of,
    to_table,
)

KEY = dg.AssetKey(["ml", "anomalies", "press"])
WRITTEN = dg.AssetKey(["database", "shop", "main", "Anomalies"])


def metadata_of(result: dg.ExecuteInProcessResult, key: dg.AssetKey = KEY) -> dict[str, Any]:
    (event,) = [e for e in result.get_asset_materialization_events() if e.asset_key == key]
    return {name: value.value for name, value in event.materialization.metadata.items()}


def error_of(result: dg.ExecuteInProcessResult) -> str:
    (event,) = result.get_step_failure_events()
    error = event.step_failure_data.error
    assert error is not None
    return (error.cause or error).message


def test_a_fault_of_a_machine_is_found_shown_and_written_back(
    lake: Lake, shop_of_sensors: sqlite3.Connection, declare: Declare
) -> None:
    result = materialise(declare())
    assert result.success
    shown = metadata_of(result)
    assert (shown["dagster/row_count"], shown["series_with_errors"]) == (288, 0)
    assert 12 <= shown["anomalies"] <= 13
    assert shown["checked"] == "2026-03-10 to 2026-03-10"
    assert shown["fitted_on"] == "2026-02-24 to 2026-03-09"
    assert re.search(r"\| PRESS-02 \| 144 \| 1[23] \|", shown["series"])
    by_machine = "SELECT MachineId, count(*), sum(IsAnomaly) FROM Anomalies GROUP BY 1 ORDER BY 1"
    (_, healthy, _), (_, faulty, count) = shop_of_sensors.execute(by_machine).fetchall()
    assert (healthy, faulty, count >= 12) == (144, 144, True)
    joined = "SELECT count(*) FROM Anomalies JOIN SensorReadings USING (MachineId, ReadingTime)"
    assert shop_of_sensors.execute(joined).fetchone() == (288,)
    assert metadata_of(result, WRITTEN)["dagster/row_count"] == 288


def test_plots_are_small_pictures_in_the_metadata(shop_of_sensors: sqlite3.Connection, declare: Declare) -> None:
    shown = metadata_of(materialise(declare()))
    for name in ("scores", "top_contributors"):
        found = re.fullmatch(r"!\[[a-z ]+\]\(data:image/png;base64,([A-Za-z0-9+/=]+)\)", shown[name])
        assert found
        picture = base64.b64decode(found[1])
        assert picture.startswith(b"\x89PNG")
        assert 2_000 < len(picture) < 100_000


def test_the_check_warns_with_the_worst_and_blocks_nothing(
    shop_of_sensors: sqlite3.Connection, declare: Declare
) -> None:
    (check,) = materialise(declare()).get_asset_check_evaluations()
    assert (check.check_name, check.passed, check.severity) == ("no_anomalies", False, dg.AssetCheckSeverity.WARN)
    worst = check.metadata["worst"].value
    assert isinstance(worst, dict)
    assert (worst["series"], worst["timestamp"][:13]) == ("PRESS-02", "2026-03-10T09")
    assert re.match(
        r"1[23] of 288 rows are anomalies; the worst of PRESS-02 at 2026-03-10 09:", check.description or ""
    )
    (check,) = materialise(declare(), "2026-03-09").get_asset_check_evaluations()
    assert check.passed, check.description


def test_a_day_without_readings_says_so(lake: Lake, shop_of_sensors: sqlite3.Connection, declare: Declare) -> None:
    result = materialise(declare(), "2026-04-02")
    assert result.success
    shown = metadata_of(result)
    assert shown["dagster/row_count"] == 0
    assert shown["note"] == "There are no readings in 2026-04-02 to 2026-04-02: the partition is empty."
    (check,) = result.get_asset_check_evaluations()
    assert check.passed


def test_data_that_has_ended_is_checked_up_to_its_end(
    lake: Lake, shop_of_sensors: sqlite3.Connection, declare: Declare
) -> None:
    result = materialise(declare(as_of="last_reading", detect_days=2), "2026-04-02")
    assert metadata_of(result)["checked"] == "2026-03-09 to 2026-03-10"
    assert read_partition(lake, day="2026-04-02")[1].facts["anomalies"] >= 12


@pytest.mark.parametrize("read_from", ["archive", "current"])
def test_the_lake_s_partition_of_the_day_is_read(lake: Lake, declare: Declare, read_from: str) -> None:
    component = declare(read_from=read_from, by=None, write_back=None)
    result = materialise(component, raise_on_error=False)
    assert f"{read_from}/shop/main/SensorReadings has no partition 2026-03-10 in the lake." in error_of(result)
    source = archive(lake, to_table(make_values()))
    if read_from == "current":
        file = source.manifest.files[0].name
        for name in (file, "_manifest.json"):
            content = lake.read_bytes(f"{source.folder}/{name}")
            lake.write_bytes(f"{source.folder.replace('archive/', 'archive/current/')}/{name}", content)
    assert metadata_of(materialise(component))["dagster/row_count"] == 144
    graph = build_defs(component).resolve_asset_graph()
    assert graph.get(KEY).parent_keys == {dg.AssetKey([read_from, "shop", "main", "SensorReadings"])}


def test_refit_in_the_run_config_fits_again(shop_of_sensors: sqlite3.Connection, declare: Declare) -> None:
    component = declare(fit={"window_days": 7, "refit": "weekly"})
    config = {"ops": {"ml__anomalies__press": {"config": {"refit": True}}}}
    fitted = [metadata_of(materialise(component, run_config=c))["model_fitted_by_this_run"] for c in ({}, {}, config)]
    assert fitted == [True, False, True]


def test_every_asset_says_what_it_is(declare: Declare) -> None:
    component = declare(adf_pipeline="PL_DetectAnomalies", owners=["team:data-science"])
    graph = build_defs(component).resolve_asset_graph()
    for key in (KEY, WRITTEN):
        node = graph.get(key)
        assert "ADF: `PL_DetectAnomalies`: " in (node.description or "")
        assert (node.group_name, list(node.owners)) == ("anomalies", ["team:data-science"])
        assert isinstance(node.partitions_def, dg.DailyPartitionsDefinition)
    assert graph.get(WRITTEN).parent_keys == {KEY}


def test_the_schedule_asks_for_the_day_of_the_tick_and_is_off(declare: Declare) -> None:
    defs = build_defs(declare(schedule={"cron": "30 5 * * *"}))
    schedule = defs.resolve_schedule_def("detect_press")
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    tick = datetime(2026, 3, 11, 5, 30, tzinfo=timezone(timedelta(hours=13)))  # in UTC still the day before
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_schedule_context(
            instance, scheduled_execution_time=tick, repository_def=defs.get_repository_def()
        )
        (request,) = schedule.evaluate_tick(context).run_requests or []
    assert request.partition_key == DAY


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"variables": ["Pressure"]}, "variables is ['Pressure']; expected two columns or more"),
        ({"variables": ["Pressure", "Pressure"]}, "expected every column once"),
        ({"detect_days": 0}, "detect_days is 0; expected 1 or more"),
        ({"components": 1.0}, "components is 1.0; expected a share between 0 and 1"),
        ({"top_contributors": 0}, "top_contributors is 0; expected 1 or more"),
        ({"threshold": {"quantile": 1.5}}, "threshold.quantile is 1.5; expected above 0, at most 1"),
        ({"threshold": {"severity_halfway": 1.0}}, "threshold.severity_halfway is 1.0; expected above 1"),
        ({"align": {"fill": "fixed"}}, "align.padding_value is None; expected a number with `fill: fixed`"),
        ({"align": {"padding_value": 1.0}}, "align.padding_value is 1.0; expected a number with `fill: fixed`"),
        ({"align": {"every": "soon"}}, "align.every is 'soon'; expected a whole number and ms"),
        ({"align": {"every": "1h", "max_gap": "1min"}}, "align.max_gap is '1min'; expected at least `every`, 1h"),
        ({"fit": {"first_day": "2026-02-20"}}, "fit.last_day is None; expected a day as YYYY-MM-DD"),
        ({"fit": {"first_day": "May", "last_day": "2026-02-20"}}, "fit.first_day is 'May'; expected a day"),
        ({"fit": {"first_day": "2026-03-01", "last_day": "2026-02-01"}}, "expected a day up to `last_day`, 2026-02-01"),
        ({"fit": {"window_days": 0}}, "fit.window_days is 0; expected 1 or more"),
        ({"by": "severity"}, "by is 'severity'; expected none of the result's own columns"),
        ({"timestamp": "detectedat"}, "timestamp is 'detectedat'; expected none of the result's own columns"),
    ],
)
def test_what_cannot_be_is_refused_when_the_code_is_loaded(declare: Declare, changes: Any, said: str) -> None:
    with pytest.raises(dg.DagsterInvalidDefinitionError, match=re.escape(said)) as caught:
        build_defs(declare(**changes))
    assert str(caught.value).startswith("Detector press: ")


def test_mistakes_in_yaml_are_shown_with_line_and_what_there_is(tmp_path: Path) -> None:
    file = tmp_path / "defs.yaml"
    file.write_text(
        "type: adfml_assets.components.DetectedAnomalies\nattributes:\n  name: x\n  source: shop.main.T\n"
        "  timestamp: At\n  variables: [A, B]\n  align:\n    fil: linear\n  detect_days: two\n"
    )
    found = {(mistake.line, mistake.field): mistake.expected for mistake in find_mistakes(file)}
    assert found.keys() == {(8, "attributes.align.fil"), (9, "attributes.detect_days")}
    assert "Did you mean 'fill'?" in found[8, "attributes.align.fil"]


def test_the_demo_s_declaration_is_sound() -> None:
    file = Path(__file__).parents[2] / "adfml_assets/defs/PL_DetectAnomalies/defs.yaml"
    assert list(find_mistakes(file)) == []


def test_the_answer_has_the_retired_service_s_shape(lake: Lake) -> None:
    values = make_values()
    values[row_of(0.5), 1] += 5
    found = detect(lake, to_table(values))
    answer = build_answer(read_rows(lake, found))
    assert len(answer["results"]) == 144
    (worst,) = [result for result in answer["results"] if result["timestamp"] == f"{DAY}T12:00:00Z"]
    assert worst["errors"] == []
    assert worst["value"].keys() == {"isAnomaly", "severity", "score", "interpretation"}
    assert worst["value"]["isAnomaly"] is True
    assert worst["value"]["interpretation"][0]["variable"] == "Pressure"
    assert {entry["variable"] for entry in worst["value"]["interpretation"]} == set(VARIABLES)
    assert all(0 <= entry["contributionScore"] <= 1 for entry in worst["value"]["interpretation"])
