"""`adfml init`: a new pipeline's folder below `adfml_assets/defs`, from a template."""

from __future__ import annotations

import importlib
import json
import keyword
import re
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from adfml_cli import declared, workflow
from adfml_cli.errors import CommandFailed
from adfml_cli.output import print_json
from adfml_cli.tables_yaml import quote

FOLDER = Path(__file__).parent / "templates"
TAKES: dict[str, tuple[str, ...]] = {
    "archive": ("database", "tables", "owner"),
    "incremental": ("database", "tables", "watermark", "owner"),
    "features": ("database", "tables", "timestamp", "key", "owner"),
    "model": ("features", "database", "tables", "timestamp", "key", "owner"),
    "score": ("model", "features", "database", "tables", "owner"),
    "text": ("database", "tables", "key", "text", "owner"),
    "anomalies": ("database", "tables", "timestamp", "variables", "owner"),
    "workflow": (),
}
"""What each template is filled with."""

DEFAULTS: dict[str, Any] = {
    "database": "crm",
    "tables": ["dbo.Orders"],
    "key": "CustomerId",
    "timestamp": "OrderedAt",
    "watermark": "ModifiedAt",
    "text": "Comment",
    "variables": ["Temperature", "Pressure"],
    "features": "customer_features",
    "owner": "team:data-platform",
}
TARGET = "Predictions"
"""The table that scores are written to, where none is given."""

_OPTIONS = {"tables": "table", "variables": "variable"}
_OF_FEATURES = ("model", "score")
_SCHEDULES = {"incremental": "check_schedule"}
_SEVERAL = ("archive", "incremental")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def make_pipeline(name: str, template: str, given: Mapping[str, Any], *, as_json: bool) -> None:
    """Write the folder, make sure that the deployment loads with it, and say what is in it.

    Args:
        name: of the folder, and of what is declared in it.
        given: what the template is filled with; None or nothing: its default.

    Raises:
        CommandFailed: a name that cannot be, a template there is none of, an option that the template does not take, a
            folder that is there already; or the definitions cannot be loaded with it: then it is taken away again.
        InvalidDeclarations: what was given is nothing that can be declared. Nothing was written.
    """
    values = fill(name, template, given)
    folder = declared.DEFS / name
    files = write_folder(folder, render(name, template, values))
    try:
        importlib.invalidate_caches()
        with warnings.catch_warnings():
            # Of Dagster's own making; what is wrong is an error.
            warnings.simplefilter("ignore")
            workflow.load_repository()
    except BaseException:
        # Whatever it is, Ctrl-C too: a deployment that loaded before must load afterwards.
        shutil.rmtree(folder)
        typer.echo(f"With {name} the definitions cannot be loaded; it was taken away again.", err=True)
        raise
    known = find_known(template, given)
    left_out = {one: values[one] for one in TAKES[template] if not given.get(one)}
    taken = {one: value for one, value in left_out.items() if known.get(one) == value}
    guessed = {one: value for one, value in left_out.items() if one not in taken}
    if as_json:
        made = {"folder": str(folder), "template": template, "files": files}
        print_json({**made, "taken_from_declarations": taken, "not_given": guessed})
        return
    for file in files:
        typer.echo(f"made     {folder / file}")
    if taken:
        shown = ", ".join(f"--{_OPTIONS.get(one, one)} {_join(value)}" for one, value in taken.items())
        typer.echo(f"taken from what is declared: {shown}")
    for one, value in guessed.items():
        typer.echo(f"not given: --{_OPTIONS.get(one, one)}; {_join(value)} stands in its place")


def _join(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)


