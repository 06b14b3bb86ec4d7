"""Commands that declare: tables of a database as YAML, and a new pipeline from a template."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adfml_cli.completion import complete_database, complete_model, complete_template
from adfml_cli.output import AsJson, telling_errors

group = typer.Typer()


@group.command()
def tables(
    database: Annotated[
        str, typer.Argument(help="Its name: its address is in ADFML_<NAME>_URL.", autocompletion=complete_database)
    ],
    include: Annotated[list[str] | None, typer.Option(help="Only tables that fit, such as 'dbo.*'.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="No tables that fit, such as '*.tmp_*'.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write a file that is not there yet.")] = None,
    large_rows: Annotated[
        int, typer.Option(min=1, help="From so many rows on a table is followed by a watermark, where it has one.")
    ] = 1_000_000,
    hash_personal: Annotated[
        bool, typer.Option("--hash-personal", help="Hash columns that look like personal data, not only say so.")
    ] = False,
    no_counts: Annotated[bool, typer.Option("--no-counts", help="Do not count rows: quicker on large tables.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look at a database and print the defs.yaml that archives it: keys, watermarks, sizes, personal data."""
    from adfml_cli import tables as command
    from adfml_cli.tables_yaml import write_yaml

    with telling_errors():
        found = command.discover(database, include or (), exclude or (), count=not no_counts, large_rows=large_rows)
        text = write_yaml(database, found, hash_personal=hash_personal)
        command.show_tables(found, text, output, as_json=as_json)


@group.command()
def init(
    name: Annotated[str, typer.Argument(help="The folder below adfml_assets/defs, and what is declared in it.")],
    template: Annotated[
        str,
        typer.Option(
            help="archive, incremental, features, model, score, text, anomalies or workflow.",
            autocompletion=complete_template,
        ),
    ],
    database: Annotated[str | None, typer.Option(help="The database.", autocompletion=complete_database)] = None,
    table: Annotated[list[str] | None, typer.Option(help="schema.table; several for archive, incremental.")] = None,
    key: Annotated[str | None, typer.Option(help="The column that tells the rows apart.")] = None,
    timestamp: Annotated[str | None, typer.Option(help="The column that says when a row happened.")] = None,
    watermark: Annotated[str | None, typer.Option(help="The column that rows are followed by.")] = None,
    text: Annotated[str | None, typer.Option(help="The column with the text.")] = None,
    variable: Annotated[list[str] | None, typer.Option(help="A column that is watched; at least two.")] = None,
    features: Annotated[str | None, typer.Option(help="The feature set that a model takes.")] = None,
    model: Annotated[str | None, typer.Option(help="The model that scores.", autocompletion=complete_model)] = None,
    owner: Annotated[str | None, typer.Option(help="A person's address, or team:name.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a new pipeline: a folder with a defs.yaml, and code where it needs some, valid at once."""
    from adfml_cli import new_pipeline as command

    with telling_errors():
        given = {
            "database": database,
            "tables": table,
            "key": key,
            "timestamp": timestamp,
            "watermark": watermark,
            "text": text,
            "variables": variable,
            "features": features,
            "model": model,
            "owner": owner,
        }
        command.make_pipeline(name, template, given, as_json=as_json)
