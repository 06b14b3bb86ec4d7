"""`adfml train`, `score` and `watch`: the end-to-end workflow, launched in a deployment."""

from __future__ import annotations

from typing import Annotated

import typer

from adfml_cli.completion import complete_asset, complete_database, complete_day, complete_model
from adfml_cli.output import AsJson, Yes, telling_errors

group = typer.Typer()

Model = Annotated[str, typer.Option(help="The model.", autocompletion=complete_model)]
Day = Annotated[
    str | None, typer.Option(help="The day, UTC, YYYY-MM-DD; without it today.", autocompletion=complete_day)
]
Date = Annotated[str | None, typer.Option(help="Of the training data, YYYY-MM-DD.", autocompletion=complete_day)]
Database = Annotated[
    str | None,
    typer.Option(help="Archive this database only, and all of its tables.", autocompletion=complete_database),
]
Workflow = Annotated[str | None, typer.Option(help="The EndToEndWorkflow, where several are declared.")]
Refresh = Annotated[bool, typer.Option("--refresh", help="Make everything again, also what is there already.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for the end; ends with 1 where it does not end well.")]


@group.command()
def train(
    model: Model,
    version: Annotated[str | None, typer.Option(help="Its version; without it the next free number.")] = None,
    start_date: Date = None,
    end_date: Date = None,
    snapshot_date: Day = None,
    hyperparameters: Annotated[
        str | None, typer.Option(help='A JSON object in place of the declared ones: {"learning_rate": 0.05}.')
    ] = None,
    job: Annotated[str | None, typer.Option(help="The training job, name or id, in place of the declared one.")] = None,
    source_database: Database = None,
    workflow: Workflow = None,
    refresh: Refresh = False,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Archive, build features and train a version of a model, in the deployment at DAGSTER_HOME."""
    from adfml_cli.workflow import run_workflow

    with telling_errors():
        run_workflow(
            "train",
            workflow=workflow,
            refresh=refresh,
            wait=wait,
            as_json=as_json,
            model_name=model,
            model_version=version,
            start_date=start_date,
            end_date=end_date,
            snapshot_date=snapshot_date,
            hyperparameters=hyperparameters,
            databricks_job_id=job,
            source_database=source_database,
        )


@group.command()
def score(
    model: Model,
    day: Day = None,
    alias: Annotated[str | None, typer.Option(help="Score by the version that has this alias.")] = None,
    version: Annotated[str | None, typer.Option(help="Score by this version, whatever the alias says.")] = None,
    job: Annotated[str | None, typer.Option(help="The scoring job, name or id, in place of the declared one.")] = None,
    source_database: Database = None,
    workflow: Workflow = None,
    refresh: Refresh = False,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Archive, build features and score a day, in the deployment at DAGSTER_HOME."""
    from adfml_cli.workflow import run_workflow

    with telling_errors():
        run_workflow(
            "score",
            workflow=workflow,
            refresh=refresh,
            wait=wait,
            as_json=as_json,
            model_name=model,
            snapshot_date=day,
            alias=alias,
            model_version=version,
            databricks_job_id=job,
            source_database=source_database,
        )


@group.command()
def watch(
    backfill: Annotated[str, typer.Argument(help="Its id, as train and score print it.")], as_json: AsJson = False
) -> None:
    """Say what a backfill does until it has ended; ends with 1 where it does not end well."""
    from adfml_cli.workflow import run_watch

    with telling_errors():
        run_watch(backfill, as_json=as_json)


@group.command()
def backfill(
    selection: Annotated[
        str,
        typer.Argument(
            help='An asset, or Dagster\'s syntax: group:archive, key:"ml/scores/*", +key:"ml/scores/churn".',
            autocompletion=complete_asset,
        ),
    ],
    first: Annotated[str, typer.Option("--from", help="The first day, UTC, YYYY-MM-DD.", autocompletion=complete_day)],
    last: Annotated[
        str | None,
        typer.Option("--to", help="The last day, UTC; without it only the first.", autocompletion=complete_day),
    ] = None,
    refresh: Refresh = False,
    preview: Annotated[bool, typer.Option("--preview", help="Only say what would be done.")] = False,
    yes: Yes = False,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Materialise days of assets: what is missing, what can be; says first what cannot be repeated, and why."""
    from adfml_cli.backfill import run_backfill

    with telling_errors():
        run_backfill(selection, first, last, refresh=refresh, preview_only=preview, yes=yes, wait=wait, as_json=as_json)