def fill(name: str, template: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """What a template is filled with.

    Raises:
        CommandFailed: as `make_pipeline`.
    """
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise CommandFailed(f"{name!r} cannot be a pipeline's name: expected letters, digits and _, a letter first.")
    if template not in TAKES:
        raise CommandFailed(f"--template is {template!r}: expected one of {', '.join(TAKES)}.")
    for one, value in given.items():
        if value and one not in TAKES[template]:
            takes = ", ".join(f"--{_OPTIONS.get(known, known)}" for known in TAKES[template])
            raise CommandFailed(f"Template {template} does not take --{_OPTIONS.get(one, one)}: it takes {takes}.")
    given = {one: value for one, value in given.items() if value}
    values = {**DEFAULTS, "model": name, **find_known(template, given), **given}
    if template == "score" and "tables" not in given:
        schema = values["tables"][0].partition(".")[0]
        values["tables"] = [f"{schema}.{TARGET}"]
    if template not in _SEVERAL and len(values["tables"]) > 1:
        raise CommandFailed(f"Template {template} is about one table, and {len(values['tables'])} were given.")
    for table in values["tables"]:
        schema, _, rest = table.partition(".")
        if not (schema and rest):
            raise CommandFailed(f"--table is {table!r}: expected schema.table, such as dbo.Orders (SQLite's is main).")
    return values


def find_known(template: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """What the declarations of the model and the feature set that are named say already; nothing of other templates."""
    if template not in _OF_FEATURES:
        return {}
    models = [one for kind, one in declared.read_declarations(declared.DEFS) if kind == "TrainedModel"]
    trained = next((one for one in models if one.get("name") == given.get("model")), {})
    of_model = {"features": trained["from_features"]} if trained.get("from_features") else {}
    features = given.get("features") or of_model.get("features") or DEFAULTS["features"]
    return {**of_model, **read_features(features)}


def read_features(name: str) -> dict[str, Any]:
    """What the declaration of a feature set says of the tables it is made of; nothing where there is none."""
    sets = [one for kind, one in declared.read_declarations(declared.DEFS) if kind == "FeatureSet"]
    found = next((one for one in sets if one.get("name") == name), None)
    if found is None:
        return {}
    known = {"key": found.get("key"), "owner": next(iter(found.get("owners") or ()), None)}
    for table in (found.get("tables") or {}).values():
        if not isinstance(table, dict) or "timestamp" not in table:
            continue
        database, _, rest = str(table.get("table", "")).partition(".")
        known |= {"database": database, "tables": [rest], "timestamp": table["timestamp"]}
        break
    return {one: value for one, value in known.items() if value}


def render(name: str, template: str, values: Mapping[str, Any]) -> dict[str, str]:
    """The files of a pipeline: their names and texts."""
    import jinja2

    from resources.settings import database_setting

    environment = jinja2.Environment(  # noqa: S701 - no page for a browser is made of it
        loader=jinja2.FileSystemLoader(FOLDER / template), keep_trailing_newline=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"quote": quote, "string_literal": json.dumps}
    words = {
        **values,
        "name": name,
        "table": values["tables"][0],
        "database_setting": database_setting(values["database"]).name,
        "is_followed": _is_followed(),
        "has_schedule": _has_schedule(values["database"], _SCHEDULES.get(template, "schedule")),
    }
    files = {
        one.removesuffix(".jinja"): environment.get_template(one).render(words) for one in environment.list_templates()
    }
    return files | ({"__init__.py": ""} if any(one.endswith(".py") for one in files) else {})


def _is_followed() -> bool:
    """Whether a workflow is declared already that follows: Dagster takes an asset in one of them only."""
    return any(
        kind == "EndToEndWorkflow" and "follow" in one for kind, one in declared.read_declarations(declared.DEFS)
    )


def _has_schedule(database: str, field: str) -> bool:
    """Whether a database is archived by another declaration already, with a schedule: a second one has its name."""
    archives = [one for kind, one in declared.read_declarations(declared.DEFS) if kind == "ArchivedDatabase"]
    scheduled = [one for one in archives if one.get(field)]
    return any(database in (one.get("database"), *one.get("databases", ())) for one in scheduled)


def write_folder(folder: Path, files: Mapping[str, str]) -> list[str]:
    """Write a folder whole or not at all, once its declarations are valid. Returns the names of its files.

    Raises:
        CommandFailed: it is there already, or cannot be written.
        InvalidDeclarations: its YAML is not what the components take.
    """
    from adfml_assets.declarations import check_declarations

    if folder.exists():
        raise CommandFailed(f"{folder} is there already, and stays as it is: choose another name.")
    try:
        # Beside the folder it becomes, so that a name is all that changes; and where nothing is loaded from.
        with tempfile.TemporaryDirectory(dir=folder.parent.parent, prefix=".new-") as temporary:
            made = Path(temporary) / folder.name
            made.mkdir()
            for name, text in files.items():
                (made / name).write_text(text, encoding="utf-8")
            check_declarations(made)
            made.rename(folder)
    except OSError as error:
        raise CommandFailed(f"{folder} cannot be written: {error.strerror or error}.") from None
    return sorted(files)
