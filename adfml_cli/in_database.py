"""`adfml advise` and `adfml register-model`: where a model should run, and its versions in a database's MLModels."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import typer

from adfml_cli.errors import CommandFailed
from adfml_cli.output import print_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from adfml_assets.in_database.advisor import Advice, Needs
    from adfml_assets.in_database.facts import ModelFacts, TableFacts
    from adfml_assets.in_database.platform import ModelKind

WIDTH = 120
"""Of the table, in characters: a pipe has no width of its own."""

STORE = "MLModels"
"""The table that models are stored in, where no other is named."""

_POINTS_TO = {"in_database": "in the database", "external": "outside", "either": "either"}
_KINDS: dict[str, ModelKind] = {"skops": "skops", "onnx": "onnx", "pkl": "pickle"}


def parse_needs(latency: str, compute: str, way: str, *, data_may_leave: bool) -> Needs:
    """What is asked of the scores, from the command line.

    Raises:
        CommandFailed: one of them is none.
    """
    from adfml_assets.in_database.advisor import Needs

    fields = {"latency": latency, "compute": compute, "way": way}
    hints = get_type_hints(Needs)
    for name, value in fields.items():
        if value not in get_args(hints[name]):
            raise CommandFailed(f"--{name} is {value!r}: expected {', '.join(get_args(hints[name]))}.")
    return Needs(data_may_leave=data_may_leave, **fields)  # type: ignore[arg-type]  # just looked at


def show_advice(model: str, version: str | None, table: str, needs: Needs, console: Console, *, as_json: bool) -> None:
    """Print where a model should score a table, and why.

    Args:
        version: None: the champion, or the newest version where there is none yet.
        table: `database.schema.table`.

    Raises:
        CommandFailed: the table is none, or the model has no version.
        AdfmlError, ResourceError: see `read_model_facts` and `read_table_facts`.
    """
    from rich.console import Console

    from adfml_assets.in_database.advisor import advise
    from adfml_assets.in_database.facts import read_model_facts, read_table_facts
    from resources.control import ControlDatabase
    from resources.database import Databases
    from resources.lake import Lake

    database, schema, name = _parse_table(table)
    lake, control, databases = Lake(), ControlDatabase(), Databases()
    version = version or _find_version(lake, control, model)
    registered = control.models.find(model, version)
    rows = read_table_facts(databases, database, schema, name)
    dialect = databases.engine(database).dialect.name
    facts = read_model_facts(lake, model, version, dialect, registered.model_sha256 if registered else None)
    advice = advise(facts, rows, needs)
    if as_json:
        print_json(_to_json(facts, rows, advice))
        return
    typer.echo(f"Model {model} version {version}, table {table} on {rows.platform}")
    wide = console if console.is_terminal else Console(width=WIDTH)
    wide.print(_list_reasons(advice))
    typer.echo(_conclude(advice))


def register_model(
    model: str,
    version: str,
    database: str,
    *,
    schema: str | None,
    table: str,
    activate: bool,
    force: bool,
    create_table: bool,
    as_json: bool,
) -> None:
    """Store a version of the lake in a database's MLModels, and say so.

    Args:
        activate: procedures score by it from now on.
        force: also a version that the gate did not pass.
        create_table: make the table where it does not exist.

    Raises:
        CommandFailed: it is to be active, and the gate did not pass it; or another table than the usual is to be made.
        UnknownVersion: it is not registered.
        AdfmlError, ResourceError: see `store_model`.
    """
    from adfml_assets import lake_layout
    from adfml_assets.in_database.model_store import ModelToStore, create_store, list_models, store_model
    from adfml_assets.training.trained import read_metadata
    from resources.control import ControlDatabase
    from resources.database import Databases
    from resources.lake import Lake

    if create_table and (schema or table != STORE):
        raise CommandFailed(
            f"--create-table makes {STORE} in the login's own schema (dbo on SQL Server), and nothing elsewhere: leave "
            "out --schema and --table, or make the table by the database's file in resources/sql (ml_models_...)."
        )
    registered = ControlDatabase().models.get(model, version)
    if activate and registered.verdict != "passed" and not force:
        found = f"refused ({registered.reason})" if registered.verdict else "not judged"
        raise CommandFailed(
            f"Version {version} of model {model} is {found}: it is not made active in {database}. Give --inactive to "
            "store it beside the active one, or --force."
        )
    lake, databases = Lake(), Databases()
    features = tuple(map(str, read_metadata(lake, model, version)["features"]))
    kind = _KINDS.get(registered.model_file.rpartition(".")[2])
    if kind is None:
        raise CommandFailed(f"{registered.model_file} is no model that is stored: expected .skops, .onnx or .pkl.")
    data = lake.read_bytes(f"{lake_layout.model_folder(model, version)}/{registered.model_file}")
    if create_table:
        create_store(databases, database)
    before = [one.version for one in list_models(databases, database, schema, table, model) if one.is_active]
    record = ModelToStore(model, version, registered.model_sha256, kind, features)
    stored = store_model(databases, database, schema, table, record, data, activate)
    was = next((one for one in before if one != version), None)
    if as_json:
        where_to = {"database": database, "schema": schema, "table": table}
        print_json({**where_to, **dataclasses.asdict(stored), "active_before": before})
        return
    where = ".".join(part for part in (database, schema, table) if part)
    typer.echo(
        f"Version {version} of model {model} is in {where}: {stored.bytes:,} bytes of {kind}, {len(features)} features."
    )
    if stored.is_active:
        typer.echo(f"It is the active one{f' (before: version {was})' if was else ''}.")
    else:
        typer.echo(f"It is not active; version {before[0]} is." if before else "No version of the model is active.")


def _parse_table(table: str) -> tuple[str, str, str]:
    parts = table.split(".", 2)
    if len(parts) < 3 or not all(parts):
        raise CommandFailed(
            f"{table!r} names no table: expected database.schema.table, such as shop.dbo.Customers (SQLite's schema is "
            "main)."
        )
    return parts[0], parts[1], parts[2]


def _find_version(lake: Any, control: Any, model: str) -> str:
    from adfml_assets.training.trained import list_versions
    from resources.model_registry import CHAMPION, order_version

    champion = control.models.aliases(model).get(CHAMPION)
    if champion is not None:
        return str(champion)
    versions = list_versions(lake, model)
    if not versions:
        raise CommandFailed(f"Model {model!r} has no version in the lake: train one, or check the name.")
    return str(max(versions, key=order_version))


def _to_json(facts: ModelFacts, table: TableFacts, advice: Advice) -> dict[str, Any]:
    return {
        **dataclasses.asdict(advice),
        "decided_by": advice.decided_by.topic,
        "model": {**dataclasses.asdict(facts), "model_class": facts.model_class},
        "table": dataclasses.asdict(table),
    }


def _list_reasons(advice: Advice) -> Table:
    from rich.table import Table

    table = Table()
    for column in ("", "points to", "why"):
        table.add_column(column, overflow="fold")
    for reason in advice.reasons:
        mark = "[bold]decides[/]" if reason.decided else ""
        table.add_row(f"{reason.topic} {mark}".strip(), _POINTS_TO[reason.points_to], reason.text)
    return table


def _conclude(advice: Advice) -> str:
    if advice.problem is not None:
        return advice.problem
    if advice.where == "in_database":
        return f"Run it in the database: engine: {{service: in_database, way: {advice.way}}}."
    return f"Run it outside: engine: {{service: {advice.engine}, ...}}."
