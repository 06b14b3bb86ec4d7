"""What a shell offers on TAB, asked as bash and zsh ask; and what programs get by --json."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from resources.control import ControlDatabase
from tests.command.conftest import DAY, JOB, RESULT, Deployment, call
from tests.workflow.conftest import register

ROOT = Path(__file__).resolve().parent.parent.parent


def complete(line: str) -> list[str]:
    """What bash would offer at the end of a line."""
    words = line.split(" ")
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "_ADFML_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    code = "from adfml_cli.cli import app; app(prog_name='adfml')"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    return [word for word in done.stdout.splitlines() if word]


def test_commands_models_days_templates_and_jobs_are_offered(deployment: Deployment) -> None:
    deployment.jobs.open()
    assert {"backfill", "init", "jobs", "tables", "train"} <= set(complete("adfml "))
    assert {"list", "show", "cancel", "retry", "adopt"} <= set(complete("adfml jobs "))
    assert complete("adfml models sales") == ["sales_forecast"]
    assert complete("adfml init x --template in") == ["incremental"]
    yesterday = f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%d}"
    assert yesterday in complete("adfml score --day ")
    assert complete(f"adfml score --day {yesterday}") == [yesterday]
    assert complete("adfml jobs show ml/m") == ["ml/m_job|1|1"]


def test_databases_are_those_that_are_archived_or_have_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CRM", "UI", "DOCS", "GIT", "ALERTS_TEAMS", "CONTROL", "KEY_VAULT"):
        monkeypatch.setenv(f"ADFML_{name}_URL", "https://example.com")
    assert complete("adfml tables ") == ["crm", "shop"]


def test_several_databases_of_one_declaration_are_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from adfml_cli.declared import list_databases

    monkeypatch.delenv("ADFML_SHOP_URL")
    text = "type: adfml_assets.components.ArchivedDatabase\nattributes:\n  databases: [shop_a, shop_b]\n"
    (tmp_path / "defs.yaml").write_text(text)
    assert list_databases(tmp_path) == ["shop_a", "shop_b"]


def test_assets_of_the_deployment_are_offered(deployment: Deployment) -> None:
    deployment.materialise(JOB)
    assert complete("adfml jobs list --asset ml/") == [JOB]
    assert complete("adfml backfill ml/") == [JOB]


def test_without_a_deployment_nothing_is_offered_and_nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ADFML_CONTROL_URL")
    assert complete("adfml jobs show ") == []
    assert complete("adfml jobs list --asset ") == []


def test_a_shell_gets_its_completion() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    code = "from adfml_cli.cli import app; app(prog_name='adfml')"
    done = subprocess.run(
        [sys.executable, "-c", code, "--show-completion", "zsh"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "#compdef adfml" in done.stdout


def test_promote_and_rollback_as_json_say_what_changed(control: ControlDatabase) -> None:
    for version in "12":
        register(control, "sales", version)
        promoted = json.loads(call("promote", "sales", version, "--reason", "r", "--json", "--force").stdout)
    assert (promoted["change"]["version"], promoted["change"]["previous"]) == ("2", "1")
    assert promoted["change"]["changed_at"].endswith("+00:00")
    rolled_back = json.loads(call("rollback", "sales", "--reason", "r", "--json").stdout)
    assert (rolled_back["change"]["version"], rolled_back["change"]["alias"]) == ("1", "champion")


def test_watch_as_json_says_how_a_backfill_ended_and_ends_with_1(deployment: Deployment) -> None:
    from dagster._core.execution.backfill import BulkActionStatus

    job = deployment.end("fail")
    backfill_id = json.loads(call("jobs", "retry", job.submission_key, "--yes", "--json").stdout)["backfill"]["id"]
    deployment.materialise(RESULT, tags={"dagster/backfill": backfill_id})
    ended = deployment.require_backfill(backfill_id).with_status(BulkActionStatus.COMPLETED_FAILED)
    deployment.instance.update_backfill(ended)
    result = call("watch", backfill_id, "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["backfill"]["status"] == "COMPLETED_FAILED"
    assert document["backfill"]["assets"] == {JOB: [DAY], RESULT: [DAY]}
    assert "the training data is empty" in document["failures"][0]
