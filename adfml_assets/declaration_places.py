"""Where in a declaration a mistake is: which class holds the field, and which of several alternatives was meant."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Location = tuple[str | int, ...]


@dataclass(frozen=True)
class Place:
    """Where a mistake is.

    Attributes:
        location: the path of the field in the YAML.
        owner: the dataclass that has, or should have, the field.
        services: what the field `service` may be, where it tells alternatives apart; else empty.
    """

    location: Location
    owner: type
    services: tuple[str, ...] = ()

    def descend(self, field: str) -> Place:
        """The place of a field below this one, such as `fit.window_days`."""
        return dataclasses.replace(self, location=(*self.location, *field.split(".")))


def find_place(component: type, location: Location, declared: Any) -> Place | None:
    """The place of a mistake that pydantic found; None: it is about an alternative that was not meant.

    For a field `engine: A | B` pydantic reports the mistakes of both, each with the name of its class in the location.
    Alternatives tell themselves apart by their field `service`; where it fits none of them, that is the mistake.
    A short form (`A | str`) is meant where something else than a mapping is declared.

    Args:
        component: the component's class.
        location: as pydantic gives it.
        declared: the attributes, as they are in the YAML.
    """
    hint: Any = component
    owner = component
    steps: list[str | int] = []
    services: tuple[str, ...] = ()
    for step in location:
        alternatives = _list_alternatives(hint)
        if step in [one.__name__ for one in alternatives]:
            if _has_short_form(hint) and not isinstance(declared, dict):
                return None
            meant = _find_meant(alternatives, declared)
            if meant is None:
                if step != alternatives[0].__name__ or location[-1] != "service":
                    return None
                services = tuple(sorted(name for one in alternatives for name in _list_services(one)))
            elif meant.__name__ != step:
                return None
            hint = meant or alternatives[0]
            owner = hint
            continue
        if _has_short_form(hint):
            if isinstance(declared, dict):
                return None
            hint = object
            continue
        steps.append(step)
        if typing.get_origin(hint) in (dict, Mapping):
            hint = typing.get_args(hint)[1]
        else:
            owner = next(_list_dataclasses(hint), owner)
            hint = typing.get_type_hints(owner).get(step, object) if isinstance(step, str) else hint
        declared = _get(declared, step)
    return Place(tuple(steps), owner, services)


def _find_meant(alternatives: Sequence[type], declared: Any) -> type | None:
    if all(field.name != "service" for field in dataclasses.fields(alternatives[0])):
        return alternatives[0]
    named = _get(declared, "service")
    for one in alternatives:
        default = next(f.default for f in dataclasses.fields(one) if f.name == "service")
        if named in _list_services(one) or (named is None and default is not dataclasses.MISSING):
            return one
    return None


def _list_services(alternative: type) -> tuple[str, ...]:
    return typing.get_args(typing.get_type_hints(alternative)["service"])


def _list_alternatives(hint: Any) -> list[type]:
    """The dataclasses of `A | B`, where there are several; the one of `A | str`."""
    found = [one for one in _list_members(hint) if dataclasses.is_dataclass(one)]
    return typing.cast("list[type]", found) if len(found) > 1 or _has_short_form(hint) else []


def _has_short_form(hint: Any) -> bool:
    """Whether a value may be a dataclass or something simple, as in `A | str`."""
    kinds = {dataclasses.is_dataclass(one) for one in _list_members(hint)}
    return len(kinds) > 1


def _list_members(hint: Any) -> list[Any]:
    """The alternatives of a union but None; none where it is no union."""
    if not isinstance(hint, types.UnionType) and typing.get_origin(hint) is not typing.Union:
        return []
    return [one for one in typing.get_args(hint) if one is not type(None)]


def _list_dataclasses(hint: Any) -> Iterator[type]:
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        yield hint
    for part in typing.get_args(hint):
        yield from _list_dataclasses(part)


def _get(declared: Any, step: str | int) -> Any:
    if isinstance(declared, dict):
        return declared.get(step)
    if isinstance(declared, list) and isinstance(step, int) and step < len(declared):
        return declared[step]
    return None
