"""Run the workflow of a deployment, look after its models and remote jobs, and declare new pipelines."""

from __future__ import annotations

import typer

from adfml_cli import cli_alerts, cli_doctor, cli_jobs, cli_models, cli_production, cli_projects, cli_workflow
from adfml_cli.output import telling_errors

__all__ = ["app", "telling_errors"]

app = typer.Typer(
    no_args_is_help=True,
    help=__doc__,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,  # they would show the values of variables, secrets among them
)
# Groups without a name: their commands are the app's own, in this order.
for group in (cli_workflow.group, cli_models.group, cli_projects.group, cli_production.group, cli_doctor.group):
    app.add_typer(group)
app.add_typer(cli_jobs.group, name="jobs")
app.add_typer(cli_alerts.group, name="alerts")
