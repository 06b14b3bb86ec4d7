"""Which version scores: an alias or a version, resolved once, and said by every score."""

from __future__ import annotations

from datetime import date

import pyarrow as pa
import pytest

from adfml_assets import lake_layout
from adfml_assets.components.scored_model import ScoringQuery
from adfml_assets.errors import DeclarationInvalid
from resources.manifest import commit_manifest
from tests.conftest import TODAY
from tests.scoring.conftest import MODEL, MakeSite, Site, declare, make_features, put_features, put_model

SAID = ("model", "version", "alias", "feature_snapshot")


def say(site: Site) -> set[tuple[object, ...]]:
    table, _ = site.read_scores()
    return {tuple(row[name] for name in SAID) for row in table.to_pylist()}


def test_the_champion_scores_and_every_score_says_so(site: Site) -> None:
    site.score()
    table, manifest = site.read_scores()
    assert table["score"].to_pylist() == [2.5, 5.0, 7.5]
    assert say(site) == {(MODEL, "1", "champion", date.fromisoformat(TODAY))}
    expected = {"model": MODEL, "version": "1", "alias": "champion", "feature_snapshot": TODAY}
    assert {name: manifest.facts[name] for name in expected} == expected
    assert manifest.facts["origins"]["score"] == [
        ["ml/scoring_input/spend", "recency"],
        ["ml/scoring_input/spend", "amount"],
    ]
    (request,) = site.service.submitted
    asked = request["parameters"]
    assert {name: asked[name] for name in ("model_version", "model_alias", "feature_snapshot", "model_sha256")} == {
        "model_version": "1",
        "model_alias": "champion",
        "feature_snapshot": TODAY,
        "model_sha256": "1".zfill(64),
    }


def test_a_declared_version_scores_whatever_is_champion(make_site: MakeSite, shop: object) -> None:
    site = make_site(version="1")
    put_features(site.lake, make_features())
    put_model(site.lake, site.control, "1", alias=None)
    put_model(site.lake, site.control, "2")
    site.run("input", "job")
    put_model(site.lake, site.control, "3")
    site.settle()
    site.run("scores")
    assert say(site) == {(MODEL, "1", "", date.fromisoformat(TODAY))}


@pytest.mark.parametrize(
    ("config", "version", "alias"),
    [({"version": "2"}, "2", ""), ({"alias": "challenger"}, "3", "challenger"), ({}, "1", "champion")],
)
def test_a_run_chooses_for_itself(site: Site, config: dict[str, str], version: str, alias: str) -> None:
    put_model(site.lake, site.control, "2", alias=None)
    put_model(site.lake, site.control, "3", alias="challenger")
    result = site.run("input", "job", config=config)
    facts = site.read_input()[1].facts
    assert (facts["model_version"], facts["model_alias"]) == (version, alias)
    shown = result.asset_materializations_for_node(f"ml__scoring_input__{MODEL}")[0].metadata
    assert (shown["model_version"].value, shown["verdict"].value) == (version, "not judged")
    site.settle()
    site.run("scores")
    assert say(site) == {(MODEL, version, alias, date.fromisoformat(TODAY))}


def test_both_in_a_run_and_what_does_not_exist_are_refused(site: Site) -> None:
    said = site.fail("input", config={"alias": "champion", "version": "1"})
    assert "the run's config names alias 'champion' and version '1'; expected one of the two" in said
    said = site.fail("input", config={"alias": "shadow"})
    assert "No version of model spend is 'shadow' (aliases: champion -> 1" in said
    assert "There is no version '9' in model spend" in site.fail("input", config={"version": "9"})


def test_a_champion_that_changes_in_mid_flight_changes_nothing(site: Site) -> None:
    site.run("input", "job")
    put_model(site.lake, site.control, "2", features=("amount", "recency", "new"))
    site.settle()
    site.run("scores", "table")
    assert say(site) == {(MODEL, "1", "champion", date.fromisoformat(TODAY))}
    assert site.read_scores()[1].facts["version"] == "1"


def test_a_champion_that_changed_before_the_submission_is_said_in_one_sentence(site: Site) -> None:
    site.run("input")
    put_model(site.lake, site.control, "2")
    reason = "the scoring input was made for version 1, and 'champion' is version 2 now"
    wanted = f"Model spend, {TODAY}: {reason}; materialise the scoring input of that day again."
    assert site.fail("job").strip().endswith(wanted)
    site.control.models.point(MODEL, "champion", None, "r", "test")
    assert "'champion' is no version any more" in site.fail("job")
    assert site.service.submitted == []
    site.control.models.point(MODEL, "champion", "2", "r", "test")
    site.run("input", "job")
    assert site.service.submitted[0]["parameters"]["model_version"] == "2"


