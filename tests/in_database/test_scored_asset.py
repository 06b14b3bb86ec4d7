"""A model that is declared to score inside its database: one asset, its check, and what both say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from adfml_assets.asset_keys import champion_key, model_key, table_key
from adfml_assets.components.drift import Drift
from adfml_assets.components.in_database_engine import InDatabaseEngine
from adfml_assets.components.scored_model import ScoringQuery, WriteBack
from adfml_assets.declarations import check_declarations
from adfml_assets.errors import DeclarationInvalid
from tests.conftest import TODAY
from tests.in_database.scored import Place, open_place, predict, put_version, train

TABLE = table_key("shop", "main", "Predictions")
ROWS = [(1, 1.5, 3), (2, None, 7), (3, -20.0, None)]


@pytest.fixture
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with open_place("sqlite", request, monkeypatch) as opened:
        opened.make_table()
        put_version(opened.lake, opened.control, train())
        yield opened


def read_metadata(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (event,) = result.get_asset_materialization_events()
    return {name: found.value for name, found in event.materialization.metadata.items()}


def read_failure(result: dg.ExecuteInProcessResult) -> str:
    error = result.get_step_failure_events()[0].step_failure_data.error
    assert error is not None
    return str(error.cause.message if error.cause else error.message)


def test_there_is_one_asset_of_the_champion_and_of_the_table(place: Place) -> None:
    defs = dg.build_defs_for_component(place.declare())
    (asset,) = defs.assets or []
    assert asset.keys == {TABLE}
    assert set(asset.asset_deps[TABLE]) == {champion_key("spend"), table_key("shop", "main", "Waiting")}
    mapping = asset.get_partition_mapping(champion_key("spend"))
    assert isinstance(mapping, dg.LastPartitionMapping)
    (check,) = defs.asset_checks or []
    (spec,) = check.check_specs
    assert (spec.asset_key, spec.name, spec.blocking) == (TABLE, "in_database_or_external", False)
    (by_version,) = dg.build_defs_for_component(place.declare(version="3")).assets or []
    assert model_key("spend") in by_version.asset_deps[TABLE]


def test_a_run_says_what_it_did_and_the_check_whether_it_is_the_place(place: Place) -> None:
    place.add(*ROWS)
    result = place.materialise()
    assert place.read_scores() == pytest.approx(predict(ROWS), rel=1e-12)
    said = read_metadata(result)
    assert said["dagster/row_count"] == said["inserted"] == said["compared_rows"] == 3
    assert (said["model_version"], said["model_alias"], said["way"]) == ("1", "champion", "compiled")
    assert said["platform"].startswith("SQLite 3.")
    assert said["way_reason"] == f"{said['platform']} has compiled SQL for this model."
    assert said["Waiting.ScoredDate"] == "3 rows set"
    assert said["largest_difference"] < 1e-12
    assert said["sql_characters"] > 4_000
    assert said["sql"].startswith("```sql\nWITH")
    assert said["sql"].endswith(" ...\n```")
    assert len(said["sql"]) < 4_050
    assert all(said[f"seconds_to_{step}"] >= 0 for step in ("compare", "score", "write"))
    (check,) = result.get_asset_check_evaluations()
    assert (check.passed, check.severity) == (True, dg.AssetCheckSeverity.WARN)
    assert check.description == "shop.main.Waiting has 3 rows: not more than 1,000,000."
    assert "| **rows** (decides) | in database | shop.main.Waiting has 3 rows" in str(check.metadata["reasons"].value)


def test_a_run_without_rows_says_so_and_one_may_choose_its_version(place: Place) -> None:
    assert read_metadata(place.materialise())["note"] == "No row waits to be scored."
    put_version(place.lake, place.control, train(1), "2", alias="challenger")
    place.add(*ROWS)
    said = read_metadata(place.materialise(config={"alias": "challenger"}))
    assert (said["model_version"], said["model_alias"]) == ("2", "challenger")
    place.add((4, 1.0, 1))
    said = read_metadata(place.materialise(config={"version": "2"}))
    assert (said["model_version"], said["dagster/row_count"]) == ("2", 1)


def test_a_past_day_is_refused_or_left_as_it_was_written(place: Place) -> None:
    place.add(*ROWS)
    said = read_failure(place.materialise("2026-03-09", fails=True))
    assert "shop.main.Waiting, 2026-03-09: no records were read that day, and it has passed" in said
    place.materialise()
    before = place.fetch('SELECT * FROM "Predictions"')
    place.execute("""UPDATE "Predictions" SET "SnapshotDate" = '2026-03-09' WHERE "RecordId" < 3""")
    place.add((7, 1.0, 1))
    said = read_metadata(place.materialise("2026-03-09"))
    assert said == {
        "dagster/row_count": 2,
        "note": "The day is over: what was written then was left as it is.",
    }
    assert len(place.fetch('SELECT * FROM "Predictions"')) == len(before)
    assert "it has passed" in read_failure(place.materialise("2026-03-08", fails=True))
    assert place.read_dates()[7] is None


def test_the_check_warns_where_the_model_should_rather_run_outside(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adfml_assets.in_database import advisor

    monkeypatch.setattr(advisor, "MANY_ROWS", 2)
    place.add(*ROWS)
    (check,) = place.materialise().get_asset_check_evaluations()
    assert (check.passed, check.severity, check.blocking) == (False, dg.AssetCheckSeverity.WARN, False)
    assert check.metadata["engine"].value == "databricks"
    # Where no row may leave there is no other place.
    place.add((4, 1.0, 1))
    inside = InDatabaseEngine("in_database", verify="synthetic")
    (check,) = place.materialise(engine=inside).get_asset_check_evaluations()
    assert check.passed
    assert check.description == "Rows may not leave the database; that goes before everything else."


@pytest.mark.parametrize(
    ("values", "field", "expected"),
    [
        ({"from_query": None, "from_features": "customers"}, "from_features", "from_query in its place"),
        (
            {"write_back": WriteBack("crm.main.Predictions")},
            "write_back.table",
            "a table of shop, the database that from_query reads",
        ),
        ({"drift": Drift()}, "drift", "Watch drift by an engine outside"),
        ({"engine": InDatabaseEngine("in_database", sample_rows=0)}, "engine.sample_rows", "verify: synthetic"),
        ({"engine": InDatabaseEngine("in_database", sample_rows=-1)}, "engine.sample_rows", "1 or more"),
        ({"engine": InDatabaseEngine("in_database", tolerance=0.5)}, "engine.tolerance", "up to 0.01"),
    ],
)
def test_what_cannot_be_declared_is_refused(place: Place, values: dict[str, Any], field: str, expected: str) -> None:
    with pytest.raises(DeclarationInvalid) as refused:
        place.declare(**values)
    assert refused.value.field == field
    assert expected in refused.value.expected


def test_it_is_declared_in_yaml(tmp_path: Path) -> None:
    file = tmp_path / "defs.yaml"
    text = """
type: adfml_assets.components.ScoredModel
attributes:
  name: spend
  from_query: { table: shop.dbo.Waiting, key: Id, where: ScoredDate IS NULL, scored_date: ScoredDate }
  engine: { service: in_database, way: compiled, verify: synthetic, sample_rows: 0, tolerance: 1.0e-9 }
  write_back: { table: shop.dbo.Predictions, keys: [RecordId, ModelName] }
"""
    file.write_text(text)
    check_declarations(tmp_path)
    file.write_text(text.replace("way: compiled", "way: sql"))
    with pytest.raises(Exception, match=r"engine.way: expected 'auto', 'compiled', 'predict' or 'external_script'"):
        check_declarations(tmp_path)


def test_a_query_of_another_table_is_named_as_the_asset_it_depends_on(place: Place) -> None:
    query = ScoringQuery("shop.main.Elsewhere", "Id")
    (asset,) = dg.build_defs_for_component(place.declare(from_query=query)).assets or []
    assert table_key("shop", "main", "Elsewhere") in asset.asset_deps[TABLE]
    assert asset.partitions_def is not None
    assert asset.partitions_def.has_partition_key(TODAY)
