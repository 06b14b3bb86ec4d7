"""The README and the pages in docs say what is so: settings, links and declarations."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from adfml_assets.declarations import find_mistakes
from resources.settings import ALL

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
DECLARATIONS = [text for page in PAGES for text in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)]


def test_every_setting_is_in_the_table() -> None:
    documented = set(re.findall(r"^\| `([A-Z_]+)` \|", README, re.MULTILINE))
    assert documented == {setting.name for setting in ALL} | {"DAGSTER_HOME"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", page.read_text()) if not link.startswith("http")]
    assert [link for link in links if not (page.parent / link.partition("#")[0]).exists()] == []


@pytest.mark.parametrize("declaration", DECLARATIONS)
def test_every_declaration_is_right(declaration: str, tmp_path: Path) -> None:
    file = tmp_path / "defs.yaml"
    file.write_text(declaration)
    assert [mistake.describe() for mistake in find_mistakes(file)] == []


def test_the_table_has_every_activity_that_called_a_service() -> None:
    rows = [line.split("|")[1] for line in README.splitlines() if line.startswith("| ")]
    named = {name for cell in rows for name in re.findall(r"`(\w+)`", cell)}
    assert {
        "AnalyzeSentiment",
        "CallAIService",
        "CheckBatchStatus",
        "CheckJobStatus",
        "CreateBatchJob",
        "DetectAnomalies",
        "GetApiKey",
        "InvokeBatchEndpoint",
        "LogArchiveCompletion",
        "LogTrainingResult",
        "RunBatchScoring",
        "RunMLTraining",
        "RunMLTrainingPipeline",
        "ScoreRecord",
        "UploadBatchInput",
        "WaitForBatchCompletion",
        "WaitForBatchJob",
    } <= named


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(r"(?:`|^)make ([a-z]+)", README, re.MULTILINE)
    assert set(named) >= {"demo", "test", "ui"}
    assert set(named) <= targets
