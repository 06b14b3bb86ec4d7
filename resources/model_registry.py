"""The registry of models, in the control database: versions, the gate's verdicts, and which version has which alias.

It is the truth; Unity Catalog is told afterwards (`resources.unity_catalog`). Every change of an alias is a row.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

from resources.control import run_transaction, utc_now
from resources.control_tables import model_alias_changes as changes
from resources.control_tables import model_aliases as aliases
from resources.control_tables import model_versions as versions
from resources.model_errors import InvalidAlias, NothingToRollBack, NotPassed, UnknownVersion, VersionKept
from resources.model_versions import (
    CHALLENGER,
    CHAMPION,
    Action,
    AliasChange,
    ModelVersion,
    Verdict,
    VersionRecord,
    find_predecessor,
    find_rollback,
    is_alias_name,
    order_version,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

P = ParamSpec("P")
T = TypeVar("T")

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "AliasChange",
    "InvalidAlias",
    "ModelRegistry",
    "ModelVersion",
    "NotPassed",
    "NothingToRollBack",
    "UnknownVersion",
    "VersionKept",
    "VersionRecord",
    "is_alias_name",
    "order_version",
]

_NAME_CHARACTERS = 100


def _transaction(
    method: Callable[Concatenate[ModelRegistry, Connection, P], T],
) -> Callable[Concatenate[ModelRegistry, P], T]:
    """Run a method in a transaction of its own, again where the server ended it to let another through."""

    def run(self: ModelRegistry, /, *arguments: P.args, **keywords: P.kwargs) -> T:
        return run_transaction(self._engine, lambda connection: method(self, connection, *arguments, **keywords))

    functools.update_wrapper(run, method)
    return run


class ModelRegistry:
    """Versions of models and their aliases. One version an alias; a version may have several."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @_transaction
    def register(self, connection: Connection, record: VersionRecord) -> ModelVersion:
        """Note a version whose files were verified.

        The same version again, with the same file from the same job, stays as it is, with its verdict. Another file or
        job replaces it: it has to be judged anew, and is no challenger until then.

        Raises:
            VersionKept: another model was left for a version that is or was champion.
        """
        found = _find(connection, record.model, record.version)
        if found is not None:
            if (found.model_sha256, found.submission_key) == (record.model_sha256, record.submission_key):
                return found
            if _was_champion(connection, record.model, record.version):
                raise VersionKept(record.model, record.version)
            connection.execute(versions.delete().where(_is_version(record.model, record.version)))
            if _read_aliases(connection, record.model).get(CHALLENGER) == record.version:
                reason = "It was trained again and has to be judged anew."
                _move(connection, record.model, CHALLENGER, None, "judge", record.run_id, reason)
        connection.execute(
            versions.insert().values(
                model=record.model,
                version=record.version,
                registered_at=utc_now(),
                run_id=record.run_id,
                submission_key=record.submission_key,
                model_file=record.model_file,
                model_sha256=record.model_sha256,
                features_sha256=record.features_sha256,
                registered_name=record.registered_name,
                registered_version=record.registered_version,
                metrics=json.dumps(dict(record.metrics), sort_keys=True),
            )
        )
        return _get(connection, record.model, record.version)

    @_transaction
    def judge(
        self,
        connection: Connection,
        model: str,
        version: str,
        verdict: Verdict,
        reason: str,
        compared_to: str | None,
        *,
        findings: Sequence[Mapping[str, Any]] = (),
        by: str = "gate",
    ) -> ModelVersion:
        """Note the gate's verdict on a version; the first one stays until the version is trained again.

        In the same transaction a version that passed becomes challenger, unless a newer one is; one that was refused
        is challenger no longer.

        Args:
            reason: the numbers, in sentences.
            compared_to: the version that was champion then; None where there was none.
            findings: what was found of each reference: `reference`, `kind`, `passed`, `reason`.
            by: the run that judged.

        Raises:
            UnknownVersion: it is not registered.
        """
        found = _get(connection, model, version)
        if found.verdict is not None:
            return found
        values = {"verdict": verdict, "reason": reason, "compared_to": compared_to, "judged_at": utc_now()}
        stored = json.dumps([dict(finding) for finding in findings])
        connection.execute(versions.update().where(_is_version(model, version)).values(**values, findings=stored))
        known = _read_aliases(connection, model)
        challenger = known.get(CHALLENGER)
        if verdict == "refused" and challenger == version:
            _move(connection, model, CHALLENGER, None, "judge", by, reason)
        newest = challenger is None or order_version(challenger) < order_version(version)
        if verdict == "passed" and newest and known.get(CHAMPION) != version:
            _move(connection, model, CHALLENGER, version, "judge", by, reason)
        return _get(connection, model, version)

    @_transaction
    def point(
        self, connection: Connection, model: str, alias: str, version: str | None, by: str, reason: str
    ) -> AliasChange | None:
        """Let an alias point to a version, or take it away (None). None where it is so already.

        It asks for no verdict: `promote` does.

        Raises:
            InvalidAlias: Unity Catalog would not take it.
            UnknownVersion: the version is not registered.
        """
        if not is_alias_name(alias):
            raise InvalidAlias(alias)
        if version is not None:
            _get(connection, model, version)
        return _move(connection, model, alias, version, "point", by, reason)

    @_transaction
    def promote(
        self, connection: Connection, model: str, version: str, by: str, reason: str, *, force: bool = False
    ) -> AliasChange:
        """Make a version champion, and challenger no longer. One that is champion already stays it: nothing changes.

        Args:
            by: a run, or who promotes by hand.
            reason: why.
            force: whatever the gate said.

        Returns:
            The change that made it champion.

        Raises:
            UnknownVersion: it is not registered.
            NotPassed: it was refused, was not judged, was compared with another champion, or was rolled back.
        """
        found = _get(connection, model, version)
        champion = _read_aliases(connection, model).get(CHAMPION)
        if champion != version and not force:
            _require_passed(connection, found, champion)
        return _make_champion(connection, model, version, "promote", by, reason)

    @_transaction
    def rollback(self, connection: Connection, model: str, by: str, reason: str) -> AliasChange:
        """Make the version champion that was it before the current one; those that were rolled back are passed over.

        Raises:
            NothingToRollBack: no version was champion before.
        """
        champion = _read_aliases(connection, model).get(CHAMPION)
        _adopt(connection, model, CHAMPION)
        target = find_predecessor(_list_changes(connection, model, CHAMPION))
        if target is None:
            raise NothingToRollBack(model, champion)
        return _make_champion(connection, model, target, "rollback", by, reason)

    def find(self, model: str, version: str) -> ModelVersion | None:
        """A version, or None where it is not registered (also one that is older than the registry)."""
        with self._engine.connect() as connection:
            return _find(connection, model, version)

    def get(self, model: str, version: str) -> ModelVersion:
        """A version.

        Raises:
            UnknownVersion: it is not registered.
        """
        with self._engine.connect() as connection:
            return _get(connection, model, version)

    def list_versions(self, model: str) -> list[ModelVersion]:
        """The registered versions of a model, newest first: by number, 10 before 9."""
        with self._engine.connect() as connection:
            return _list_versions(connection, model)

    def list_models(self) -> list[str]:
        """The models that have a registered version or an alias, by name."""
        import sqlalchemy as sa

        query = sa.union(sa.select(versions.c.model), sa.select(aliases.c.model))
        with self._engine.connect() as connection:
            return sorted(connection.execute(query).scalars())

    def aliases(self, model: str) -> dict[str, str]:
        """alias -> version of a model; empty where none was set."""
        with self._engine.connect() as connection:
            return _read_aliases(connection, model)

    def list_changes(self, model: str) -> list[AliasChange]:
        """Every change of a model's aliases, oldest first."""
        with self._engine.connect() as connection:
            return _list_changes(connection, model)

    def was_champion(self, model: str, version: str) -> bool:
        """Whether a version is or was champion: scores name it, and a rollback may go back to it."""
        with self._engine.connect() as connection:
            return _was_champion(connection, model, version)

    def list_unmirrored(self, model: str) -> list[AliasChange]:
        """The changes that Unity Catalog was not told of yet, oldest first."""
        return [change for change in self.list_changes(model) if change.mirrored_at is None]

    @_transaction
    def mark_mirrored(self, connection: Connection, change_id: int) -> None:
        """Note that Unity Catalog was told of a change, or that there is nothing to tell."""
        untold = (changes.c.id == change_id) & changes.c.mirrored_at.is_(None)
        connection.execute(changes.update().where(untold).values(mirrored_at=utc_now()))


