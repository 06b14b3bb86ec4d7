"""Commands about models: versions and their champion, where a model should run, and records scored online."""

from __future__ import annotations

from typing import Annotated

import typer

from adfml_cli.completion import complete_database, complete_model
from adfml_cli.output import AsJson, console, telling_errors

group = typer.Typer()

Model = Annotated[str, typer.Argument(help="The model's name.", autocompletion=complete_model)]
Reason = Annotated[str, typer.Option(help="Why, for the record.")]


@group.command()
def models(
    model: Model,
    as_json: AsJson = False,
) -> None:
    """The versions of a model, newest first: the gate's verdict, aliases and test metrics."""
    from adfml_cli import models as command

    with telling_errors():
        command.show_versions(model, console, as_json=as_json)


@group.command()
def promote(
    model: Model,
    version: Annotated[str, typer.Argument(help="The version that is to be champion.")],
    reason: Reason,
    force: Annotated[bool, typer.Option("--force", help="Also a version that the gate did not pass.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a version of a model champion: the next scores are its own."""
    from adfml_cli import models as command

    with telling_errors():
        command.promote(model, version, reason, force=force, as_json=as_json)


@group.command()
def rollback(model: Model, reason: Reason, as_json: AsJson = False) -> None:
    """Make the version champion again that was it before the current one."""
    from adfml_cli import models as command

    with telling_errors():
        command.roll_back(model, reason, as_json=as_json)


@group.command()
def advise(
    model: Annotated[str, typer.Option(help="The model that is to score.", autocompletion=complete_model)],
    table: Annotated[str, typer.Option(help="What it is to score: database.schema.table.")],
    version: Annotated[str | None, typer.Option(help="Its version; without it the champion, or the newest.")] = None,
    latency: Annotated[str, typer.Option(help="batch, or realtime: somebody waits for a score.")] = "batch",
    compute: Annotated[str, typer.Option(help="sql, or gpu or distributed where the model needs it.")] = "sql",
    way: Annotated[str, typer.Option(help="auto, compiled, predict or external_script.")] = "auto",
    data_may_not_leave: Annotated[
        bool, typer.Option("--data-may-not-leave", help="Rows may not leave the database.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say where a model should run, in the database or outside, by its size and class and the table's rows."""
    from adfml_cli import in_database as command

    with telling_errors():
        needs = command.parse_needs(latency, compute, way, data_may_leave=not data_may_not_leave)
        command.show_advice(model, version, table, needs, console, as_json=as_json)


@group.command()
def register_model(
    model: Model,
    version: Annotated[str, typer.Argument(help="The version to store.")],
    database: Annotated[str, typer.Option(help="The database, by its name in YAML.", autocompletion=complete_database)],
    schema: Annotated[str | None, typer.Option(help="Of the table; without it dbo, or the login's own.")] = None,
    table: Annotated[str, typer.Option(help="The table.")] = "MLModels",
    inactive: Annotated[bool, typer.Option("--inactive", help="Beside the active version, not in its place.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also a version that the gate did not pass.")] = False,
    create_table: Annotated[bool, typer.Option("--create-table", help="Make the table where it is missing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Store a version of a model in a database's MLModels, for PREDICT and external scripts, and make it active."""
    from adfml_cli import in_database as command

    with telling_errors():
        command.register_model(
            model,
            version,
            database,
            schema=schema,
            table=table,
            activate=not inactive,
            force=force,
            create_table=create_table,
            as_json=as_json,
        )


@group.command()
def score_online(
    model: Annotated[
        str | None,
        typer.Option(
            help="A ScoredModel of a defs.yaml, whose online endpoint is asked.", autocompletion=complete_model
        ),
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="Another endpoint, by its name in ADFML_AZURE_ML_WORKSPACE.")
    ] = None,
    scoring_uri: Annotated[str | None, typer.Option(help="Another endpoint, by its address.")] = None,
    deployment: Annotated[str | None, typer.Option(help="The deployment that is to answer.")] = None,
    secret: Annotated[str | None, typer.Option(help="The Key Vault secret with the endpoint's key.")] = None,
) -> None:
    """Score records from standard input (a JSON list, an object, or JSON lines) by an Azure ML online endpoint.

    Writes {"index", "score"} or {"index", "error"} for each record as JSON lines, and ends with 1 if one has no score.
    """
    from adfml_cli import score_online as command

    raise typer.Exit(command.run(model, endpoint, scoring_uri, deployment, secret))
