"""`adfml models`, `promote` and `rollback`: the registry of models from a shell, without Dagster's definitions."""

from __future__ import annotations

import getpass
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from adfml_cli.cli import app
from resources.control import ControlDatabase
from tests.workflow.conftest import register

ROOT = Path(__file__).resolve().parent.parent.parent


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


@pytest.fixture
def three(control: ControlDatabase) -> ControlDatabase:
    """Version 1 is champion, 2 has passed, 3 was refused."""
    register(control, "sales", "1")
    control.models.promote("sales", "1", "gate", "first")
    register(control, "sales", "2", compared_to="1")
    register(control, "sales", "3", "refused", compared_to="1")
    return control


def test_models_shows_versions_verdicts_aliases_and_metrics(three: ControlDatabase) -> None:
    result = call("models", "sales")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[:2] == ["challenger is version 2.", "champion is version 1."]
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")]
    assert [(row[0], row[1], row[2], row[4]) for row in rows] == [
        ("3", "", "refused", "mae 15.5"),
        ("2", "challenger", "passed", "mae 14.5"),
        ("1", "champion", "passed", "mae 13.5"),
    ]
    said = lines[lines.index("3: refused (version 1 was champion)") + 1]
    assert said == "   mae of version 3 against the baseline's"
    assert "1: passed (there was no champion)" in lines


def test_models_as_json_has_everything(three: ControlDatabase) -> None:
    found = json.loads(call("models", "sales", "--json").stdout)
    assert (found["model"], found["aliases"]) == ("sales", {"challenger": "2", "champion": "1"})
    newest = found["versions"][0]
    assert (newest["version"], newest["verdict"], newest["aliases"]) == ("3", "refused", [])
    assert newest["metrics"] == {"test": {"mae": 15.5}}
    assert newest["registered_at"].endswith("+00:00")
    assert [(one["alias"], one["version"]) for one in found["changes"]][-1] == ("challenger", "2")


def test_a_model_nobody_knows_is_said_with_those_there_are(three: ControlDatabase) -> None:
    result = call("models", "sale", "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "The registry has no version of model 'sale'; it has models: sales.\n"


def test_promote_and_roll_back_record_who_and_why(three: ControlDatabase) -> None:
    promoted = call("promote", "sales", "2", "--reason", "better in spring")
    assert promoted.exit_code == 0, promoted.stderr
    assert "Version 2 of model sales is champion since" in promoted.stdout
    assert three.models.aliases("sales") == {"champion": "2"}
    rolled_back = call("rollback", "sales", "--reason", "scores too high")
    assert "Version 1 of model sales is champion since" in rolled_back.stdout
    assert "(before: version 2)" in rolled_back.stdout
    assert three.models.aliases("sales") == {"champion": "1"}
    user = f"{getpass.getuser()}@{socket.gethostname()}"[:100]
    changes = [change for change in three.models.list_changes("sales") if change.alias == "champion"]
    assert [(change.version, change.changed_by, change.reason) for change in changes[1:]] == [
        ("2", user, "better in spring"),
        ("1", user, "scores too high"),
    ]


def test_a_version_the_gate_refused_needs_force(three: ControlDatabase) -> None:
    refused = call("promote", "sales", "3", "--reason", "the holidays are over")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "the gate refused it" in refused.stderr
    assert three.models.aliases("sales")["champion"] == "1"
    assert call("promote", "sales", "3", "--reason", "the holidays are over", "--force").exit_code == 0
    assert three.models.aliases("sales")["champion"] == "3"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["promote", "sales", "9", "--reason", "r"], "has no version '9' in the registry (it has: 3, 2, 1)"),
        (["promote", "sales", "2", "--force", "--reason", " "], "only with a reason"),
        (["rollback", "sales", "--reason", "r"], "version 1 is the first champion"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_changes_nothing(
    three: ControlDatabase, arguments: list[str], said: str
) -> None:
    result = call(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr
    assert three.models.aliases("sales") == {"challenger": "2", "champion": "1"}


def test_a_missing_setting_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ADFML_CONTROL_URL")
    result = call("models", "sales")
    assert result.exit_code == 1
    assert result.stderr.startswith("ADFML_CONTROL_URL is not set: ")


def test_no_definitions_are_loaded(three: ControlDatabase, tmp_path: Path) -> None:
    heavy = ["adfml_assets.definitions", "adfml_assets.components", "duckdb", "pandas", "sklearn", "mlflow", "pyspark"]
    code = (
        "import sys; from adfml_cli.cli import app; sys.argv = ['adfml', 'models', 'sales']; "
        f"app(standalone_mode=False); print(sorted(set({heavy}) & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stderr