def _was_champion(connection: Connection, model: str, version: str) -> bool:
    if _read_aliases(connection, model).get(CHAMPION) == version:
        return True
    return any(version in (change.version, change.previous) for change in _list_changes(connection, model, CHAMPION))


def _require_passed(connection: Connection, found: ModelVersion, champion: str | None) -> None:
    if found.verdict is None:
        raise NotPassed(found.model, found.version, "the gate has not judged it.")
    if found.verdict != "passed":
        raise NotPassed(found.model, found.version, f"the gate refused it. {found.reason}")
    undone = find_rollback(_list_changes(connection, found.model, CHAMPION), found.version)
    if undone is not None:
        when = undone.changed_at.isoformat(timespec="seconds")
        reason = f"it was champion and was rolled back by {undone.changed_by} at {when} ({undone.reason})."
        raise NotPassed(found.model, found.version, reason)
    if champion is not None and found.compared_to != champion:
        before = f"version {found.compared_to}" if found.compared_to else "no champion"
        reason = f"it was compared with {before}, and version {champion} is champion now."
        raise NotPassed(found.model, found.version, reason)


def _make_champion(
    connection: Connection, model: str, version: str, action: Action, by: str, reason: str
) -> AliasChange:
    change = _move(connection, model, CHAMPION, version, action, by, reason)
    if _read_aliases(connection, model).get(CHALLENGER) == version:
        _move(connection, model, CHALLENGER, None, action, by, reason)
    return change or _list_changes(connection, model, CHAMPION)[-1]


