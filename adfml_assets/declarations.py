"""Checking every defs.yaml before Dagster loads it: all mistakes at once, each with file, line and what is right.

Dagster's own check takes any text for a number (it might be a template), and does not say which fields there are.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from adfml_assets.declaration_collisions import Declared, find_collisions
from adfml_assets.declaration_places import Location, Place, find_place
from adfml_assets.errors import AdfmlError, DeclarationInvalid


@dataclass(frozen=True)
class Mistake:
    """One mistake in a defs.yaml: where, and what was expected."""

    file: Path
    line: int
    field: str
    expected: str

    def describe(self) -> str:
        """The mistake in one line."""
        return f"{self.file}:{self.line}: {self.field}: {self.expected}"


class InvalidDeclarations(AdfmlError):
    """One or more defs.yaml are not what their components take."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(mistake.describe() for mistake in self.mistakes))


def check_declarations(folder: Path) -> None:
    """Check every defs.yaml below a folder that declares one of this project's components.

    Raises:
        InvalidDeclarations: with every mistake of every file.
    """
    files = sorted(folder.rglob("defs.yaml"))
    mistakes = [mistake for file in files for mistake in find_mistakes(file)] or list(find_clashes(files))
    if mistakes:
        raise InvalidDeclarations(mistakes)


def find_mistakes(file: Path) -> Iterator[Mistake]:
    """The mistakes of one defs.yaml; components of other packages are left to Dagster."""
    import yaml
    from dagster_shared.yaml_utils import parse_yamls_with_source_position

    try:
        documents = list(parse_yamls_with_source_position(file.read_text(), str(file)))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        yield Mistake(file, line, "YAML", str(error.problem))
        return
    for document in documents:
        yield from _check_document(file, document)


def find_clashes(files: Sequence[Path]) -> Iterator[Mistake]:
    """The mistakes of declarations that are right by themselves, and cannot be beside each other."""
    from dagster_shared.yaml_utils import parse_yamls_with_source_position

    from adfml_assets import components

    kind = f"{components.__name__}.{components.ArchivedDatabase.__name__}"
    found: dict[tuple[Path, int], Any] = {}
    archives: list[Declared] = []
    for file, text in ((one, one.read_text()) for one in files):
        if kind not in text:
            continue  # parsing costs more than looking
        for document in parse_yamls_with_source_position(text, str(file)):
            if isinstance(document.value, dict) and document.value.get("type") == kind:
                line = _find_line(document, ("type",))
                found[file, line] = document
                archives.append(Declared(file, line, document.value.get("attributes") or {}))
    for declared, location, expected in find_collisions(archives):
        line = _find_line(found[declared.file, declared.line], ("attributes", *location))
        yield Mistake(declared.file, line, ".".join(("attributes", *map(str, location))), expected)


def _check_document(file: Path, document: Any) -> Iterator[Mistake]:
    from pydantic import TypeAdapter, ValidationError

    from adfml_assets import components

    declared = document.value if isinstance(document.value, dict) else {}
    package, _, name = str(declared.get("type", "")).rpartition(".")
    if package != components.__name__:
        return
    if name not in components.__all__:
        line = _find_line(document, ("type",))
        yield Mistake(file, line, "type", _say_unknown("component", name, components.__all__))
        return
    component = getattr(components, name)
    try:
        TypeAdapter(component).validate_json(json.dumps(declared.get("attributes") or {}), strict=True)
    except ValidationError as error:
        for found in error.errors(include_url=False):
            place, value = find_place(component, found["loc"], declared.get("attributes")), found["input"]
            if place is not None and (refused := _find_refused(found)):
                place, value = place.descend(refused.field), refused.found
            if place is None or (isinstance(value, str) and "{{" in value):
                continue  # of an alternative that is not meant; or a template: Dagster resolves it when it loads
            field = ".".join(map(str, ("attributes", *place.location)))
            line = _find_line(document, ("attributes", *place.location))
            yield Mistake(file, line, field, _explain(place, found))


def _find_refused(error: Any) -> DeclarationInvalid | None:
    """What a declaration itself says of its values; pydantic places that at the whole declaration."""
    raised = error.get("ctx", {}).get("error")
    return raised if isinstance(raised, DeclarationInvalid) else None


def _explain(place: Place, error: Any) -> str:
    if refused := _find_refused(error):
        return f"expected {refused.expected}, found {refused.found!r}."
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        known = [field.name for field in dataclasses.fields(place.owner)]
        return _say_unknown("field", str(place.location[-1]), known)
    if place.services:
        return _say_unknown("service", str(error["input"]), place.services)
    if error["type"] in ("missing", "missing_argument"):
        return "is missing, and has no default."
    return f"{error['msg'].replace('Input should be', 'expected')}, found {error['input']!r}."


def _say_unknown(kind: str, name: str, known: Sequence[str]) -> str:
    close = get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"there is no {kind} {name!r}. Expected one of: {', '.join(sorted(known))}.{hint}"


def _find_line(document: Any, location: Location) -> int:
    """The line of a location, or of the closest thing around it that is in the file."""
    tree = document.source_position_tree
    for step in location:
        if step not in tree.children:
            break
        tree = tree.children[step]
    return int(tree.position.start.line)
