"""`adfml jobs`: the ledger of remote jobs from a shell."""

from __future__ import annotations

from typing import Annotated

import typer

from adfml_cli.completion import complete_asset, complete_day, complete_job, complete_state
from adfml_cli.output import AsJson, Yes, telling_errors

group = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

JOB_HELP = "Its submission key (asset|partition|attempt), asset|partition for the latest, or its id at the service."
Job = Annotated[str, typer.Argument(help=JOB_HELP, autocompletion=complete_job)]
Jobs = Annotated[list[str], typer.Argument(help=JOB_HELP, autocompletion=complete_job)]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for the end; ends with 1 where it does not end well.")]


@group.callback()
def jobs() -> None:
    """List, show, cancel, retry and adopt remote jobs: Databricks runs, Azure ML and OpenAI batches."""


@group.command("list")
def list_jobs(
    service: Annotated[str | None, typer.Option(help="databricks, azure_ml_batch or openai_batch.")] = None,
    state: Annotated[
        list[str] | None,
        typer.Option(
            help="submitting, running, succeeded, failed, cancelled; outstanding for the first two; uncollected: "
            "succeeded, and nobody has its result. Several may be given.",
            autocompletion=complete_state,
        ),
    ] = None,
    asset: Annotated[
        str | None, typer.Option(help="The asset; * stands for any characters.", autocompletion=complete_asset)
    ] = None,
    partition: Annotated[str | None, typer.Option(help="A day or a version.", autocompletion=complete_day)] = None,
    since: Annotated[str | None, typer.Option(help="Written since: 2h, 3d, 2026-11-30, 2026-11-30T05:00.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Remote jobs, newest first."""
    from adfml_cli import jobs as command

    with telling_errors():
        wanted = command.parse_filter(
            service=service, states=state or (), asset=asset, partition=partition, since=since, limit=limit
        )
        command.show_list(wanted, as_json=as_json)


@group.command()
def show(
    job: Job,
    log: Annotated[bool, typer.Option("--log", help="Also its log, where the service hands it out.")] = False,
    as_json: AsJson = False,
) -> None:
    """One remote job with all attempts of its partition: what happened when, its page, and what the service said."""
    from adfml_cli import job_page as command

    with telling_errors():
        command.show_job(job, with_log=log, as_json=as_json)


@group.command()
def cancel(
    job: Jobs,
    reason: Annotated[str, typer.Option(help="Why, for the record and for the runs that wait.")] = "",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Stop jobs at their service. The runs that wait for them fail, and say so."""
    from adfml_cli import job_changes as command

    with telling_errors():
        command.cancel_jobs(job, reason, yes=yes, as_json=as_json)


@group.command()
def retry(
    job: Job,
    downstream: Annotated[
        bool, typer.Option("--downstream", help="Also what follows from the result and is not there yet.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also a job whose result is there: it is done, and paid for, again.")
    ] = False,
    yes: Yes = False,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Submit a new attempt and collect its result, as a backfill with the config of the run before."""
    from adfml_cli import job_retry as command

    with telling_errors():
        command.retry_job(job, downstream=downstream, force=force, yes=yes, wait=wait, as_json=as_json)


@group.command()
def adopt(
    asset: Annotated[str, typer.Argument(help="The asset that is to get its result.", autocompletion=complete_asset)],
    partition: Annotated[str, typer.Argument(help="Its day or version.", autocompletion=complete_day)],
    remote_id: Annotated[str, typer.Argument(help="The job's id at the service.")],
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Take up a job that runs, or ran, at the service without being in the ledger, and collect its result.

    Refused with every reason where it is not the job that the asset would submit for the partition.
    """
    from adfml_cli import job_adoption as command

    with telling_errors():
        command.adopt_job(asset, partition, remote_id, wait=wait, as_json=as_json)
