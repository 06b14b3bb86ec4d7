"""The transaction that scores rows where they are: staged, checked, upserted, noted as scored; all of it or nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from adfml_assets.in_database.plan import ScoringPlan
from adfml_assets.in_database.scoring_errors import ScoresMissing
from adfml_assets.in_database.scoring_statements import (
    RECORD_ID,
    build_staging,
    can_create_staged,
    count_staged,
    create_staged,
    drop_unchanged,
    find_unscored,
    find_written,
    list_values,
    mark_scored,
    select_scores,
    stage_scores,
)
from adfml_assets.in_database.server_scoring import build_statement
from adfml_assets.scoring.write_back import SNAPSHOT_DATE, describe_target
from adfml_assets.write_back.sqlite import CACHE_KB
from adfml_assets.write_back.target import OpenedTarget, open_target, reflect_table
from adfml_assets.write_back.upsert import require_keys, require_unique, upsert_staged
from adfml_assets.write_back.written import Written
from resources.control import lost_to_another
from resources.database import Databases
from resources.duckdb_file import write_alone

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa
    from sqlalchemy import Connection

TRIES = 5
"""How often a transaction is run that the server ended to let another one through."""

_MEMORY = "64MB"


@dataclass(frozen=True)
class Done:
    """What the transaction did.

    Attributes:
        sql: the statement that scored.
        written: the rows, and what became of them.
        score_seconds, write_seconds: of scoring, and of everything after it.
    """

    sql: str
    written: Written
    score_seconds: float
    write_seconds: float


def write_scores(databases: Databases, plan: ScoringPlan) -> Done:
    """Score the rows that wait, and write the scores. Writing what is there just so changes nothing.

    Raises:
        ScoresMissing: the model gives rows no score.
        NullKeys, DuplicateKeys: rows have no key, or not their own.
        TargetInvalid, ValueInvalid: the target cannot take the scores.
        Unreachable: the database does not answer.
    """
    import sqlalchemy as sa
    import tenacity

    @tenacity.retry(
        # A key that another run inserted meanwhile is no error of ours; a rule of the table that refuses rows is.
        retry=tenacity.retry_if_exception(lambda e: lost_to_another(e) and not isinstance(e, sa.exc.IntegrityError)),
        wait=tenacity.wait_random_exponential(multiplier=0.1, max=5),
        stop=tenacity.stop_after_attempt(TRIES),
        reraise=True,
    )
    def run() -> Done:
        with databases.connect(plan.spec.target.database) as connection, _prepared(connection):
            where = plan.spec.target
            target = describe_target(where.database, where.schema, where.table, where.keys)
            opened = open_target(connection, target, find_kinds(plan.source.key_type))
            with connection.begin():
                if connection.dialect.name == "sqlite":
                    # Its driver would begin at the first row only: a table made before that outlives a run that fails.
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                return _score_and_write(connection, plan, opened)

    return run()


def find_kinds(key: pa.DataType) -> dict[str, pa.DataType]:
    """The columns of the target with the Arrow types of what they get.

    Args:
        key: the type of the source's key; what is no number is text as RecordId.
    """
    import pyarrow as pa

    text = pa.string()
    kinds = {RECORD_ID: pa.int64() if pa.types.is_integer(key) else text, "Score": pa.float64()}
    kinds |= dict.fromkeys(("ModelName", "ModelVersion", "ModelAlias"), text)
    return {**kinds, "ScoredAt": pa.timestamp("us", "UTC"), "FeatureSnapshot": pa.date32(), SNAPSHOT_DATE: pa.date32()}


@contextmanager
def _prepared(connection: Connection) -> Iterator[None]:
    """A connection whose transactions see one state of the rows; as it was afterwards."""
    if connection.dialect.name == "duckdb":
        # All of its transactions do.
        with write_alone(connection):
            yield
        return
    if connection.dialect.name != "sqlite":
        # A row that is changed between its scoring and its date would be noted as scored, with the score of before.
        connection.execution_options(isolation_level="REPEATABLE READ")
        yield
        return
    (cache,) = connection.exec_driver_sql("PRAGMA main.cache_size").one()
    connection.exec_driver_sql(f"PRAGMA main.cache_size = {-CACHE_KB:d}")
    connection.rollback()
    try:
        yield
    finally:
        if not connection.closed and not connection.invalidated:
            connection.exec_driver_sql(f"PRAGMA main.cache_size = {cache:d}")
            connection.rollback()


def _score_and_write(connection: Connection, plan: ScoringPlan, opened: OpenedTarget) -> Done:
    started = time.monotonic()
    target, staging = opened.table, build_staging(opened.table, connection.dialect.name)
    prepare_transaction(connection)
    creates = plan.way.way == "compiled" and can_create_staged(staging, connection.dialect.name)
    sql = _stage(connection, plan, staging, creates=creates)
    _require_scores(connection, plan, staging)
    scored = time.monotonic()
    written = _write(connection, plan, target, staging, ordered=creates)
    staging.drop(connection, checkfirst=False)
    left_out = replace(written, left_out=opened.left_out)
    return Done(sql, left_out, scored - started, time.monotonic() - scored)


def prepare_transaction(connection: Connection) -> None:
    """Settings of PostgreSQL until the transaction ends."""
    if connection.dialect.name == "postgresql":
        # To compile an expression of many trees takes longer than to compute it for a million rows.
        connection.exec_driver_sql("SET LOCAL jit = off")
        connection.exec_driver_sql(
            f"SELECT set_config('work_mem', '{_MEMORY}', true) "
            f"WHERE pg_size_bytes(current_setting('work_mem')) < pg_size_bytes('{_MEMORY}')"
        )


def _stage(connection: Connection, plan: ScoringPlan, staging: sa.Table, *, creates: bool) -> str:
    """Make the staging table, key and score of every row that waits in it. Returns the statement that scored."""
    if not creates:
        staging.create(connection, checkfirst=False)
    if plan.way.way != "compiled":
        statement = build_statement(plan, staging.name)
        connection.exec_driver_sql(statement.text, statement.parameters)
        return statement.text
    assert plan.model.compiled is not None  # noqa: S101 - the way was chosen because it is there
    sql = select_scores(plan.model.compiled, connection.dialect.name, plan.source)
    stage = create_staged if creates else stage_scores
    # A text of megabytes is of no use in SQLAlchemy's cache.
    connection.execute(stage(staging, sql, plan.spec.source.key), execution_options={"compiled_cache": None})
    return sql


def _require_scores(connection: Connection, plan: ScoringPlan, staging: sa.Table) -> None:
    rows, scored = connection.execute(count_staged(staging)).one()
    if rows == scored:
        return
    chosen, source = plan.model.chosen, plan.spec.source
    examples = [key for (key,) in connection.execute(find_unscored(staging))]
    missing = rows - scored
    raise ScoresMissing(chosen.model, chosen.version, source.full_name, source.key, missing, rows, examples)


def _write(connection: Connection, plan: ScoringPlan, target: sa.Table, staging: sa.Table, *, ordered: bool) -> Written:
    spec, keys = plan.spec, plan.spec.target.keys
    distinct = _are_distinct(connection, plan, staging)
    values = list_values(target, staging, plan.constants, connection.dialect.name)
    unchanged = marked = 0
    if connection.execute(find_written(target, spec.model, plan.day)).scalar_one():
        # Of two rows of one key one may be written just so: without it the other would look like a key of its own.
        own = {key: values[key] for key in keys}
        require_keys(connection, staging, own, target.fullname)
        if not distinct:
            require_unique(connection, staging, own, target)
        marked += _mark(connection, plan, staging, unset_only=True)
        unchanged = connection.execute(drop_unchanged(target, staging, values, keys)).rowcount
    newer = None if spec.target.overwrite_newer else SNAPSHOT_DATE
    written = upsert_staged(
        connection, target, staging, keys, values=values, newer=newer, distinct=distinct, ordered=ordered
    )
    marked += _mark(connection, plan, staging)
    return written.add(Written(unchanged, unchanged=unchanged, marked=marked))


def _are_distinct(connection: Connection, plan: ScoringPlan, staging: sa.Table) -> bool:
    """Whether the source keeps the keys apart: its primary key of whole numbers, staged as what they are."""
    import pyarrow as pa
    import sqlalchemy as sa

    source = plan.source
    whole = pa.types.is_integer(source.key_type) and isinstance(staging.c[RECORD_ID].type, sa.Integer)
    if plan.way.way != "compiled" or not whole or source.primary_key != (source.spec.key,):
        return False
    if connection.dialect.name != "postgresql":
        return True
    # A query of a table with children has their rows, too, and no key of PostgreSQL is over those.
    name = connection.dialect.identifier_preparer.format_table(
        sa.Table(source.spec.table, sa.MetaData(), schema=source.spec.schema)
    )
    query = "SELECT NOT relhassubclass OR relkind = 'p' FROM pg_class WHERE oid = to_regclass(:name)"
    return bool(connection.execute(sa.text(query), {"name": name}).scalar())


def _mark(connection: Connection, plan: ScoringPlan, staging: sa.Table, *, unset_only: bool = False) -> int:
    source = plan.spec.source
    if source.scored_date is None:
        return 0
    table = reflect_table(connection, source.schema, source.table)
    update = mark_scored(table, source.key, source.scored_date, staging, plan.now, unset_only=unset_only)
    return int(connection.execute(update).rowcount)
