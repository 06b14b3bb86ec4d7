"""What a check found: one thing that was looked at, how it is, and what to do where it is not as it should be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from resources.errors import Refused, SettingInvalid, SettingMissing, Unreachable
from resources.help import HELP_PAGE, DocumentedError
from resources.redaction import redact

Status = Literal["ok", "warning", "failed", "unused"]
"""warning: it works, and somebody should look at it. unused: nothing that is declared needs it."""

_CHARACTERS = 600


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: the check's name, as `--only` takes it.
        subject: what was looked at: a database, a container, a job.
        status: how it is.
        found: what was found, a sentence without secrets.
        advice: what to do; "" where there is nothing to do.
        seconds: from the beginning of the check until it was found.
    """

    check: str
    subject: str
    status: Status
    found: str
    advice: str = ""
    seconds: float = field(default=0.0, compare=False)

    def __post_init__(self) -> None:
        """A second line against secrets: what drivers and services say goes through the filter of the logs."""
        for name in ("subject", "found", "advice"):
            object.__setattr__(self, name, _shorten(redact(getattr(self, name))))


@dataclass(frozen=True)
class Report:
    """All findings of one look at a deployment, in the order of the checks."""

    findings: Sequence[Finding]
    seconds: float

    @property
    def failed(self) -> bool:
        """Whether something is not as it has to be."""
        return any(finding.status == "failed" for finding in self.findings)

    @property
    def counts(self) -> dict[Status, int]:
        """How many findings there are of each status."""
        found = Counter(finding.status for finding in self.findings)
        return {status: found[status] for status in ("ok", "warning", "failed", "unused")}

    def to_json(self) -> dict[str, Any]:
        """The report for programs."""
        return {
            "status": "failed" if self.failed else "ok",
            "counts": self.counts,
            "seconds": round(self.seconds, 2),
            "findings": [
                {
                    "check": one.check,
                    "subject": one.subject,
                    "status": one.status,
                    "found": one.found,
                    "advice": one.advice,
                    "seconds": round(one.seconds, 2),
                }
                for one in self.findings
            ],
        }


@dataclass(frozen=True)
class Notes:
    """Writes the findings of one check."""

    check: str

    def ok(self, subject: str, found: str) -> Finding:
        """It is as it should be."""
        return Finding(self.check, subject, "ok", found)

    def warning(self, subject: str, found: str, advice: str) -> Finding:
        """It works, and somebody should look at it."""
        return Finding(self.check, subject, "warning", found, advice)

    def failed(self, subject: str, found: str, advice: str) -> Finding:
        """It is not as it has to be."""
        return Finding(self.check, subject, "failed", found, advice)

    def unused(self, subject: str, found: str) -> Finding:
        """Nothing that is declared needs it."""
        return Finding(self.check, subject, "unused", found)

    def error(self, subject: str, error: Exception) -> Finding:
        """What a check raised: a known error in its own words, any other as what it is."""
        found, advice = explain(error)
        return self.failed(subject, found, advice)


def explain(error: Exception) -> tuple[str, str]:
    """What an error found and what to do about it, apart; a message that holds both stays whole."""
    match error:
        case Unreachable():
            return _end(
                f"{error.service} at {error.address} cannot be reached: {error.reason}"
            ), f"Check {error.check}."
        case Refused():
            return _end(f"{error.service} at {error.address} refused: {error.reason}"), f"Check {error.check}."
        case SettingMissing():
            return f"{error.setting} is not set: {error.purpose}.", f"Set it, for example to {error.example}."
        case SettingInvalid():
            return f"{error.setting} is not valid.", f"Expected: {error.expected}."
        case DocumentedError():
            return str(error), f"See {error.help_url or f'{HELP_PAGE}#{error.anchor}'}."
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}".rstrip(
        ": "
    ), "The check itself has failed: what it looks at is not known."


def join_names(names: Iterable[str], most: int = 8) -> str:
    """Names for a sentence, the first of them where there are many."""
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def _end(sentence: str) -> str:
    return sentence if sentence.endswith((".", "?", "!")) else f"{sentence}."


def _shorten(text: str) -> str:
    text = " ".join(text.split()) if "\n" in text else text
    return text if len(text) <= _CHARACTERS else text[: _CHARACTERS - 1] + "…"
