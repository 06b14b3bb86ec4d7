"""Scoring the rows of a table inside their database: what scores them and how is settled and compared, then written.

No row leaves the database but the sample that is compared.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import date, datetime

from adfml_assets.in_database.opened_model import OpenedModel, open_model
from adfml_assets.in_database.plan import ScoringPlan
from adfml_assets.in_database.platform import choose_way, read_platform
from adfml_assets.in_database.query import quote_table
from adfml_assets.in_database.scoring_statements import MODEL_NAME, find_written
from adfml_assets.in_database.server_scoring import require_transactions, store_version
from adfml_assets.in_database.source_table import SourceTable, check_columns, read_source
from adfml_assets.in_database.spec import InDatabaseSpec
from adfml_assets.in_database.training_ranges import find_ranges
from adfml_assets.in_database.transaction import Done, prepare_transaction, write_scores
from adfml_assets.in_database.verify import Verified, verify_compiled, verify_made_up
from adfml_assets.scoring.errors import PastRecords
from adfml_assets.scoring.model_choice import ModelChoice, choose_version
from adfml_assets.scoring.write_back import SNAPSHOT_DATE
from adfml_assets.write_back.target import reflect_table
from resources.control import ControlDatabase
from resources.database import Databases
from resources.lake import Lake


@dataclass(frozen=True)
class ScoredRows:
    """What a run did.

    Attributes:
        plan: what it was about.
        compared: what the comparison with the Python model found; None: the server runs the model itself.
        compare_seconds: of the comparison.
        done: the transaction.
    """

    plan: ScoringPlan
    compared: Verified | None
    compare_seconds: float
    done: Done


def score_today(
    lake: Lake,
    control: ControlDatabase,
    databases: Databases,
    spec: InDatabaseSpec,
    choice: ModelChoice,
    *,
    now: datetime,
) -> ScoredRows:
    """Score the rows that wait. Running it again changes nothing.

    Args:
        choice: the alias or version that scores.
        now: the moment of scoring, UTC, with its zone; its day is the partition.

    Raises:
        AdfmlError, ResourceError: see `plan_scoring`, `compare` and `write_scores`; nothing was written.
    """
    plan = plan_scoring(lake, control, databases, spec, choice, now=now)
    started = time.monotonic()
    compared = None
    if plan.way.way == "compiled":
        compared = compare(lake, databases, plan)
    else:
        require_transactions(plan)
        store_version(databases, plan)
    return ScoredRows(plan, compared, time.monotonic() - started, write_scores(databases, plan))


def require_written(databases: Databases, spec: InDatabaseSpec, day: str, today: str) -> int:
    """How many rows the target has of another day than today: what waits can only be scored now.

    Raises:
        PastRecords: it has none.
    """
    import sqlalchemy as sa

    target, rows = spec.target, 0
    with databases.connect(target.database) as connection:
        if sa.inspect(connection).has_table(target.table, schema=target.schema):
            table = reflect_table(connection, target.schema, target.table)
            # A table of something else has no rows of any day.
            if {MODEL_NAME, SNAPSHOT_DATE} <= set(table.columns.keys()):
                rows = int(connection.execute(find_written(table, spec.model, date.fromisoformat(day))).scalar_one())
    if rows == 0:
        raise PastRecords(spec.source.full_name, day, today)
    return rows


def plan_scoring(
    lake: Lake,
    control: ControlDatabase,
    databases: Databases,
    spec: InDatabaseSpec,
    choice: ModelChoice,
    *,
    now: datetime,
) -> ScoringPlan:
    """Settle which version scores, make sure that the table has what it takes, and choose the way.

    Raises:
        NoSuchAlias: no version has the alias.
        NotFound, WrongResult, WrongModelBytes: the version's files are not what was registered.
        NotFound, ScoredDateInvalid, ColumnsDiffer: the table is not what is declared, or not what the model takes.
        WayUnavailable: the server, or the model, does not have the declared way, or none.
        Unreachable: the database does not answer.
    """
    chosen = choose_version(lake, control, spec.model, choice)
    with databases.connect(spec.source.database) as connection:
        platform, dialect = read_platform(connection), connection.dialect.name
    model = open_model(lake, control, chosen, dialect)
    source = read_source(databases, spec.source)
    _check_columns(source, model)
    way = choose_way(platform, model.kind, spec.way, cannot_compile=model.obstacle)
    return ScoringPlan(spec, model, source, platform, way, now.date(), now)


def _check_columns(source: SourceTable, model: OpenedModel) -> None:
    compiled = model.compiled
    if compiled is None:
        check_columns(source, model.takes, numbers=model.takes.names)
        return
    numbers, texts = ({compiled.features[at] for at in read.values()} for read in (compiled.numbers, compiled.texts))
    check_columns(source, model.takes, numbers, texts)


def compare(lake: Lake, databases: Databases, plan: ScoringPlan) -> Verified:
    """Compare the scores of the model's SQL with the model's own, on the rows that wait or on made-up ones.

    Raises:
        ScoresDiffer, SqlRefused: see `verify_compiled`.
    """
    spec, model = plan.spec, plan.model
    assert model.compiled is not None  # noqa: S101 - the way was chosen because it is there
    with databases.connect(spec.source.database) as connection:
        dialect = connection.dialect.name
        prepare_transaction(connection)
        if spec.verify == "synthetic":
            ranges = find_ranges(lake, model.takes)
            rows = {"rows": spec.sample_rows} if spec.sample_rows else {}
            return verify_made_up(
                model.estimator, model.compiled, connection, dialect, ranges=ranges, tolerance=spec.tolerance, **rows
            )
        return verify_compiled(
            model.estimator,
            model.compiled,
            connection,
            dialect,
            quote_table(dialect, spec.source.schema, spec.source.table),
            keys=[spec.source.key],
            where=spec.source.where,
            booleans=plan.source.list_booleans(model.compiled.features),
            sample_rows=spec.sample_rows,
            tolerance=spec.tolerance,
        )
