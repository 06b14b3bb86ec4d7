"""`adfml train`, `score` and `watch`: what is launched in the deployment at DAGSTER_HOME, and what is said of it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus
from typer.testing import CliRunner, Result

import resources.control
from adfml_cli import workflow
from adfml_cli.cli import app
from adfml_cli.watching import read_errors
from resources.control import ControlDatabase
from tests.workflow.conftest import DAY, JOB, Deployment, Told, build_small_definitions, register

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dagster")
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    return folder


@pytest.fixture
def at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    """The small deployment with its storage in DAGSTER_HOME, where the command finds it."""
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    told = Told()
    definitions = build_small_definitions(told)
    monkeypatch.setattr(workflow, "load_repository", definitions.get_repository_def)
    with dg.DagsterInstance.get() as instance:
        yield Deployment(told, definitions, instance)
        for backfill in instance.get_backfills():
            instance.update_backfill(backfill.with_status(BulkActionStatus.CANCELED))
        instance.wipe_assets(list(instance.all_asset_keys()))
        for version in instance.get_dynamic_partitions("sales_versions"):
            instance.delete_dynamic_partition("sales_versions", version)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def read_id(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.stdout.split()[1]


def end(deployment: Deployment, backfill_id: str, status: BulkActionStatus) -> None:
    backfill = deployment.instance.get_backfill(backfill_id)
    assert backfill is not None
    deployment.instance.update_backfill(backfill.with_status(status))


def test_train_hands_its_options_on_and_says_how_to_watch(at_home: Deployment) -> None:
    options = {
        "version": "12",
        "start-date": "2026-01-05",
        "end-date": "2026-02-28",
        "snapshot-date": DAY,
        "hyperparameters": '{"max_iter": 5}',
        "job": "4711",
        "source-database": "shop",
    }
    given = [text for name, value in options.items() for text in (f"--{name}", value)]
    result = call("train", "--model", "sales", *given)
    backfill_id = read_id(result)
    assert "ml/champions/sales 12, ml/models/sales 12" in result.stdout
    assert f"adfml watch {backfill_id}" in result.stdout
    assert "dagster-daemon run" in result.stdout, "no daemon runs here, and somebody has to know"
    backfill = at_home.instance.get_backfill(backfill_id)
    assert backfill is not None
    assert backfill.run_config == {
        "ops": {
            "ml__training_data__sales": {
                "config": {"snapshot_date": DAY, "start_date": "2026-01-05", "end_date": "2026-02-28"}
            },
            "ml__models__sales_job": {"config": {"hyperparameters": '{"max_iter": 5}', "job": "4711"}},
        }
    }
    assert "@" in (backfill.tags or {})["adfml/launched_by"]
    assert "archive/shop/main/Staff" in at_home.list_targets(backfill)


def test_score_hands_its_options_on(at_home: Deployment) -> None:
    backfill_id = read_id(call("score", "--model", "sales", "--day", DAY, "--version", "3", "--job", "score-it"))
    backfill = at_home.instance.get_backfill(backfill_id)
    assert backfill is not None
    assert backfill.run_config == {
        "ops": {
            "ml__scoring_input__sales": {"config": {"version": "3"}},
            "ml__scores__sales_job": {"config": {"job": "score-it"}},
        }
    }
    assert at_home.list_targets(backfill)["ml/scores/sales"] == [DAY]


def test_a_version_that_is_not_given_is_the_next_free_one(at_home: Deployment, control: ControlDatabase) -> None:
    assert "ml/models/sales 1," in call("train", "--model", "sales").stdout
    register(control, "sales", "9")
    assert "ml/models/sales 10," in call("train", "--model", "sales").stdout
    assert "ml/models/sales 11," in call("train", "--model", "sales").stdout
    now = datetime.now(UTC)
    asked = control.retrainings.request("sales", "ml/models/sales", ["11"], reason="r", cooldown=timedelta(1), now=now)
    assert asked is not None
    assert asked.version == "12"
    assert "ml/models/sales 13," in call("train", "--model", "sales").stdout


@pytest.mark.parametrize("kind", ["wait", "watch"])
def test_waiting_ends_with_the_backfill(at_home: Deployment, kind: str) -> None:
    known = {backfill.backfill_id for backfill in at_home.instance.get_backfills()}

    def finish() -> None:
        while not (new := {one.backfill_id for one in at_home.instance.get_backfills()} - known):
            time.sleep(0.05)
        end(at_home, new.pop(), BulkActionStatus.COMPLETED_SUCCESS)

    if kind == "wait":
        thread = threading.Thread(target=finish)
        thread.start()
        result = call("score", "--model", "sales", "--day", DAY, "--wait")
        thread.join()
    else:
        backfill_id = read_id(call("score", "--model", "sales", "--day", DAY))
        finish()
        result = call("watch", backfill_id)
    assert result.exit_code == 0, result.output
    assert "has ended well" in result.stdout


def test_all_remote_jobs_of_a_backfill_are_told_over_one_connection(
    at_home: Deployment, control: ControlDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    backfill_id = read_id(call("score", "--model", "sales", "--day", DAY))

    def submit(partition: str, backfill: str | None) -> None:
        control.ledger.open_job(
            asset="ml/scores/sales_job",
            collecting_asset="ml/scores/sales",
            partition=partition,
            service="databricks",
            request={},
            deadline=timedelta(hours=1),
            max_tries=1,
            run_id="r",
            backfill_id=backfill,
        )

    submit(DAY, backfill_id)
    for number in range(25):
        submit(f"other-{number}", None)
    built: list[str] = []
    build = resources.control.build_control_engine

    def count(url: str, timeout_seconds: int = 30) -> Any:
        built.append(url)
        return build(url, timeout_seconds)

    monkeypatch.setattr(resources.control, "build_control_engine", count)
    timer = threading.Timer(1.5, end, (at_home, backfill_id, BulkActionStatus.COMPLETED_SUCCESS))
    timer.start()
    result = call("watch", backfill_id)
    timer.join()
    assert f"ml/scores/sales_job|{DAY}|1  submitting" in result.stdout
    assert "other-" not in result.stdout
    assert len(built) == 1


def test_a_backfill_that_fails_ends_with_1_and_the_runs_say_why(at_home: Deployment) -> None:
    at_home.told.failing.add("archive/shop/main/Sales")
    backfill_id = read_id(call("score", "--model", "sales", "--day", DAY))
    tags = {"dagster/backfill": backfill_id}
    assert at_home.materialise(["incremental/shop/main/Sales"], DAY, tags=tags)
    assert not at_home.materialise(["archive/shop/main/Sales"], DAY, tags=tags)
    end(at_home, backfill_id, BulkActionStatus.COMPLETED_FAILED)
    result = call("watch", backfill_id)
    assert result.exit_code == 1
    assert "incremental/shop/main/Sales" in result.stdout
    assert result.stderr.strip() == "archive__shop__main__Sales: archive/shop/main/Sales cannot be made"


def test_a_check_that_blocks_says_what_it_found(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @dg.asset
    def model() -> None: ...

    @dg.asset_check(asset=model, blocking=True)
    def beats_champion() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False, description="Is worse than the champion.")

    @dg.asset_check(asset=model)
    def is_nice() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN, description="Not nice.")

    monkeypatch.setenv("DAGSTER_HOME", str(home))
    definitions = dg.Definitions(assets=[model], asset_checks=[beats_champion, is_nice])
    job = definitions.resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.get() as instance:
        done = job.execute_in_process(instance=instance, raise_on_error=False)
        assert not done.success
        assert list(read_errors(instance, done.dagster_run)) == [
            "model, check beats_champion: Is worse than the champion."
        ]


def test_what_is_there_already_is_said_and_is_no_mistake(at_home: Deployment) -> None:
    backfill_id = read_id(call("score", "--model", "sales", "--day", DAY))
    backfill = at_home.instance.get_backfill(backfill_id)
    assert backfill is not None
    at_home.finish(backfill)
    result = call("score", "--model", "sales", "--day", DAY, "--wait")
    assert (result.exit_code, result.stdout) == (0, f"Nothing to launch for score {DAY}, sales: everything is there.\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "--model", "sales", "--hyperparameters", "{"], "expected a JSON object"),
        (["train", "--model", "sale"], "model_name is 'sale'; expected one of: churn, sales"),
        (["train", "--model", "sales", "--end-date", "soon"], "end_date is 'soon'; expected a day as YYYY-MM-DD"),
        (["score", "--model", "sales", "--alias", "a", "--version", "1"], "expected none where model_version is given"),
        (
            ["score", "--model", "sales", "--workflow", "other"],
            f"There is no EndToEndWorkflow 'other'; declared are: {JOB}",
        ),
        (["watch", "nobody"], "There is no backfill 'nobody'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_is_one_sentence_and_nothing_is_launched(
    at_home: Deployment, arguments: list[str], said: str
) -> None:
    before = len(at_home.list_backfills())
    result = call(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert len(at_home.list_backfills()) == before


@pytest.mark.parametrize("home_of", ["unset", "relative", "empty"])
def test_a_deployment_that_is_not_there_is_said(home_of: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if home_of != "unset":
        monkeypatch.setenv("DAGSTER_HOME", "relative" if home_of == "relative" else str(tmp_path))
    result = call("score", "--model", "sales")
    assert result.exit_code == 1
    expected = {"unset": "DAGSTER_HOME is not set", "relative": "an absolute path", "empty": "has no dagster.yaml"}
    assert expected[home_of] in result.stderr


def test_several_workflows_have_to_be_named(at_home: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    from adfml_assets.components.end_to_end_workflow import EndToEndWorkflow

    other = EndToEndWorkflow(name="other", train="group:features", score="group:features").build_defs(None)  # type: ignore[arg-type]
    both = dg.Definitions.merge(at_home.definitions, other)
    monkeypatch.setattr(workflow, "load_repository", both.get_repository_def)
    result = call("score", "--model", "sales")
    assert result.exit_code == 1
    assert f"Name the workflow by --workflow; declared are: other, {JOB}." in result.stderr
    assert call("score", "--model", "sales", "--workflow", JOB).exit_code == 0


def test_where_no_workflow_is_declared_everything_is_meant(
    at_home: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = dg.Definitions(assets=at_home.definitions.assets, resources=at_home.definitions.resources)
    monkeypatch.setattr(workflow, "load_repository", alone.get_repository_def)
    result = call("score", "--model", "sales")
    assert result.exit_code == 0, result.stderr
    assert "ml/scores/sales" in result.stdout
    assert call("score", "--model", "sales", "--workflow", JOB).exit_code == 1


def test_the_command_launches_what_this_deployment_declares(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    environment = {**os.environ, "DAGSTER_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "adfml_cli", "train", "--model", "sales_forecast"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        (backfill,) = instance.get_backfills()
        assert (backfill.tags or {})["adfml/workflow"] == "PL_EndToEnd_ML_Workflow"
    assert backfill.backfill_id in done.stdout
    assert "ml/models/sales_forecast 1" in done.stdout
