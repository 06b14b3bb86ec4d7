"""The statements that score a table's rows into a staging table and note them as scored: built here, run elsewhere.

The staging table has two columns, RecordId and Score; what all rows have in common is bound when they are written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from adfml_assets.in_database.compile import CompiledModel
from adfml_assets.in_database.query import quote_table, to_sql
from adfml_assets.in_database.source_table import SourceTable
from adfml_assets.write_back.staged_columns import build_constant

if TYPE_CHECKING:
    import sqlalchemy as sa

STAGING = "adfml_scored"
RECORD_ID, SCORE, SCORED_AT, MODEL_NAME = "RecordId", "Score", "ScoredAt", "ModelName"

_ALIAS = "adfml_score"
_EXAMPLES = 5


def build_staging(target: sa.Table, dialect: str) -> sa.Table:
    """A temporary table of key and score, of the types of the columns they go to."""
    import sqlalchemy as sa

    # A name that begins with # is SQL Server's word for TEMPORARY.
    name, prefixes = (f"#{STAGING}", []) if dialect == "mssql" else (STAGING, ["TEMPORARY"])
    columns = [sa.Column(column, target.c[column].type, nullable=True) for column in (RECORD_ID, SCORE)]
    return sa.Table(name, sa.MetaData(), *columns, prefixes=prefixes)


def select_scores(compiled: CompiledModel, dialect: str, source: SourceTable) -> str:
    """The query of key and score of the rows that wait.

    Args:
        dialect: of the database, as SQLAlchemy calls it.

    Raises:
        CannotCompile: the database has no room for one of the model's trees.
    """
    spec = source.spec
    return to_sql(
        compiled,
        dialect,
        quote_table(dialect, spec.schema, spec.table),
        keep=[spec.key],
        where=spec.where,
        booleans=source.list_booleans(compiled.features),
        score=_ALIAS,
    )


def stage_scores(staging: sa.Table, sql: str, key: str) -> sa.Insert:
    """INSERT ... SELECT of the rows of `select_scores`.

    Args:
        key: the key's name in the query.
    """
    import sqlalchemy as sa

    return staging.insert().from_select([RECORD_ID, SCORE], sa.select(*_name_scores(sql, key)))


def can_create_staged(staging: sa.Table, dialect: str) -> bool:
    """Whether `create_staged` makes the rows that `stage_scores` makes.

    PostgreSQL only. To cast a text to a length or a domain would shorten it, where an INSERT refuses it.
    """
    import sqlalchemy as sa
    from sqlalchemy.dialects.postgresql import DOMAIN

    kinds = [staging.c[name].type for name in (RECORD_ID, SCORE)]
    whole = (sa.Integer, sa.Uuid, sa.Float, sa.Numeric)
    return dialect == "postgresql" and all(isinstance(kind, whole) and not isinstance(kind, DOMAIN) for kind in kinds)


def create_staged(staging: sa.Table, sql: str, key: str) -> sa.CreateTableAs:
    """CREATE TABLE ... AS SELECT of the rows of `select_scores`: the staging table, made with its rows in key order.

    PostgreSQL has no parallel plan for an INSERT, but for this: rows are scored, and sorted, on as many cores as it
    gives a query (https://www.postgresql.org/docs/current/when-can-parallel-query-be-used.html).
    """
    import sqlalchemy as sa

    columns = zip((RECORD_ID, SCORE), _name_scores(sql, key), strict=True)
    selected = [sa.cast(column, staging.c[name].type).label(name) for name, column in columns]
    return sa.CreateTableAs(sa.select(*selected).order_by(selected[0]), staging.name, temporary=True)


def _name_scores(sql: str, key: str) -> list[sa.ColumnElement[Any]]:
    """Key and score of the rows of `select_scores`."""
    import sqlalchemy as sa

    names = [sa.sql.quoted_name(name, True) for name in (key, _ALIAS)]
    # A colon before a word would be taken for a parameter.
    return list(sa.text(sql.replace(":", r"\:")).columns(*map(sa.column, names)).subquery("scored").columns)


def count_staged(staging: sa.Table) -> sa.Select[int, int]:
    """How many rows are staged, and how many of them have a score."""
    import sqlalchemy as sa

    return sa.select(sa.func.count(), sa.func.count(staging.c[SCORE])).select_from(staging)


def find_unscored(staging: sa.Table) -> sa.Select[Any]:
    """Keys of some rows that have no score."""
    import sqlalchemy as sa

    key = staging.c[RECORD_ID]
    return sa.select(key).where(staging.c[SCORE].is_(None)).order_by(key).limit(_EXAMPLES)


def list_values(
    target: sa.Table, staging: sa.Table, constants: Mapping[str, Any], dialect: str
) -> dict[str, sa.ColumnElement[Any]]:
    """Each column of the target, and what it gets.

    Args:
        constants: column -> its value in all rows; columns that the target does not have are left out.

    Raises:
        ValueInvalid: a value does not fit.
    """
    values: dict[str, sa.ColumnElement[Any]] = {RECORD_ID: staging.c[RECORD_ID], SCORE: staging.c[SCORE]}
    for name, value in constants.items():
        if name in target.columns:
            values[name] = build_constant(name, value, target.c[name], target.fullname, dialect)
    return values


def find_written(target: sa.Table, model: str, day: date) -> sa.Select[Any]:
    """How many rows of a model and day a table has."""
    import sqlalchemy as sa

    mine = (target.c[MODEL_NAME] == model, target.c.SnapshotDate == day)
    return sa.select(sa.func.count()).select_from(target).where(*mine)


def drop_unchanged(
    target: sa.Table, staging: sa.Table, values: Mapping[str, sa.ColumnElement[Any]], keys: Sequence[str]
) -> sa.Delete:
    """Take out rows that are written just so, whenever they were scored: scoring them again changes nothing."""
    import sqlalchemy as sa

    same = [target.c[key] == values[key] for key in keys]
    others = [name for name in values if name not in (SCORED_AT, *keys)]
    same += [target.c[name].is_not_distinct_from(values[name]) for name in others]
    return staging.delete().where(sa.exists().where(*same).correlate(staging))


def mark_scored(
    source: sa.Table, key: str, scored_date: str, staging: sa.Table, now: datetime, *, unset_only: bool = False
) -> sa.Update:
    """Set the date of the staged rows at their source, where it is not set or earlier.

    Args:
        source: the table whose rows were scored.
        now: when, UTC, with its zone; in a date column its day.
        unset_only: leave every date that is set as it is.
    """
    import sqlalchemy as sa

    dated, own, staged = source.c[scored_date], source.c[key], staging.c[RECORD_ID]
    moment = sa.literal(fit_moment(now, dated.type), dated.type)
    waits = dated.is_(None) if unset_only else sa.or_(dated.is_(None), dated < moment)
    return source.update().values({scored_date: moment}).where(_compare_as(own, staged) == staged, waits)


def _compare_as(own: sa.Column[Any], staged: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """A key as it is staged: a uniqueidentifier or uuid as text, and a text in the target's collation."""
    import sqlalchemy as sa

    if isinstance(staged.type, sa.String) != isinstance(own.type, sa.String):
        return sa.cast(own, staged.type)
    collations = [kind.collation for kind in (own.type, staged.type) if isinstance(kind, sa.String)]
    return sa.collate(own, collations[1]) if len(set(collations)) == 2 and collations[1] else own


def fit_moment(moment: datetime, kind: sa.types.TypeEngine[Any]) -> Any:
    """A moment as a column of a type takes it: its day in UTC, with its zone, or UTC without one."""
    import sqlalchemy as sa

    moment = moment.astimezone(UTC)
    if isinstance(kind, sa.Date):
        return moment.date()
    return moment if isinstance(kind, sa.DateTime) and kind.timezone else moment.replace(tzinfo=None)
