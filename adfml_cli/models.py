"""`adfml models`, `adfml promote` and `adfml rollback`: the registry of models, and which version is champion."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from adfml_cli.errors import CommandFailed
from adfml_cli.output import print_json
from adfml_cli.people import name_user

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from adfml_assets.models.promotion import Promotion
    from resources.model_registry import ModelVersion


def show_versions(model: str, console: Console, *, as_json: bool) -> None:
    """Print what the registry has of a model, newest version first.

    Raises:
        CommandFailed: it has nothing of it; says of which models it has.
        ResourceError: the control database does not answer, or ADFML_CONTROL_URL is not set.
    """
    from resources.control import ControlDatabase

    registry = ControlDatabase().models
    versions, aliases = registry.list_versions(model), registry.aliases(model)
    if not versions and not aliases:
        known = ", ".join(registry.list_models()) or "none"
        raise CommandFailed(f"The registry has no version of model {model!r}; it has models: {known}.")
    if as_json:
        found = {
            "model": model,
            "aliases": aliases,
            "versions": [_to_json(version, aliases) for version in versions],
            "changes": registry.list_changes(model),
        }
        print_json(found)
        return
    for alias, named in sorted(aliases.items()):
        typer.echo(f"{alias} is version {named}.")
    console.print(_list_versions(versions, aliases))
    for version in versions:
        typer.echo(f"{version.version}: {_say_verdict(version)}")


def promote(model: str, version: str, reason: str, *, force: bool, as_json: bool) -> None:
    """Make a version champion, and say so.

    Raises:
        ReasonMissing, UnknownVersion, NotPassed: see `promote_version`.
    """
    from adfml_assets.models.promotion import promote_version
    from resources.control import ControlDatabase
    from resources.databricks import Databricks

    done = promote_version(ControlDatabase(), Databricks(), model, version, name_user(), reason, force=force)
    _print_promotion(done, as_json=as_json)


def roll_back(model: str, reason: str, *, as_json: bool) -> None:
    """Make the version champion that was it before the current one, and say so.

    Raises:
        NothingToRollBack: no version was champion before.
    """
    from adfml_assets.models import promotion
    from resources.control import ControlDatabase
    from resources.databricks import Databricks

    done = promotion.roll_back(ControlDatabase(), Databricks(), model, name_user(), reason)
    _print_promotion(done, as_json=as_json)


def _print_promotion(done: Promotion, *, as_json: bool) -> None:
    if as_json:
        print_json(done)
        return
    change = done.change
    before = f"before: version {change.previous}" if change.previous else "before: none"
    when = f"{change.changed_at:%Y-%m-%d %H:%M} UTC"
    typer.echo(f"Version {change.version} of model {change.model} is {change.alias} since {when} ({before}).")
    if done.unity_catalog.told or done.unity_catalog.problem:
        typer.echo(f"Unity Catalog: {done.unity_catalog}")


def _to_json(version: ModelVersion, aliases: Mapping[str, str]) -> dict[str, Any]:
    names = sorted(alias for alias, named in aliases.items() if named == version.version)
    return {**dataclasses.asdict(version), "aliases": names}


def _list_versions(versions: list[ModelVersion], aliases: Mapping[str, str]) -> Table:
    from rich.table import Table

    table = Table("version", "aliases", "verdict", "registered (UTC)")
    table.add_column("on the test split", overflow="fold")
    for column in table.columns[:-1]:
        column.no_wrap = True
    for version in versions:
        names = ", ".join(sorted(alias for alias, named in aliases.items() if named == version.version))
        registered = f"{version.registered_at:%Y-%m-%d %H:%M}" if version.registered_at else ""
        metrics = [f"{name} {value:,.4g}" for name, value in _read_test(version).items() if value is not None]
        table.add_row(version.version, names, version.verdict or "not judged", registered, ", ".join(metrics))
    return table


def _read_test(version: ModelVersion) -> Mapping[str, Any]:
    found = version.metrics.get("test", {})
    return found if isinstance(found, Mapping) else {}


def _say_verdict(version: ModelVersion) -> str:
    if version.verdict is None:
        return "not judged"
    lines = [str(finding["reason"]) for finding in version.findings] or [str(version.reason)]
    champion = f"version {version.compared_to} was" if version.compared_to else "there was no"
    return "\n   ".join([f"{version.verdict} ({champion} champion)", *lines])