def test_an_input_that_does_not_say_its_version_is_made_again(site: Site) -> None:
    site.run("input")
    _, manifest = site.read_input()
    folder = f"ml/scoring-input/{MODEL}/{TODAY.replace('-', '/')}"
    old = manifest.model_copy(update={"facts": {"key": "CustomerId", "feature_date": "2026-03-09"}})
    commit_manifest(site.lake, folder, old)
    for step in ("job", "scores"):
        assert "the scoring input does not say which version it was made for; materialise" in site.fail(step)


def test_scores_of_another_input_are_not_collected(site: Site) -> None:
    site.run("input", "job")
    site.settle()
    put_features(site.lake, make_features(4))
    site.run("input")
    said = site.fail("scores")
    assert "the scoring input was made anew after job ml/scores/spend_job|2026-03-10|1 was submitted" in said
    site.run("job")
    site.settle()
    site.run("scores")
    assert site.read_scores()[0].num_rows == 4


def test_scores_that_cannot_be_used_are_not_taken_for_the_earlier_ones_of_the_day(site: Site) -> None:
    site.score()
    site.run("job")
    site.settle()
    path = f"{lake_layout.scores_folder(MODEL, TODAY)}/predictions.parquet"
    written = site.lake.read_table(path)
    unknown = pa.array([float("nan")] * written.num_rows)
    site.lake.write_table(path, written.set_column(written.column_names.index("score"), "score", unknown))
    assert "expected a finite score in every row" in site.fail("scores")
    assert "ml/scores/spend has no partition 2026-03-10 in the lake" in site.fail("table")


def test_a_run_names_the_job(site: Site) -> None:
    site.run("input")
    site.run("job", config={"job": "4711"})
    assert site.service.submitted[0]["job"] == "4711"


def test_what_cannot_be_is_refused_when_it_is_declared() -> None:
    query = ScoringQuery("shop.main.T", "Id")
    for values, message in (
        ({"from_features": None}, "from_features is 'neither'; expected from_features or from_query, one of both"),
        ({"from_query": query}, "from_features is 'both'"),
        (
            {"from_features": None, "from_query": ScoringQuery("shop.main.Predictions", "Id")},
            "write_back.table is 'shop.main.Predictions'; expected another table than from_query reads",
        ),
        ({"alias": "champion", "version": "3"}, "version is '3'; expected alias or version, not both"),
        ({"alias": "v3"}, "alias is 'v3'; expected an alias"),
        ({"version": " "}, "version is ' '; expected a version of the model"),
    ):
        with pytest.raises(DeclarationInvalid, match=message):
            declare(**values)
    with pytest.raises(DeclarationInvalid, match=r"table is 'T'; expected database\.schema\.table"):
        ScoringQuery("T", "Id")
    with pytest.raises(DeclarationInvalid, match="scored_date is 'Id'; expected another column than the key"):
        ScoringQuery("shop.main.T", "Id", scored_date="Id")


def test_an_empty_day_is_scored_without_a_job(site: Site) -> None:
    put_features(site.lake, make_features(0))
    site.score()
    table, manifest = site.read_scores()
    assert (table.num_rows, manifest.facts["version"], site.service.submitted) == (0, "1", [])
    assert manifest.facts["feature_snapshot"] == TODAY
    put_features(site.lake, make_features(0), feature_date=None)
    site.run("input")
    assert site.read_input()[0].num_rows == 0


def test_the_distribution_of_the_scores_is_shown(site: Site) -> None:
    site.run("input", "job")
    site.settle()
    result = site.run("scores")
    shown = {
        name: value.value
        for name, value in result.asset_materializations_for_node(f"ml__scores__{MODEL}")[0].metadata.items()
    }
    assert (shown["min_score"], shown["p50_score"], shown["mean_score"], shown["max_score"]) == (2.5, 5.0, 5.0, 7.5)
    assert str(shown["score_distribution"]).startswith("![distribution of the scores](data:image/png;base64,")
    said = ("model_version", "model_alias", "feature_snapshot", "dagster/row_count")
    assert [shown[name] for name in said] == ["1", "champion", TODAY, 3]
