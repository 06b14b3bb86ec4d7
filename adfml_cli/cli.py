"""Train and score by the end-to-end workflow, promote and roll back versions of models, score records online."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help=__doc__,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,  # they would show the values of variables, secrets among them
)
console = Console(soft_wrap=True)

Model = Annotated[str, typer.Argument(help="The model's name.")]
Reason = Annotated[str, typer.Option(help="Why, for the record.")]
Day = Annotated[str | None, typer.Option(help="The day, UTC, YYYY-MM-DD; without it today.")]
Database = Annotated[str | None, typer.Option(help="Archive this database only, and all of its tables.")]
Workflow = Annotated[str | None, typer.Option(help="The EndToEndWorkflow, where several are declared.")]
Refresh = Annotated[bool, typer.Option("--refresh", help="Make everything again, also what is there already.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for the end; ends with 1 where it does not end well.")]


@app.command()
def train(
    model: Annotated[str, typer.Option(help="The model to train.")],
    version: Annotated[str | None, typer.Option(help="Its version; without it the next free number.")] = None,
    start_date: Annotated[str | None, typer.Option(help="The training data's first day, YYYY-MM-DD.")] = None,
    end_date: Annotated[str | None, typer.Option(help="The training data's last day, YYYY-MM-DD.")] = None,
    snapshot_date: Day = None,
    hyperparameters: Annotated[
        str | None, typer.Option(help='A JSON object in place of the declared ones: {"learning_rate": 0.05}.')
    ] = None,
    job: Annotated[str | None, typer.Option(help="The training job, name or id, in place of the declared one.")] = None,
    source_database: Database = None,
    workflow: Workflow = None,
    refresh: Refresh = False,
    wait: Wait = False,
) -> None:
    """Archive, build features and train a version of a model, in the deployment at DAGSTER_HOME."""
    from adfml_cli.workflow import launch

    with telling_errors():
        launch(
            "train",
            workflow=workflow,
            refresh=refresh,
            wait=wait,
            say=_say,
            show=_show,
            model_name=model,
            model_version=version,
            start_date=start_date,
            end_date=end_date,
            snapshot_date=snapshot_date,
            hyperparameters=hyperparameters,
            databricks_job_id=job,
            source_database=source_database,
        )


@app.command()
def score(
    model: Annotated[str, typer.Option(help="The model to score by.")],
    day: Day = None,
    alias: Annotated[str | None, typer.Option(help="Score by the version that has this alias.")] = None,
    version: Annotated[str | None, typer.Option(help="Score by this version, whatever the alias says.")] = None,
    job: Annotated[str | None, typer.Option(help="The scoring job, name or id, in place of the declared one.")] = None,
    source_database: Database = None,
    workflow: Workflow = None,
    refresh: Refresh = False,
    wait: Wait = False,
) -> None:
    """Archive, build features and score a day, in the deployment at DAGSTER_HOME."""
    from adfml_cli.workflow import launch

    with telling_errors():
        launch(
            "score",
            workflow=workflow,
            refresh=refresh,
            wait=wait,
            say=_say,
            show=_show,
            model_name=model,
            snapshot_date=day,
            alias=alias,
            model_version=version,
            databricks_job_id=job,
            source_database=source_database,
        )


@app.command()
def watch(backfill: Annotated[str, typer.Argument(help="Its id, as train and score print it.")]) -> None:
    """Say what a backfill does until it has ended; ends with 1 where it does not end well."""
    from adfml_cli import workflow

    with telling_errors():
        workflow.watch(backfill, _say, _show)


@app.command()
def models(
    model: Model,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """The versions of a model, newest first: the gate's verdict, aliases and test metrics."""
    from adfml_cli import models as command

    with telling_errors():
        command.show_versions(model, console, as_json=as_json)


