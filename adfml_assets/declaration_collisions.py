"""Declarations of one database that get in each other's way: Dagster would say so of names that nobody declared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from adfml_assets.declaration_places import Location


class Declared(NamedTuple):
    """An `ArchivedDatabase`: its file, the line it begins on, and its attributes as they are in the YAML."""

    file: Path
    line: int
    attributes: Mapping[str, Any]


class Collision(NamedTuple):
    """A field of a declaration that an earlier one leaves no room for, and what to do about it."""

    declared: Declared
    location: Location
    expected: str


def find_collisions(archives: Sequence[Declared]) -> Iterator[Collision]:
    """What several declarations of one database have in common and only one of them may have.

    Its tables are copied by one step a mode, and its schedules and jobs have its name.
    """
    taken: dict[tuple[str, str], Declared] = {}
    for declared in archives:
        for database in _list_databases(declared.attributes):
            found = [(kind, place) for kind, place in _list_claims(declared.attributes) if (database, kind) in taken]
            for kind, place in found:
                yield Collision(declared, place, _explain(database, kind, taken[database, kind]))
            for kind, _ in _list_claims(declared.attributes):
                taken.setdefault((database, kind), declared)


def _list_claims(attributes: Mapping[str, Any]) -> Iterator[tuple[str, Location]]:
    """What a declaration takes for itself of a database, and where it says so."""
    default = attributes.get("mode", "full")
    tables = [one for one in attributes.get("tables") or () if isinstance(one, dict)]
    modes = {str(one.get("mode") or default) for one in tables} | ({"full"} if attributes.get("include") else set())
    for mode in ("full", "incremental"):
        if modes & {mode, "both"}:
            yield mode, ("mode",)
    for field in ("schedule", "check_schedule"):
        if attributes.get(field):
            yield field, (field,)


def _list_databases(attributes: Mapping[str, Any]) -> list[str]:
    several = attributes.get("databases")
    named = [attributes.get("database"), *(several if isinstance(several, list) else ())]
    # A template is resolved when Dagster loads it.
    return [str(one) for one in named if one and "{{" not in str(one)]


def _explain(database: str, kind: str, earlier: Declared) -> str:
    at = f"{earlier.file}:{earlier.line}"
    if kind in ("full", "incremental"):
        how = "whole" if kind == "full" else "incrementally"
        return (
            f"tables of database {database!r} are archived {how} by {at} already. Declare these tables there: one "
            "declaration has all tables of a database and mode."
        )
    what = "its tables are archived" if kind == "schedule" else "its archive is checked"
    return (
        f"database {database!r} has a `{kind}` in {at} already, and only one declaration can say when {what}. Remove "
        "it from one of them, or declare the tables of both in one."
    )
