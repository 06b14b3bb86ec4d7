"""Where should this model run? The patterns' table "In-Database ML vs External ML" as rules over real facts.

Each row of the table becomes a reason that points into the database, outside, or nowhere. They are asked in order, and
the first that points somewhere decides: what may not move stays, what the server cannot do goes, then compute, the
model, latency, and last the number of rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from adfml_assets.in_database.facts import MANY_ROWS, ModelFacts, TableFacts
from adfml_assets.in_database.platform import ChosenWay, DeclaredWay, Way, choose_way
from adfml_assets.in_database.server_errors import WayUnavailable

Where = Literal["in_database", "external"]
PointsTo = Literal["in_database", "external", "either"]
Engine = Literal["in_database", "databricks", "azure_ml_batch", "azure_ml_online"]

MANY_TREES = 1_000
"""An ensemble of more trees is no small one, even as SQL: every row is compared at each of their levels."""


@dataclass(frozen=True)
class Needs:
    """What is asked of the scores, and cannot be read from anywhere.

    Attributes:
        latency: `realtime`: somebody waits for a row's score; `batch`: a day's rows are scored at once.
        data_may_leave: False where rows may not leave the database (compliance).
        compute: `sql`: nothing special; `gpu` or `distributed` where the model needs it.
        way: of scoring inside the database, as it is declared. Where it is not possible and another is, the advice has
            the other one.
    """

    latency: Literal["batch", "realtime"] = "batch"
    data_may_leave: bool = True
    compute: Literal["sql", "gpu", "distributed"] = "sql"
    way: DeclaredWay = "auto"


@dataclass(frozen=True)
class Reason:
    """One row of the patterns' table, applied.

    Attributes:
        topic: the row.
        points_to: where it points; `either` where it does not matter.
        text: why, with the numbers.
        decided: whether this one decided.
    """

    topic: str
    points_to: PointsTo
    text: str
    decided: bool = False


@dataclass(frozen=True)
class Advice:
    """Where a model should run.

    Attributes:
        where: inside the database or outside.
        engine: of the ScoredModel; None where there is none, see `problem`.
        way: of scoring inside the database; None outside.
        reasons: every row of the table, in the order in which they are asked.
        problem: why it cannot run where it has to; None: it can.
    """

    where: Where
    engine: Engine | None
    way: Way | None
    reasons: tuple[Reason, ...]
    problem: str | None = None

    @property
    def decided_by(self) -> Reason:
        """The reason that decided."""
        return next(reason for reason in self.reasons if reason.decided)


def advise(facts: ModelFacts, table: TableFacts, needs: Needs = Needs()) -> Advice:
    """Where a model should score a table, and why."""
    found = _find_way(facts, table, needs)
    rules: tuple[Callable[[], Reason], ...] = (
        lambda: _judge_movement(needs),
        lambda: _judge_way(found),
        lambda: _judge_compute(needs),
        lambda: _judge_model(facts),
        lambda: _judge_latency(needs),
        lambda: _judge_rows(table),
    )
    reasons = [rule() for rule in rules]
    # The last one always points somewhere.
    deciding = next(number for number, reason in enumerate(reasons) if reason.points_to != "either")
    reasons[deciding] = replace(reasons[deciding], decided=True)
    if reasons[deciding].points_to == "in_database":
        if isinstance(found, WayUnavailable):
            problem = f"The data may not leave the database, and nothing there can score this model. {found}"
            return Advice("in_database", None, None, tuple(reasons), problem)
        return Advice("in_database", "in_database", found.way, tuple(reasons))
    return Advice("external", _choose_engine(facts, table, needs), None, tuple(reasons))


def _find_way(facts: ModelFacts, table: TableFacts, needs: Needs) -> ChosenWay | WayUnavailable:
    """The declared way, or another one in its place where that is not possible and this is."""
    try:
        return choose_way(table.platform, facts.kind, needs.way, cannot_compile=facts.cannot_compile)
    except WayUnavailable as error:
        if needs.way == "auto":
            return error
        found = _find_way(facts, table, replace(needs, way="auto"))
        return found if isinstance(found, WayUnavailable) else ChosenWay(found.way, (str(error),))


def _judge_movement(needs: Needs) -> Reason:
    if needs.data_may_leave:
        return Reason("data movement", "either", "Rows may leave the database.")
    return Reason("data movement", "in_database", "Rows may not leave the database; that goes before everything else.")


def _judge_way(found: ChosenWay | WayUnavailable) -> Reason:
    if isinstance(found, WayUnavailable):
        return Reason("server", "external", str(found))
    return Reason("server", "either", " ".join(found.reasons))


def _judge_compute(needs: Needs) -> Reason:
    if needs.compute == "sql":
        return Reason("compute", "either", "No GPU and no cluster is asked for.")
    what = "A GPU" if needs.compute == "gpu" else "A cluster"
    return Reason("compute", "external", f"{what} is asked for, which no database has.")


def _judge_model(facts: ModelFacts) -> Reason:
    size = f"{facts.bytes / 1024:,.0f} KB, {facts.features} features"
    name = facts.algorithm or "A model of unknown algorithm"
    trees = f" of {facts.trees:,} trees" if facts.trees is not None else ""
    described = f"{name}{trees} ({size})"
    if facts.model_class == "deep":
        return Reason("model", "external", f"{described} is a deep model.")
    if facts.model_class == "simple":
        return Reason("model", "either", f"{described} is a simple model.")
    if facts.kind == "skops" and facts.cannot_compile is None:
        if facts.trees is not None and facts.trees > MANY_TREES:
            reason = f"{described} is a large ensemble: more than {MANY_TREES:,} trees."
            return Reason("model", "external", reason)
        return Reason("model", "either", f"{described} compiles to SQL: its class is no obstacle.")
    kind = "an ensemble" if facts.model_class == "ensemble" else "of no class that is known to be simple"
    return Reason("model", "external", f"{described} is {kind}, and has no SQL.")


def _judge_latency(needs: Needs) -> Reason:
    if needs.latency == "batch":
        return Reason("latency", "either", "A batch a day is enough.")
    return Reason("latency", "in_database", "Scores are needed in real time: a query has them where the row is.")


def _judge_rows(table: TableFacts) -> Reason:
    counted = "about " if table.is_estimate else ""
    rows = f"{table.table} has {counted}{table.rows:,} rows"
    if table.rows > MANY_ROWS:
        return Reason("rows", "external", f"{rows}: more than {MANY_ROWS:,}.")
    return Reason("rows", "in_database", f"{rows}: not more than {MANY_ROWS:,}.")


def _choose_engine(facts: ModelFacts, table: TableFacts, needs: Needs) -> Engine:
    if needs.latency == "realtime":
        return "azure_ml_online"
    distributed = needs.compute == "distributed" or table.rows > MANY_ROWS
    return "databricks" if distributed and facts.model_class != "deep" else "azure_ml_batch"
