"""What failed, and what is told of it. Texts of others (errors) are cut, and hold no secret that this process knows."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from resources.help import HELP_PAGE, build_help_url, name_anchor
from resources.redaction import redact
from resources.settings import UI_URL

Kind = Literal["run", "check", "tick", "backfill"]
Occasion = Literal["failed", "again", "resolved"]

MOST_ERROR_CHARACTERS = 1_500
MOST_SHOWN = 20
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Failure:
    """One thing that failed.

    Attributes:
        subject: what two failures have in common that are the same: `asset | partition`, or a job, check, sensor.
        kind: of what failed.
        event_id: rises with every failure of a subject; one that was seen is not counted again.
        at: when, UTC.
        error: what was said, in the words of whoever said it.
        error_class: the class of the error where it is one of this project's.
        asset, partition: what was to be made.
        run_id: of Dagster's run.
        page: the remote job's.
        submission_key: the remote job's, in the ledger.
    """

    subject: str
    kind: Kind
    event_id: int
    at: datetime
    error: str
    error_class: str | None = None
    asset: str | None = None
    partition: str | None = None
    run_id: str | None = None
    page: str | None = None
    submission_key: str | None = None

    @property
    def fingerprint(self) -> str:
        """Equal where failures have one cause: then they are told together."""
        text = re.sub(r"\d+", "0", self.error.partition("\n")[0])
        for name in (self.asset, self.partition):
            text = text.replace(re.sub(r"\d+", "0", name), "") if name else text
        return hashlib.sha256(f"{self.kind}|{self.error_class}|{text}".encode()).hexdigest()


@dataclass(frozen=True)
class Alert:
    """What is told, to every channel alike.

    Attributes:
        occasion: whether it failed, failed again, or is mended.
        title: in one line.
        subjects: what it is about; the first of them where there are many.
        error: what was said, cut.
        commands: what to run to try again.
        links: (what it leads to, address).
        note: what else there is to know.
    """

    occasion: Occasion
    title: str
    subjects: tuple[str, ...]
    error: str = ""
    commands: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    note: str = ""

    def to_json(self) -> str:
        """To be kept until it is sent."""
        return json.dumps(asdict(self))


def parse_alert(text: str) -> Alert:
    """An alert that was kept."""
    kept: dict[str, Any] = json.loads(text)
    return Alert(
        kept["occasion"],
        kept["title"],
        tuple(kept["subjects"]),
        kept["error"],
        tuple(kept["commands"]),
        tuple((name, address) for name, address in kept["links"]),
        kept["note"],
    )


def build_alert(occasion: Occasion, failures: Sequence[Failure], counts: Sequence[int]) -> Alert:
    """What is told of failures that have one cause.

    Args:
        failures: the last failure of each subject.
        counts: how often each has failed since it last was well.
    """
    first, number = failures[0], len(failures)
    name = first.subject if number == 1 else f"{first.subject} and {number - 1} more"
    most = max(counts)
    verb = {"failed": "failed", "again": f"failed again, {most} times now", "resolved": "is well again"}[occasion]
    shown = tuple(cut(one.subject, 300) for one in failures[:MOST_SHOWN])
    title = cut(f"{name} {verb}", 300)
    if occasion == "resolved":
        note = f"It had failed {most} time{'' if most == 1 else 's'}." if number == 1 else ""
        return Alert(occasion, title, shown, note=note)
    more = f"And {number - MOST_SHOWN} more." if number > MOST_SHOWN else ""
    commands = dict.fromkeys(command for one in failures if (command := build_command(one)))
    return Alert(
        occasion,
        title,
        shown,
        cut(first.error, MOST_ERROR_CHARACTERS),
        tuple(list(commands)[:MOST_SHOWN]),
        tuple(_build_links(first)),
        more,
    )


def build_command(failure: Failure) -> str | None:
    """The command that tries again; None where there is none."""
    if failure.submission_key is not None:
        return f"adfml jobs retry {shlex.quote(failure.submission_key)}"
    if failure.asset is not None and _DAY.fullmatch(failure.partition or "") and failure.kind != "check":
        return f"adfml backfill {shlex.quote(failure.asset)} --from {failure.partition} --refresh"
    return None


def cut(text: str, most: int) -> str:
    """A text of others: without secrets and what is no character, and not longer than is read."""
    clean = _CONTROL.sub("", redact(text)).strip()
    return clean if len(clean) <= most else f"{clean[: most - 15].rstrip()} ... (shortened)"


def _build_links(failure: Failure) -> list[tuple[str, str]]:
    links = []
    ui = UI_URL.read().rstrip("/")
    if ui and failure.run_id:
        links.append(("Run", f"{ui}/runs/{failure.run_id}"))
    if ui and failure.kind == "tick":
        links.append(("Automation", f"{ui}/automation"))
    if failure.page and failure.page.startswith(("https://", "http://")):
        links.append(("Remote job", failure.page))
    if failure.error_class:
        anchor = name_anchor(failure.error_class)
        links.append(("What to do", build_help_url(anchor) or f"{HELP_PAGE}#{anchor}"))
    return links
