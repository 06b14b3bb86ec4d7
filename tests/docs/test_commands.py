"""Every command of the README and the docs does what stands there, against a small deployment."""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path

import click
import pytest

from tests.docs.conftest import MODEL, Deployment
from tests.docs.elsewhere import (
    AS_THEY_STAND,
    ELSEWHERE,
    FIRST_HOUR,
    SAID_ELSEWHERE,
    WAIT,
    WAITED_FROM,
    find_check,
    load_adfml,
    of_today,
    parse,
)
from tests.docs.pages import PAGES, ROOT, Page
from tests.docs.shape import find_missing
from tests.docs.shell import Command, list_commands
from tests.docs.test_first_table import is_of_first_table

COMMANDS = list_commands()
HERE = [
    one
    for one in COMMANDS
    if one.words[0] == "adfml" and find_check(one) is None and not is_of_first_table(one.fence)
    if one.fence.page != FIRST_HOUR
]
# These say what they say once everything is there.
AFTER_EVERYTHING = ("adfml train --model sales_forecast --version 2", "adfml score --model sales_forecast --version 1")
COMING: set[str] = set()
AFTER_A_PROMOTION, AFTER_A_LOSS = "adfml rollback ", "adfml rebuild"
BLOCKS = [list(commands) for _, commands in groupby(HERE, lambda command: command.fence)]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: str(block[0].fence))
def test_a_block_does_what_stands_there(
    block: list[Command], deployment: Deployment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if block[0].text.startswith(AFTER_A_PROMOTION):
        assert deployment.run("promote", MODEL, "4", "--reason", "passed its gate").exit_code == 0
    if block[0].text.startswith(AFTER_A_LOSS):
        monkeypatch.setenv("ADFML_CONTROL_URL", f"sqlite:///{tmp_path}/empty.sqlite")
    for command in block:
        words = [of_today(word) for word in command.words[1:] if word != WAIT]
        if command.text in AFTER_EVERYTHING:
            with deployment.everything_there():
                done = deployment.run(*words, given=command.given)
        else:
            done = deployment.run(*words, given=command.given)
        assert done.exception is None or isinstance(done.exception, SystemExit), (str(command), done.exception)
        if command.shown is None:
            assert done.exit_code == 0, f"{command}: {done.output}"
            continue
        missing = find_missing(_list_comparable(command), done.output)
        assert missing == [], f"{command} said:\n{done.output}"


def _list_comparable(command: Command) -> list[str]:
    shown = list(command.shown or ())
    if WAIT in command.words:
        end = next((number for number, line in enumerate(shown) if line.startswith(WAITED_FROM)), -1)
        shown = shown[: end + 1]
    return [line for line in shown if not line.startswith(tuple(SAID_ELSEWHERE))]


@pytest.mark.parametrize("command", [one for one in COMMANDS if one not in HERE], ids=str)
def test_a_command_that_cannot_run_here_is_held_to_be_right(command: Command) -> None:
    check = find_check(command)
    if check is not None:
        check(command)
        return
    if command.fence.page == FIRST_HOUR and command.words[0] == "adfml":
        parse(load_adfml(), list(command.words[1:]), str(command))
        return
    as_they_stand = is_of_first_table(command.fence) or command.fence.page == FIRST_HOUR
    assert as_they_stand, f"{command}: neither run by a test nor in ELSEWHERE ({AS_THEY_STAND})"


def test_what_runs_elsewhere_runs_somewhere() -> None:
    unused = [pattern for pattern, _, _ in ELSEWHERE if not any(re.match(pattern, one.text + " ") for one in COMMANDS)]
    assert unused == []
    reasons = [reason for _, _, reason in ELSEWHERE] + list(SAID_ELSEWHERE.values()) + list(AS_THEY_STAND.values())
    files = [name for reason in reasons for name in re.findall(r"tests/[\w/.]*\w", reason)]
    assert [name for name in files if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_command_in_a_sentence_exists_with_its_options(page: Page) -> None:
    wrong = []
    codes = [child.content for token in page.tokens for child in token.children or [] if child.type == "code_inline"]
    for code in codes:
        words = code.split()
        if words[0] != "adfml" or len(words) == 1 or words[1].isupper() or words[1] in COMING:
            continue
        command: click.Command | None = load_adfml()
        names = words[1:]
        while isinstance(command, click.Group) and names:
            command = command.commands.get(names.pop(0))
        options = {option for parameter in command.params for option in parameter.opts} if command else set()
        if command is None or set(re.findall(r"--[a-z][a-z-]*", code)) - options - {"--help"}:
            wrong.append(code)
    assert wrong == []


def test_the_parser_notices_what_is_wrong() -> None:
    parse(load_adfml(), ["models", "sales"], "right")
    for wrong in (["model", "sales"], ["models"], ["models", "sales", "--jso"]):
        with pytest.raises(Exception, match=r"(No such|Missing|is no)"):
            parse(load_adfml(), wrong, "wrong")
