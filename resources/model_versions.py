"""What the registry keeps of models: versions, verdicts, changes of aliases. Plain values, no database."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

CHAMPION, CHALLENGER = "champion", "challenger"
"""The version that scores; the newest version that passed its gate and is not champion yet."""

Verdict = Literal["passed", "refused"]
Action = Literal["promote", "rollback", "judge", "point", "adopt"]

_ALIAS = re.compile(r"[A-Za-z0-9_-]{1,60}")
_RESERVED_ALIAS = re.compile(r"latest|v[0-9]+", re.IGNORECASE)


@dataclass(frozen=True)
class VersionRecord:
    """What is known of a version once its training job's result was verified.

    Attributes:
        model, version: its name and number.
        run_id: the Dagster run that collected it.
        submission_key: the training job's, in the ledger; None where there is none.
        model_file: the file in the version's folder.
        model_sha256: what that file has to be before it is loaded, hexadecimal.
        features_sha256: identity of the features it was fitted on.
        metrics: split -> metric -> value; None where a metric is not defined.
        registered_name: its name in Unity Catalog or a workspace's registry; None where it is in neither.
        registered_version: its number there.
    """

    model: str
    version: str
    run_id: str
    model_file: str
    model_sha256: str
    features_sha256: str
    metrics: Mapping[str, Any] = field(default_factory=dict)
    submission_key: str | None = None
    registered_name: str | None = None
    registered_version: str | None = None


@dataclass(frozen=True)
class ModelVersion(VersionRecord):
    """A version as the registry has it.

    Attributes:
        registered_at: when it was registered, UTC.
        verdict: `passed` or `refused`; None until it was judged.
        reason: of the verdict: the numbers, in sentences.
        compared_to: the version that was champion when it was judged; None where there was none.
        findings: what was found of each reference: `reference`, `kind` (baseline or champion), `passed`, `reason`.
        judged_at: when it was judged, UTC.
    """

    registered_at: datetime | None = None
    verdict: Verdict | None = None
    reason: str | None = None
    compared_to: str | None = None
    findings: Sequence[Mapping[str, Any]] = ()
    judged_at: datetime | None = None


@dataclass(frozen=True)
class AliasChange:
    """One change of an alias.

    Attributes:
        id: grows with every change.
        model, alias: whose alias.
        version: where it points since then; None: it was taken away.
        previous: where it pointed before; None: it was not there.
        action: what changed it; `adopt`: it was there before changes were recorded.
        changed_at: when, UTC.
        changed_by: a run, or who promoted by hand.
        reason: why.
        mirrored_at: when Unity Catalog was told, or it was clear that there is nothing to tell, UTC; None: not yet.
    """

    id: int
    model: str
    alias: str
    version: str | None
    previous: str | None
    action: Action
    changed_at: datetime
    changed_by: str
    reason: str
    mirrored_at: datetime | None = None


def is_alias_name(text: str) -> bool:
    """Whether Unity Catalog takes a text as an alias, and it fits into the control database."""
    return bool(_ALIAS.fullmatch(text)) and not _RESERVED_ALIAS.fullmatch(text)


def order_version(version: str) -> tuple[int, int, str]:
    """A key to sort versions by: numbers by value, "10" after "9"; anything else before them, by text."""
    return (1, int(version), version) if version.isdecimal() and version.isascii() else (0, 0, version)


def find_predecessor(changes: Sequence[AliasChange]) -> str | None:
    """The champion before the current one: what a rollback goes back to. None where there was none.

    A promotion puts a version on top of those before it, a rollback takes the top one away: a version that was rolled
    back is not gone back to.

    Args:
        changes: of the alias `champion`, oldest first.
    """
    champions = _replay(changes)
    before = [version for version in champions[:-1] if version is not None]
    return before[-1] if before else None


def find_rollback(changes: Sequence[AliasChange], version: str) -> AliasChange | None:
    """The rollback that took a version from being champion, where it has not been champion again since then."""
    last = next((change for change in reversed(changes) if version in (change.version, change.previous)), None)
    return last if last is not None and last.action == "rollback" and last.previous == version else None


def _replay(changes: Sequence[AliasChange]) -> list[str | None]:
    champions: list[str | None] = []
    for change in changes:
        if change.action == "rollback":
            champions = champions[:-1]
            while champions and champions[-1] != change.version:
                champions.pop()
        else:
            champions.append(change.version)
    return champions
