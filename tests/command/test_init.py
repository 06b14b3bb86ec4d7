"""`adfml init`: a new pipeline is valid at once, whole or not there, and never in place of another."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from adfml_cli import declared, new_pipeline, workflow
from adfml_cli.errors import CommandFailed
from tests.command.conftest import call

ROOT = Path(__file__).resolve().parent.parent.parent
WRITE_ALL = """
from adfml_cli import declared, new_pipeline
for number, template in enumerate(new_pipeline.TAKES):
    name = f"new_{template}"
    given = {} if template == "workflow" else {"database": "crm", "tables": [f"dbo.Things{number}"]}
    if template == "score":
        given |= {"model": "new_model", "features": "new_features"}
    files = new_pipeline.render(name, template, new_pipeline.fill(name, template, given))
    new_pipeline.write_folder(declared.DEFS / name, files)
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, to declare in."""
    folder = tmp_path_factory.mktemp("tree")
    for name in ("adfml_assets", "adfml_cli", "resources", "sensors", "workloads"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "workspace.yaml"):
        shutil.copy(ROOT / name, folder)
    return folder


def run(tree: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "VIRTUAL_ENV": sys.prefix, "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}"}
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=200, check=False)


def test_every_template_is_taken_by_dg_check_and_by_the_linter(tree: Path) -> None:
    written = run(tree, sys.executable, "-c", WRITE_ALL)
    assert written.returncode == 0, written.stderr
    checked = run(tree, f"{sys.prefix}/bin/dg", "check", "defs")
    assert checked.returncode == 0, checked.stderr + checked.stdout
    for arguments in (("check",), ("format", "--check")):
        linted = run(tree, f"{sys.prefix}/bin/ruff", *arguments, "adfml_assets/defs")
        assert linted.returncode == 0, linted.stdout


def test_the_command_makes_a_pipeline_and_refuses_another_in_its_place(tree: Path) -> None:
    command = [sys.executable, "-m", "adfml_cli", "init", "calls", "--template", "archive", "--database", "erp"]
    made = run(tree, *command, "--table", "dbo.Calls", "--table", "dbo.Notes", "--json")
    assert made.returncode == 0, made.stderr
    document = json.loads(made.stdout)
    assert (document["files"], document["not_given"]) == (["defs.yaml"], {"owner": "team:data-platform"})
    text = (tree / "adfml_assets/defs/calls/defs.yaml").read_text()
    assert "database: erp # its address is in ADFML_ERP_URL" in text
    assert "- table: dbo.Notes" in text
    # Dagster would load it, and then run nothing any more: both would be archived by a step of one name.
    other = run(tree, *command[:4], "more_calls", *command[5:], "--table", "dbo.Others")
    assert other.returncode != 0
    assert "it was taken away again" in other.stderr
    assert "tables of database 'erp' are archived whole by " in other.stderr
    assert not (tree / "adfml_assets/defs/more_calls").exists()


FEATURES = """\
type: adfml_assets.components.FeatureSet
attributes:
  name: account_features
  function: somewhere.build
  tables:
    accounts: crm.main.Accounts
    orders: { table: crm.main.Orders, timestamp: PlacedAt }
  key: AccountId
  owners: ["team:sales"]