def _move(
    connection: Connection, model: str, alias: str, version: str | None, action: Action, by: str, reason: str
) -> AliasChange | None:
    """Change an alias and record it. None where it is so already."""
    _adopt(connection, model, alias)
    previous = _read_aliases(connection, model).get(alias)
    if previous == version:
        return None
    now, by = utc_now(), by[:_NAME_CHARACTERS]
    mine = (aliases.c.model == model) & (aliases.c.alias == alias)
    connection.execute(aliases.delete().where(mine))
    if version is not None:
        values = {"version": version, "set_at": now, "run_id": by[:64]}
        connection.execute(aliases.insert().values(model=model, alias=alias, **values))
    return _record(
        connection,
        model=model,
        alias=alias,
        version=version,
        previous=previous,
        action=action,
        changed_at=now,
        changed_by=by,
        reason=reason,
    )


def _adopt(connection: Connection, model: str, alias: str) -> None:
    """Record where an alias points that was set before its changes were recorded: a rollback may go back there."""
    import sqlalchemy as sa

    row = connection.execute(sa.select(aliases).where(aliases.c.model == model, aliases.c.alias == alias)).first()
    if row is None or _list_changes(connection, model, alias):
        return
    _record(
        connection,
        model=model,
        alias=alias,
        version=row.version,
        previous=None,
        action="adopt",
        changed_at=row.set_at,
        changed_by=row.run_id,
        reason="It was set before changes were recorded.",
    )


def _record(connection: Connection, **values: Any) -> AliasChange:
    inserted = connection.execute(changes.insert().values(**values)).inserted_primary_key
    return AliasChange(id=int(cast("Sequence[Any]", inserted)[0]), **values)


def _is_version(model: str, version: str) -> Any:
    return (versions.c.model == model) & (versions.c.version == version)


def _find(connection: Connection, model: str, version: str) -> ModelVersion | None:
    row = connection.execute(versions.select().where(_is_version(model, version))).mappings().first()
    return None if row is None else _to_version(row)


def _get(connection: Connection, model: str, version: str) -> ModelVersion:
    found = _find(connection, model, version)
    if found is None:
        raise UnknownVersion(model, version, [known.version for known in _list_versions(connection, model)])
    return found


def _list_versions(connection: Connection, model: str) -> list[ModelVersion]:
    rows = connection.execute(versions.select().where(versions.c.model == model)).mappings()
    return sorted((_to_version(row) for row in rows), key=lambda found: order_version(found.version), reverse=True)


def _read_aliases(connection: Connection, model: str) -> dict[str, str]:
    rows = connection.execute(aliases.select().where(aliases.c.model == model))
    return {row.alias: row.version for row in rows}


def _list_changes(connection: Connection, model: str, alias: str | None = None) -> list[AliasChange]:
    query = changes.select().where(changes.c.model == model).order_by(changes.c.id)
    if alias is not None:
        query = query.where(changes.c.alias == alias)
    return [AliasChange(**row) for row in connection.execute(query).mappings()]


def _to_version(row: Any) -> ModelVersion:
    values = dict(row)
    values |= {"metrics": json.loads(row["metrics"]), "findings": json.loads(row["findings"] or "[]")}
    return ModelVersion(**values)
