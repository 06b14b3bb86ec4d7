"""The commands of the docs that a test cannot run as they stand, each with how it is held to be right."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import typer
import yaml

from tests.docs.pages import ROOT
from tests.docs.shell import Command

Check = Callable[[Command], None]


def is_make_target(command: Command) -> None:
    targets = re.findall(r"^([\w./$()-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = [word for word in command.words[1:] if "=" not in word]
    assert set(named) <= {target.replace("$(VENV)", ".venv") for target in targets}, command


def takes_options(load: Callable[[], click.Command]) -> Check:
    """The program takes these arguments: they are parsed, and nothing is done."""

    def check(command: Command) -> None:
        parse(load(), list(command.words[1:]), str(command))

    return check


def parse(program: click.Command, arguments: list[str], name: str) -> None:
    with program.make_context(name, arguments, resilient_parsing=False) as context:
        rest = [*getattr(context, "_protected_args", []), *context.args]
        if isinstance(program, click.Group) and rest:
            found, sub, arguments = program.resolve_command(context, rest)
            assert sub is not None, f"{name}: there is no {found}"
            parse(sub, arguments, name)


def load_adfml() -> click.Command:
    from adfml_cli.cli import app

    return typer.main.get_command(app)


def load_daemon() -> click.Command:
    from dagster._daemon.cli import create_dagster_daemon_cli

    return create_dagster_daemon_cli()


def load_webserver() -> click.Command:
    from dagster_webserver.cli import dagster_webserver

    return dagster_webserver


def names_files(command: Command) -> None:
    """The files it is given are there and can be read; a profile of a compose file is one of its services'."""
    files = [ROOT / word for word in command.words if word.startswith("deploy/")]
    documents = [
        one
        for file in files
        if file.suffix == ".yaml"
        for one in yaml.safe_load_all(file.read_text())
        if one is not None
    ]
    assert all(file.is_file() for file in files), command
    if "--profile" in command.words:
        profile = command.words[command.words.index("--profile") + 1]
        profiles = {
            name for one in documents for service in one["services"].values() for name in service.get("profiles", ())
        }
        assert profile in profiles, command


def is_local_cloud(command: Command) -> None:
    """The local cloud is started or stopped, with the one option that both take."""
    found = re.fullmatch(
        r'(?:eval "?\$\()?python -m local_cloud (?:start|stop) --state [\w~/.-]+(?:\)"?)?', command.text
    )
    assert found, command


def is_fault(command: Command) -> None:
    from local_cloud.faults import Fault

    Fault.model_validate(json.loads(command.words[2]))


ELSEWHERE: Sequence[tuple[str, Check, str]] = (
    (r"make ", is_make_target, "demo: tests/demo_run; test and check are what runs this"),
    (r"dagster-daemon ", takes_options(load_daemon), "runs for ever; tests/daemon works with one"),
    (r"dagster-webserver ", takes_options(load_webserver), "runs for ever; tests/demo_run starts one"),
    (r"adfml score-online ", takes_options(load_adfml), "needs an endpoint: tests/azure_ml_online/test_command.py"),
    (
        r"docker compose |helm |kubectl ",
        names_files,
        "no engine and no cluster here: tests/production runs what is in them",
    ),
    (r"adfml jobs ", takes_options(load_adfml), "needs jobs at a service: tests/command"),
    (r"adfml (backfill|tables|init) ", takes_options(load_adfml), "needs the whole shop, or writes: tests/command"),
    (r"adfml doctor", takes_options(load_adfml), "needs a daemon: tests/doctor, tests/daemon/test_doctor.py"),
    (
        r'(eval "?\$\()?python -m local_cloud ',
        is_local_cloud,
        "leaves a server running: tests/local_cloud/test_command_line.py",
    ),
    (r"curl --json .*/_local/faults", is_fault, "the local cloud's tests order each kind"),
)

# Blocks that are run as they stand, in another test of this folder.
FIRST_HOUR = "docs/first-hour.md"
AS_THEY_STAND = {
    "README.md": "tests/docs/test_first_table.py",
    FIRST_HOUR: "tests/docs/test_first_hour.py, in make soak",
}

# A shown line that begins so comes from a service that is not there in this test.
SAID_ELSEWHERE = {
    "Unity Catalog: ": "tests/models/test_unity_catalog.py",
}
# Waiting for the end takes a daemon: what is said until then is compared, the rest in tests/workflow and tests/daemon.
WAIT = "--wait"
WAITED_FROM = "Watch it: "


def of_today(text: str) -> str:
    """A command of the docs for today: days on its page are those of when it was written."""
    today = datetime.now(UTC).date()
    return text.replace("2026-11-30", str(today)).replace("2026-11-29", str(today - timedelta(days=1)))


def find_check(command: Command) -> Check | None:
    return next((check for pattern, check, _ in ELSEWHERE if re.match(pattern, command.text + " ")), None)


def find_file(reason: str) -> list[Path]:
    return [ROOT / name for name in re.findall(r"tests/[\w/.]+", reason)]
