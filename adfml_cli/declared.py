"""What the defs.yaml below a folder declare, read as YAML: quick, and also where a declaration is not valid."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import adfml_assets

DEFS = Path(adfml_assets.__file__).parent / "defs"
_DATABASE_SETTING = re.compile(r"ADFML_(\w+)_URL")


def read_declarations(folder: Path = DEFS) -> Iterator[tuple[str, dict[str, Any]]]:
    """(component, attributes) of every document; what is no YAML is left to `dg check`."""
    import yaml

    for file in sorted(folder.rglob("defs.yaml")):
        try:
            documents = list(yaml.safe_load_all(file.read_text("utf-8")))
        except yaml.YAMLError:
            continue
        for document in documents:
            if isinstance(document, dict):
                attributes = document.get("attributes")
                component = str(document.get("type", "")).rpartition(".")[2]
                yield component, attributes if isinstance(attributes, dict) else {}


def list_names(*components: str, folder: Path = DEFS) -> list[str]:
    """The names that declarations of some components give, sorted."""
    found = (str(given["name"]) for kind, given in read_declarations(folder) if kind in components and "name" in given)
    return sorted(set(found))


def list_databases(folder: Path = DEFS) -> list[str]:
    """The databases that are archived, and those that the environment has an address of, sorted."""
    from resources.settings import ALL

    declared = {name for _, given in read_declarations(folder) for name in name_databases(given)}
    others = {setting.name for setting in ALL}  # of the control database, of webhooks, of the UI
    settings = (_DATABASE_SETTING.fullmatch(name) for name in os.environ if name not in others)
    return sorted(declared | {match[1].lower() for match in settings if match})


def name_databases(attributes: Mapping[str, Any]) -> list[str]:
    """The databases of a declaration, which has one or several."""
    several = attributes.get("databases")
    named = [attributes.get("database"), *(several if isinstance(several, list) else ())]
    return [str(name) for name in named if name]
