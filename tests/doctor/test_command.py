"""`adfml doctor` in a shell: a table for people, JSON for programs, and an exit code."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from adfml_cli.cli import app
from adfml_cli.cli_doctor import complete_check
from adfml_cli.doctor.examining import CHECKS, examine
from tests.doctor.conftest import PROJECT, Site


@pytest.fixture(scope="module")
def site(build_site: Callable[[], Site]) -> Site:
    return build_site()


@pytest.fixture
def examined(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command looks at this deployment."""

    def look(_folder: Path, _load: object, **options: object) -> object:
        return examine(site.folder / "defs", lambda: site.repository, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("adfml_cli.doctor.examining.examine", look)


def test_json_is_one_document_and_all_well_ends_with_0(site: Site, examined: None) -> None:
    with site.running():
        done = CliRunner().invoke(app, ["doctor", "--json", "--only", "lake", "--only", "control"])
    found = json.loads(done.stdout)
    assert done.exit_code == 0
    assert {one["check"] for one in found["findings"]} == {"lake", "control"}
    assert found["status"] == "ok"
    assert set(found["findings"][0]) == {"check", "subject", "status", "found", "advice", "seconds"}


def test_a_failure_ends_with_1_and_the_table_says_what_to_do(site: Site, examined: None) -> None:
    right = site.settings["ADFML_SHOP_URL"]
    site.settings["ADFML_SHOP_URL"] = "sqlite:////nowhere/shop.sqlite"
    with site.running():
        done = CliRunner().invoke(app, ["doctor", "--only", "databases"])
    site.settings["ADFML_SHOP_URL"] = right
    assert done.exit_code == 1
    assert "FAILED" in done.stdout
    assert "→ Check the path in ADFML_SHOP_URL." in done.stdout
    assert "1 failed" in done.stdout


def test_warnings_alone_end_with_0(site: Site, examined: None) -> None:
    site.settings["ADFML_LAKEE"] = "./lake"
    with site.running():
        done = CliRunner().invoke(app, ["doctor", "--only", "settings"])
    del site.settings["ADFML_LAKEE"]
    assert done.exit_code == 0
    assert "Did you mean ADFML_LAKE?" in done.stdout


def test_a_name_that_is_none_is_one_sentence() -> None:
    done = CliRunner().invoke(app, ["doctor", "--only", "databrick"])
    assert done.exit_code == 1
    assert done.stderr.startswith("There is no check 'databrick'; there are: settings,")
    assert done.stderr.endswith("Did you mean 'databricks'?\n")


def test_a_shell_completes_the_checks() -> None:
    assert complete_check("azure") == ["azure_ml_batch", "azure_ml_online"]
    assert complete_check("") == list(CHECKS)


def test_a_service_that_hangs_does_not_hold_up_the_end_of_the_process(site: Site) -> None:
    right = site.settings["ADFML_CONTROL_URL"]
    script = [sys.executable, "-m", "adfml_cli", "doctor", "--only", "control", "--timeout", "3", "--json"]
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        address = f"postgresql+psycopg://adfml@127.0.0.1:{silent.getsockname()[1]}/adfml"
        site.settings["ADFML_CONTROL_URL"] = address
        with site.running():
            done = subprocess.run(
                script, cwd=PROJECT, env=dict(os.environ), capture_output=True, text=True, timeout=250
            )
    site.settings["ADFML_CONTROL_URL"] = right
    found = json.loads(done.stdout)
    assert (done.returncode, found["status"]) == (1, "failed")
    assert "No answer within 3 s while connecting to" in found["findings"][0]["found"]