@app.command()
def promote(
    model: Model,
    version: Annotated[str, typer.Argument(help="The version that is to be champion.")],
    reason: Reason,
    force: Annotated[bool, typer.Option("--force", help="Also a version that the gate did not pass.")] = False,
) -> None:
    """Make a version of a model champion: the next scores are its own."""
    from adfml_cli import models as command

    with telling_errors():
        _say("\n".join(command.promote(model, version, reason, force=force)))


@app.command()
def rollback(model: Model, reason: Reason) -> None:
    """Make the version champion again that was it before the current one."""
    from adfml_cli import models as command

    with telling_errors():
        _say("\n".join(command.roll_back(model, reason)))


@app.command()
def advise(
    model: Annotated[str, typer.Option(help="The model that is to score.")],
    table: Annotated[str, typer.Option(help="What it is to score: database.schema.table.")],
    version: Annotated[str | None, typer.Option(help="Its version; without it the champion, or the newest.")] = None,
    latency: Annotated[str, typer.Option(help="batch, or realtime: somebody waits for a score.")] = "batch",
    compute: Annotated[str, typer.Option(help="sql, or gpu or distributed where the model needs it.")] = "sql",
    way: Annotated[str, typer.Option(help="auto, compiled, predict or external_script.")] = "auto",
    data_may_not_leave: Annotated[
        bool, typer.Option("--data-may-not-leave", help="Rows may not leave the database.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Say where a model should run, in the database or outside, by its size and class and the table's rows."""
    from adfml_cli import in_database as command

    with telling_errors():
        needs = command.parse_needs(latency, compute, way, data_may_leave=not data_may_not_leave)
        command.show_advice(model, version, table, needs, console, as_json=as_json)


@app.command()
def register_model(
    model: Model,
    version: Annotated[str, typer.Argument(help="The version to store.")],
    database: Annotated[str, typer.Option(help="The database, by its name in YAML.")],
    schema: Annotated[str | None, typer.Option(help="Of the table; without it dbo, or the login's own.")] = None,
    table: Annotated[str, typer.Option(help="The table.")] = "MLModels",
    inactive: Annotated[bool, typer.Option("--inactive", help="Beside the active version, not in its place.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also a version that the gate did not pass.")] = False,
    create_table: Annotated[bool, typer.Option("--create-table", help="Make the table where it is missing.")] = False,
) -> None:
    """Store a version of a model in a database's MLModels, for PREDICT and external scripts, and make it active."""
    from adfml_cli import in_database as command

    with telling_errors():
        lines = command.register_model(
            model,
            version,
            database,
            schema=schema,
            table=table,
            activate=not inactive,
            force=force,
            create_table=create_table,
        )
        _say("\n".join(lines))


@app.command()
def score_online(
    model: Annotated[
        str | None, typer.Option(help="A ScoredModel of a defs.yaml, whose online endpoint is asked.")
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="Another endpoint, by its name in ADFML_AZURE_ML_WORKSPACE.")
    ] = None,
    scoring_uri: Annotated[str | None, typer.Option(help="Another endpoint, by its address.")] = None,
    deployment: Annotated[str | None, typer.Option(help="The deployment that is to answer.")] = None,
    secret: Annotated[str | None, typer.Option(help="The Key Vault secret with the endpoint's key.")] = None,
) -> None:
    """Score records from standard input (a JSON list, an object, or JSON lines) by an Azure ML online endpoint.

    Writes {"index", "score"} or {"index", "error"} for each record, and ends with 1 if one has no score.
    """
    from adfml_cli import score_online as command

    raise typer.Exit(command.run(model, endpoint, scoring_uri, deployment, secret))


@contextmanager
def telling_errors() -> Iterator[None]:
    """Known errors are a sentence on standard error and exit code 1; others are defects, and keep their stack."""
    from adfml_assets.errors import AdfmlError
    from adfml_cli.errors import CommandFailed
    from resources.errors import ResourceError

    try:
        yield
    except (AdfmlError, CommandFailed, ResourceError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


def _say(text: str) -> None:
    typer.echo(text)


def _show(text: str) -> None:
    console.print(text, highlight=False)
