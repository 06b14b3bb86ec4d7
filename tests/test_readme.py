"""The README says what is so: its settings, its links and its declarations."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from adfml_assets.declarations import find_mistakes
from resources.settings import ALL

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def test_every_setting_is_in_the_table() -> None:
    documented = set(re.findall(r"^\| `([A-Z_]+)` \|", README, re.MULTILINE))
    assert documented == {setting.name for setting in ALL} | {"DAGSTER_HOME"}


def test_every_link_leads_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("declaration", re.findall(r"```yaml\n(.*?)```", README, re.DOTALL))
def test_every_declaration_is_right(declaration: str, tmp_path: Path) -> None:
    file = tmp_path / "defs.yaml"
    file.write_text(declaration)
    assert [mistake.describe() for mistake in find_mistakes(file)] == []


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(r"(?:`|^)make ([a-z]+)", README, re.MULTILINE)
    assert set(named) >= {"demo", "test", "ui"}
    assert set(named) <= targets
