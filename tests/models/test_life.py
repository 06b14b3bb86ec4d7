"""From a training job's end to the champion: what passes, what is refused, and what a repetition changes."""

from __future__ import annotations

from typing import Any

import pytest

from adfml_assets import lake_layout, remote_assets
from resources.manifest import read_manifest
from tests.models.bench import (
    CHAMPION,
    NAME,
    TRAINED,
    ModelBench,
    compare,
    compare_champion,
    describe_failures,
    read_checks,
)
from tests.models.conftest import MODEL, record


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModelBench:
    monkeypatch.setenv("ADFML_DATABRICKS_HOST", "https://adb-1.azuredatabricks.net")
    return ModelBench()


def read_metadata(result: Any, key: Any) -> dict[str, Any]:
    (event,) = [e for e in result.get_asset_materialization_events() if e.asset_key == key]
    return {name: value.value for name, value in event.materialization.metadata.items()}


def test_the_first_version_that_beats_the_baselines_is_champion(bench: ModelBench) -> None:
    result = bench.train("1")
    assert read_checks(result) == {
        "beats_baseline": (
            True,
            "Beats baseline median: test mae 10, baseline median 15, improvement 5 ± 1 (standard error), needed more "
            "than 1.64485 (1.645 standard errors, confidence 0.95).",
        ),
        "beats_champion": (True, "There is no champion yet."),
    }
    assert bench.models.aliases(MODEL) == {"champion": "1"}
    found = bench.models.get(MODEL, "1")
    assert (found.verdict, found.model_file, found.registered_name) == ("passed", "model.skops", NAME)
    assert len(found.model_sha256) == 64
    shown = read_metadata(result, CHAMPION)
    assert (shown["champion"], shown["previous_champion"]) == ("1", "none")
    told = f"told: champion of {NAME} is version 101; challenger of {NAME} taken away"
    assert shown["unity_catalog"] == told
    assert bench.catalog.aliases == {(NAME, "champion"): 101}
    model = read_metadata(result, TRAINED)
    assert (model["test_mae"], model["verdict"], model["alias"]) == (10.0, "passed", "challenger")
    assert "test_r2" not in model


def test_a_better_version_follows_and_is_compared_with_the_champion(bench: ModelBench) -> None:
    bench.train("1")
    result = bench.train("2", references=compare_champion("1"))
    assert bench.models.aliases(MODEL) == {"champion": "2"}
    shown = read_metadata(result, CHAMPION)
    assert shown["previous_champion"] == "1"
    assert [r.data["version"] for r in shown["versions"].records] == ["2", "1"]
    assert shown["metric_over_versions"].startswith("![test mae over versions](data:image/png;base64,")
    assert bench.models.get(MODEL, "2").compared_to == "1"
    assert bench.catalog.aliases == {(NAME, "champion"): 102}


@pytest.mark.parametrize(
    ("references", "check", "reason"),
    [
        ({"median": {"kind": "baseline", **compare(-1.0)}}, "beats_baseline", "Does not beat baseline median"),
        (compare_champion("1", -1.0), "beats_champion", "Is worse than the champion, version 1"),
        (compare_champion("7"), "beats_champion", "It was compared with version 7, and version 1 is champion now"),
    ],
)
def test_a_refused_version_is_no_champion_and_stays_with_the_reason(
    bench: ModelBench, references: dict[str, Any], check: str, reason: str
) -> None:
    bench.train("1")
    result = bench.train("2", fails=True, references=references)
    passed, said = read_checks(result)[check]
    assert not passed
    assert said.startswith(reason)
    assert [e.asset_key for e in result.get_asset_materialization_events()] == [TRAINED]
    assert bench.models.aliases(MODEL) == {"champion": "1"}
    found = bench.models.get(MODEL, "2")
    assert found.verdict == "refused"
    assert reason in str(found.reason)
    assert read_manifest(bench.lake, lake_layout.model_folder(MODEL, "2")) is not None
    alone = bench.run("2", CHAMPION, fails=True)
    assert "is not promoted: the gate refused it. " in describe_failures(alone)
    assert reason in describe_failures(alone)


def test_collecting_again_changes_nothing_more(bench: ModelBench) -> None:
    bench.train("1")
    bench.train("2", references=compare_champion("1"))
    before, calls = bench.models.list_changes(MODEL), list(bench.catalog.calls)
    bench.collect("2")
    # Judged anew, version 1 would be refused: it was never compared with version 2.
    result = bench.run("1", TRAINED)
    assert all(passed for passed, _ in read_checks(result).values())
    assert bench.models.list_changes(MODEL) == before
    assert bench.catalog.calls == calls


def test_an_old_version_does_not_become_champion_again(bench: ModelBench) -> None:
    bench.train("1")
    bench.train("2", references=compare_champion("1"))
    result = bench.run("1", CHAMPION, fails=True)
    assert "it was compared with no champion, and version 2 is champion now" in describe_failures(result)
    assert bench.models.aliases(MODEL) == {"champion": "2"}


def test_what_was_rolled_back_is_not_promoted_by_a_run_that_is_repeated(bench: ModelBench) -> None:
    bench.train("1")
    bench.train("2", references=compare_champion("1"))
    bench.models.rollback(MODEL, "alice", "It scores zeros.")
    result = bench.collect("2", fails=True)
    assert "was rolled back by alice" in describe_failures(result)
    assert bench.models.aliases(MODEL) == {"champion": "1"}