"""


def test_a_model_and_its_scores_take_from_the_feature_set_what_it_says(defs: Path) -> None:
    (defs / "account_features").mkdir()
    (defs / "account_features/defs.yaml").write_text(FEATURES)
    given = {"features": "account_features"}
    model = new_pipeline.render("churn", "model", new_pipeline.fill("churn", "model", given))
    assert "events: crm.main.Orders" in model["defs.yaml"]
    assert 'owners: ["team:sales"]' in model["defs.yaml"]
    assert '_["PlacedAt"]' in model["label.py"]
    assert '"AccountId"' in model["label.py"]
    scores = new_pipeline.render("scores", "score", new_pipeline.fill("scores", "score", {**given, "model": "churn"}))
    assert "table: crm.main.Predictions" in scores["defs.yaml"]
    assert "keys: [RecordId, ModelName]" in scores["defs.yaml"]


@pytest.fixture
def defs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "adfml_assets" / "defs"
    folder.mkdir(parents=True)
    monkeypatch.setattr(declared, "DEFS", folder)
    monkeypatch.setattr(workflow, "load_repository", lambda: None)
    return folder


def test_a_folder_that_is_there_stays_as_it_is(defs: Path) -> None:
    arguments = ("init", "calls", "--template", "incremental", "--watermark", "ChangedAt")
    assert call(*arguments).exit_code == 0
    text = (defs / "calls" / "defs.yaml").read_text()
    assert "watermark: ChangedAt" in text
    again = call("init", "calls", "--template", "text")
    assert (again.exit_code, again.stdout) == (1, "")
    assert "is there already, and stays as it is: choose another name." in again.stderr
    assert (defs / "calls" / "defs.yaml").read_text() == text
    assert [one.name for one in defs.parent.iterdir()] == ["defs"], "nothing is left beside it"


def test_what_was_not_given_is_said(defs: Path) -> None:
    said = call("init", "visits", "--template", "features", "--table", "web.Visits", "--key", "Visitor").stdout
    assert "not given: --timestamp; OrderedAt stands in its place" in said
    assert "not given: --key" not in said


def test_what_the_model_and_its_features_say_is_taken_from_them(defs: Path) -> None:
    given = ("--database", "crm", "--table", "main.Orders", "--key", "AccountId", "--timestamp", "PlacedAt")
    assert call("init", "account_features", "--template", "features", *given, "--owner", "team:sales").exit_code == 0
    made = call("init", "spend", "--template", "model", "--features", "account_features").stdout
    assert (
        "taken from what is declared: --database crm, --table main.Orders, --timestamp PlacedAt, --key AccountId, "
        "--owner team:sales\n"
    ) in made
    assert "not given" not in made
    scored = call("init", "spend_scores", "--template", "score", "--model", "spend").stdout
    assert "taken from what is declared: --features account_features, --database crm, --owner team:sales\n" in scored
    assert "not given: --table; main.Predictions stands in its place" in scored
    written = (defs / "spend_scores" / "defs.yaml").read_text()
    assert "from_features: account_features" in written
    assert "table: crm.main.Predictions" in written


def test_where_somebody_stops_it_nothing_stays(defs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(workflow, "load_repository", stop)
    assert call("init", "calls", "--template", "archive").exit_code != 0
    assert list(defs.iterdir()) == []


def test_where_the_deployment_does_not_load_nothing_stays(defs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise CommandFailed("The definitions cannot be loaded.")

    monkeypatch.setattr(workflow, "load_repository", fail)
    result = call("init", "calls", "--template", "archive")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "With calls the definitions cannot be loaded; it was taken away again.",
        "The definitions cannot be loaded.",
    ]
    assert list(defs.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("my-calls", "--template", "archive"), "'my-calls' cannot be a pipeline's name: expected letters, digits"),
        (("class", "--template", "archive"), "'class' cannot be a pipeline's name"),
        (("../up", "--template", "archive"), "'../up' cannot be a pipeline's name"),
        (("calls", "--template", "archiv"), "--template is 'archiv': expected one of archive, incremental"),
        (("calls", "--template", "archive", "--text", "Note"), "Template archive does not take --text: it takes"),
        (("calls", "--template", "text", "--table", "a.b", "--table", "a.c"), "is about one table, and 2 were given."),
        (("calls", "--template", "archive", "--table", "Calls"), "--table is 'Calls': expected schema.table"),
        (("calls", "--template", "anomalies", "--owner", "a: b"), ""),
    ],
)
def test_what_cannot_be_is_one_sentence_and_nothing_is_written(
    defs: Path, arguments: tuple[str, ...], said: str
) -> None:
    result = call("init", *arguments)
    if not said:  # odd, and quoted where it belongs
        assert result.exit_code == 0, result.stderr
        return
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr
    assert list(defs.iterdir()) == []


def test_a_template_is_made_of_nothing_but_what_it_takes() -> None:
    assert set(new_pipeline.DEFAULTS) | {"model"} == {one for takes in new_pipeline.TAKES.values() for one in takes}
    assert sorted(one.name for one in new_pipeline.FOLDER.iterdir()) == sorted(new_pipeline.TAKES)
