"""What the pages say is so: links and anchors, settings, declarations, make targets, and what is listed where."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from adfml_assets.declarations import find_mistakes
from resources.settings import ALL
from tests.docs.pages import PAGES, ROOT, Fence, Page

README = PAGES[0]
FENCES = [fence for page in PAGES for fence in page.fences]
KINDS = {"sh", "console", "yaml", "python", "sql", "json", "text", "toml", "ini", "dockerfile", "csv"}
COMPONENT = "type: adfml_assets.components."
# YAML of Kubernetes and compose, which is no declaration.
OTHER_YAML = {"docs/production.md"}
FRAGMENTS = [one for one in FENCES if one.kind == "yaml" and COMPONENT not in one.text and one.page not in OTHER_YAML]
# What a part of a declaration belongs to, by its fields, and the rest of that.
SCORED: dict[str, Any] = {
    "name": "m",
    "from_features": "f",
    "engine": {"service": "databricks", "job": "j"},
    "write_back": {"table": "crm.dbo.P", "keys": ["RecordId"]},
}
TRAINED: dict[str, Any] = {
    "name": "m",
    "from_features": "f",
    "label": {"column": "l", "days": 30, "baseline": "b"},
    "engine": {"service": "databricks", "job": "j"},
    "registered_model": "main.ml.m",
    "experiment": "/Shared/m",
}
WHOLE: list[tuple[str, set[str], dict[str, Any]]] = [
    ("ScoredModel", {"write_back", "engine", "drift"}, SCORED),
    ("TrainedModel", {"from_query", "label", "gate", "schedule"}, TRAINED),
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Page) -> None:
    others = {other.path: other for other in PAGES}
    dead = []
    for link in page.links:
        place = urlsplit(link)
        if place.scheme:
            continue
        target = (page.path.parent / place.path).resolve() if place.path else page.path
        anchors = others[target].anchors if target in others else {place.fragment}
        if not target.exists() or (place.fragment and place.fragment not in anchors):
            dead.append(link)
    assert dead == []


def test_a_page_in_docs_can_be_reached_from_the_readme() -> None:
    linked = {link.partition("#")[0].removeprefix("docs/") for link in README.links}
    assert {page.path.name for page in PAGES[1:]} - linked == set()


def test_every_setting_is_in_the_table() -> None:
    documented = re.findall(r"^\| `([A-Z_]+)` \|", (ROOT / "docs/settings.md").read_text(), re.MULTILINE)
    assert sorted(documented) == sorted({setting.name for setting in ALL} | {"DAGSTER_HOME"})


@pytest.mark.parametrize("page", ["docs/architecture.md", "docs/operations.md"])
def test_every_table_of_the_control_database_is_explained(page: str) -> None:
    from resources.control_tables import metadata

    named = set(re.findall(r"`(\w+)`", (ROOT / page).read_text()))
    assert sorted(set(metadata.tables) - named) == []


def test_every_fence_says_what_it_is() -> None:
    unnamed = {str(fence): fence.kind for fence in FENCES if fence.kind not in KINDS}
    assert unnamed == {}, f"expected one of: {', '.join(sorted(KINDS))}"


@pytest.mark.parametrize("fence", [one for one in FENCES if one.kind == "yaml" and COMPONENT in one.text], ids=str)
def test_every_declaration_is_right(fence: Fence, tmp_path: Path) -> None:
    file = tmp_path / "defs.yaml"
    file.write_text(fence.text)
    assert [mistake.describe() for mistake in find_mistakes(file)] == []


@pytest.mark.parametrize("fence", FRAGMENTS, ids=str)
def test_a_part_of_a_declaration_is_right_in_a_whole_one(fence: Fence, tmp_path: Path) -> None:
    part = yaml.safe_load(fence.text)
    component = next((name for name, keys, _ in WHOLE if set(part) <= keys), None)
    assert component is not None, f"{fence} is part of nothing in WHOLE"
    rest = next(rest for name, _, rest in WHOLE if name == component)
    whole = {**{key: value for key, value in rest.items() if key != _other(part)}, **part}
    file = tmp_path / "defs.yaml"
    file.write_text(yaml.safe_dump({"type": f"adfml_assets.components.{component}", "attributes": whole}))
    assert [mistake.describe() for mistake in find_mistakes(file)] == []


def _other(part: dict[str, Any]) -> str | None:
    return "from_features" if "from_query" in part else None


@pytest.mark.parametrize("fence", [one for one in FENCES if one.kind in ("yaml", "json", "toml")], ids=str)
def test_what_is_said_to_be_yaml_or_json_can_be_read(fence: Fence) -> None:
    read = {"yaml": lambda text: list(yaml.safe_load_all(text)), "json": json.loads, "toml": tomllib.loads}
    assert read[fence.kind](fence.text)


@pytest.mark.parametrize("fence", [one for one in FENCES if one.kind == "python"], ids=str)
def test_what_is_said_to_be_python_can_be_compiled(fence: Fence) -> None:
    compile(fence.text, str(fence), "exec")


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        name for page in PAGES for name in re.findall(r"(?:`|^)make ([a-z-]+)", page.path.read_text(), re.MULTILINE)
    }
    assert named >= {"demo", "test", "ui"}
    assert sorted(named - targets) == []