def test_of_two_trained_at_once_the_later_one_is_stale(bench: ModelBench) -> None:
    bench.train("1")
    for version in ("2", "3"):
        bench.submit(version)
        bench.end_job(version, references=compare_champion("1"))
    bench.collect("3")
    result = bench.collect("2", fails=True)
    assert (
        "compared with version 1, and version 3 is champion now. Train again"
        in read_checks(result)["beats_champion"][1]
    )
    assert bench.models.aliases(MODEL) == {"champion": "3"}


def test_a_champion_that_comes_between_judging_and_promoting_is_seen(bench: ModelBench) -> None:
    bench.train("1")
    bench.submit("2")
    bench.end_job("2", references=compare_champion("1"))
    bench.run("2", TRAINED)
    assert bench.models.aliases(MODEL) == {"champion": "1", "challenger": "2"}
    bench.models.register(record("9"))
    bench.models.promote(MODEL, "9", "alice", "urgent", force=True)
    result = bench.run("2", CHAMPION, fails=True)
    assert "it was compared with version 1, and version 9 is champion now" in describe_failures(result)


def test_a_run_that_comes_too_early_judges_and_promotes_nothing(
    bench: ModelBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What it leaves undone is read from the code location, which a run in this process does not have.
    monkeypatch.setattr(remote_assets, "_find_undone", lambda context: [])
    bench.submit("1")
    result = bench.collect("1")
    assert result.get_asset_materialization_events() == []
    assert read_checks(result) == {}
    assert bench.models.list_versions(MODEL) == []
    bench.end_job("1")
    bench.collect("1")
    assert bench.models.aliases(MODEL) == {"champion": "1"}


def test_a_process_that_dies_after_registering_is_followed_by_one_that_judges(bench: ModelBench) -> None:
    bench.submit("1")
    bench.end_job("1")
    job = bench.control.ledger.find_latest(TRAINED.to_user_string(), "1")
    assert job is not None
    registered = record("1", submission_key=job.submission_key, model_sha256="0" * 64)
    bench.models.register(registered)
    result = bench.run("1", CHAMPION, fails=True)
    assert "the gate has not judged it" in describe_failures(result)
    bench.collect("1")
    assert bench.models.aliases(MODEL) == {"champion": "1"}


@pytest.mark.parametrize("file", ["model.onnx", "model.pkl"])
def test_model_files_of_other_kinds_are_registered_with_their_hash(bench: ModelBench, file: str) -> None:
    bench.train("1", model_file=file, content=b"model")
    found = bench.models.get(MODEL, "1")
    assert (found.model_file, found.model_sha256) == (
        file,
        "9372c470eeadd5ecd9c3c74c2b3cb633f8e2f2fad799250a0f70d652b6b825e4",
    )


@pytest.mark.parametrize(
    ("left", "message"),
    [
        (
            {"model_file": "model.joblib"},
            "expected model.skops or model.onnx or model.pkl, found 'model.jo",
        ),
        ({"model_sha256": "0" * 64}, "expected sha256 0000"),
        ({"metrics": None}, "expected metrics in it, found none"),
        ({"features_sha256": ""}, "expected features_sha256 in it"),
        ({"features": None}, "expected features in it, found none"),
        (
            {"features": "recency"},
            "metadata.json: features: expected a list of the features' names, in the model's order",
        ),
        ({"metrics": [1.5]}, "metadata.json: metrics: expected an object, such as"),
    ],
)
def test_a_model_that_is_not_whole_is_not_registered(bench: ModelBench, left: dict[str, Any], message: str) -> None:
    bench.submit("1")
    bench.end_job("1", **left)
    result = bench.collect("1", fails=True)
    assert message in describe_failures(result)
    assert bench.models.list_versions(MODEL) == []


def test_a_job_that_is_not_ours_is_judged_by_what_it_left(bench: ModelBench) -> None:
    bench.train("1", references=None, baseline={"name": "last year", "test": {"mae": 12.0}})
    assert bench.models.aliases(MODEL) == {"champion": "1"}
    result = bench.train("2", fails=True, references=None)
    assert "it lacks `references` with baselines" in read_checks(result)["beats_baseline"][1]


def test_a_job_may_leave_more_than_numbers_under_its_metrics(bench: ModelBench) -> None:
    tests = {"mae": 10.0, "mae_by_country": {"UK": 9.0}, "confusion": [[1, 2], [3, 4]], "calibrated": True, "r2": None}
    result = bench.train("1", metrics={"test": tests})
    shown = read_metadata(result, TRAINED)
    assert {name for name in shown if name.startswith("test_")} == {"test_mae"}
    assert bench.models.aliases(MODEL) == {"champion": "1"}


def test_unity_catalog_is_told_later_where_it_does_not_answer(bench: ModelBench) -> None:
    from databricks.sdk.errors import PermissionDenied

    bench.catalog.error = PermissionDenied("User is not an owner of Routine or Model 'main.ml.sales'.")
    result = bench.train("1")
    shown = read_metadata(result, CHAMPION)
    assert shown["unity_catalog"].startswith("not told yet: Unity Catalog at https://adb-1.azuredatabricks.net refused")
    logged = [record.user_message for record in bench.instance.all_logs(result.run_id)]
    assert any("Version 1 is champion, but Unity Catalog does not know of it yet" in line for line in logged)
    assert bench.models.aliases(MODEL) == {"champion": "1"}
    assert bench.catalog.aliases == {}
    bench.catalog.error = None
    bench.collect("1")
    assert bench.catalog.aliases == {(NAME, "champion"): 101}
    assert bench.models.list_unmirrored(MODEL) == []
