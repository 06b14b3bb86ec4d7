"""Unity Catalog as the mirror of the registry's aliases: told after the control database, and again until it was told.

Aliases only: Unity Catalog has no stages. It keeps no history either, so that it is told where an alias points now.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from resources.errors import Refused, Unreachable

if TYPE_CHECKING:
    from resources.databricks import Databricks
    from resources.model_registry import AliasChange, ModelRegistry, ModelVersion

NAME_RULE = (
    "catalog.schema.model of Unity Catalog, without dots, spaces and slashes in a part, or a plain name without dots, "
    "slashes and colons for a workspace's own registry; at most 255 characters a part"
)
"""What a registered model's name has to be, in words."""

_ROUNDS = 10
_UNITY_PART = re.compile(r"[^\s./\x00-\x1f\x7f]{1,255}")
_PLAIN_NAME = re.compile(r"[^./:\x00-\x1f\x7f]{1,255}")


def is_unity_name(name: str) -> bool:
    """Whether a name is one of Unity Catalog: three parts."""
    parts = name.split(".")
    return len(parts) == 3 and all(_UNITY_PART.fullmatch(part) for part in parts)


def is_registered_name(name: str) -> bool:
    """Whether a registered model may have a name; see `NAME_RULE`."""
    return is_unity_name(name) or (bool(_PLAIN_NAME.fullmatch(name)) and name == name.strip())


def mirror_aliases(models: ModelRegistry, databricks: Databricks, model: str) -> list[str]:
    """Tell Unity Catalog of a model's aliases that it was not told of yet, and note that it was.

    Telling twice changes nothing, so that a process may die anywhere in here. A version that is not in Unity Catalog
    is nothing to tell; no workspace is asked for it.

    Returns:
        What was told, a sentence an alias.

    Raises:
        SettingMissing, Unreachable, Refused: it could not be told; what was not stays to be told.
    """
    told: list[str] = []
    pending = models.list_unmirrored(model)
    for _ in range(_ROUNDS):
        if not pending:
            break
        known = models.aliases(model)
        for alias in dict.fromkeys(change.alias for change in pending):
            mine = [change for change in pending if change.alias == alias]
            told += _tell(models, databricks, model, alias, known.get(alias), mine)
        # Another process may have changed an alias and told of it while this one told of an older state: then again.
        settled = models.aliases(model) == known
        for change in pending if settled else ():
            models.mark_mirrored(change.id)
        left = {} if settled else {change.id: change for change in pending}
        pending = [*(left | {change.id: change for change in models.list_unmirrored(model)}).values()]
    return told


def _tell(
    models: ModelRegistry,
    databricks: Databricks,
    model: str,
    alias: str,
    version: str | None,
    changes: Sequence[AliasChange],
) -> Iterator[str]:
    target = _find_registered(models, model, version)
    name = target.registered_name if target is not None else None
    # A version may have been registered under another name: there the alias must not stay.
    touched = {version for change in changes for version in (change.version, change.previous)}
    earlier = (_find_registered(models, model, version) for version in touched)
    for other in sorted({str(found.registered_name) for found in earlier if found is not None} - {name}):
        _delete_alias(databricks, other, alias)
        yield f"{alias} of {other} taken away"
    if target is not None and name is not None:
        with _translated(databricks, name):
            databricks.client.registered_models.set_alias(name, alias, int(str(target.registered_version)))
        yield f"{alias} of {name} is version {target.registered_version}"


def _find_registered(models: ModelRegistry, model: str, version: str | None) -> ModelVersion | None:
    """A version that is in Unity Catalog, or None."""
    found = models.find(model, version) if version is not None else None
    if found is None or found.registered_name is None or not (found.registered_version or "").isdecimal():
        return None
    return found if is_unity_name(found.registered_name) else None


def _delete_alias(databricks: Databricks, name: str, alias: str) -> None:
    from databricks.sdk.errors import NotFound

    with _translated(databricks, name):
        try:
            databricks.client.registered_models.delete_alias(name, alias)
        except NotFound:
            return  # it is not there, or the whole model is gone: nothing points there


@contextmanager
def _translated(databricks: Databricks, name: str) -> Iterator[None]:
    """The SDK's errors as this package's."""
    from databricks.sdk.errors.base import DatabricksError

    from resources.databricks import translate_error

    try:
        yield
    except Exception as error:
        translated = translate_error(error, None)
        if isinstance(translated, Unreachable) or not isinstance(error, DatabricksError):
            raise translated from None
        check = (
            f"that {name} exists there, and that the identity owns it and may use its catalog and schema (or is a "
            "metastore admin)"
        )
        raise Refused("Unity Catalog", str(databricks.client.config.host), str(error), check) from None
