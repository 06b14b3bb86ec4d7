"""What the advisor goes by: the model as it is in the lake, and the table as it is at its server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from adfml_assets import lake_layout
from adfml_assets.errors import WrongResult
from adfml_assets.in_database.opened_model import KINDS, compile_file, read_file
from adfml_assets.in_database.platform import ModelKind, Platform, read_platform
from adfml_assets.training.trained import METADATA, read_metadata
from resources.database import Databases, require_table
from resources.lake import Lake

if TYPE_CHECKING:
    from sqlalchemy import Connection

ModelClass = Literal["simple", "ensemble", "deep", "unknown"]

MANY_ROWS = 1_000_000
"""Where small to medium data ends, in the patterns' table."""

ESTIMATES = {
    "postgresql": (
        "SELECT CAST(reltuples AS bigint) FROM pg_class WHERE oid = to_regclass(:name) AND relkind IN ('r', 'm')"
    ),
    "mssql": "SELECT SUM(rows) FROM sys.partitions WHERE object_id = OBJECT_ID(:name) AND index_id IN (0, 1)",
}
"""How a server is asked how many rows it thinks a table has."""

_CLASSES: tuple[tuple[ModelClass, tuple[str, ...]], ...] = (
    ("deep", ("mlp", "neural", "keras", "torch", "tensorflow", "lstm", "transformerencoder", "deep")),
    ("ensemble", ("boosting", "forest", "extratrees", "bagging", "stacking", "voting", "xgb", "lgbm", "lightgbm")),
    ("ensemble", ("catboost", "btrees", "ensemble")),
    ("simple", ("linear", "logistic", "logit", "ridge", "lasso", "elasticnet", "linmod", "tree", "poisson", "tweedie")),
    ("simple", ("gamma", "sgd", "bayes")),
)


@dataclass(frozen=True)
class ModelFacts:
    """A version of a model.

    Attributes:
        model, version: its name and number.
        algorithm: as its metadata.json says; "" where it does not.
        kind: how it is stored.
        bytes: the size of its file.
        features: how many columns it takes.
        trees: how many it has; None: it has none, or does not say.
        cannot_compile: why it has no SQL for the database; None: it has.
    """

    model: str
    version: str
    algorithm: str
    kind: ModelKind
    bytes: int
    features: int
    trees: int | None = None
    cannot_compile: str | None = None

    @property
    def model_class(self) -> ModelClass:
        """Simple (regressions, single trees), an ensemble of trees, deep, or unknown: by the algorithm's name."""
        name = "".join(character for character in self.algorithm.lower() if character.isalnum())
        for found, words in _CLASSES:
            if any(word in name for word in words):
                return found
        return "unknown"


@dataclass(frozen=True)
class TableFacts:
    """A table that is to be scored.

    Attributes:
        table: `database.schema.table`.
        rows: how many it has.
        is_estimate: whether the server estimated them; it did where they are far above a million.
        platform: its server.
    """

    table: str
    rows: int
    is_estimate: bool
    platform: Platform


def read_model_facts(lake: Lake, model: str, version: str, dialect: str, sha256: str | None = None) -> ModelFacts:
    """What is known of a version, and whether it has SQL for a database: it is loaded and compiled to see that.

    Args:
        dialect: of the database, as SQLAlchemy calls it.
        sha256: what its file has to be, as the registry recorded it; None: as its own metadata.json says.

    Raises:
        NotFound: there is no such version; with those that are.
        WrongResult: its metadata.json cannot be read, names no file, or one that is not there.
        WrongModelBytes: its file is another one.
    """
    metadata = read_metadata(lake, model, version)
    folder = lake_layout.model_folder(model, version)
    name, features = str(metadata.get("model_file", "")), [str(one) for one in metadata.get("features", [])]
    kind = KINDS.get(PurePosixPath(name).suffix)
    if kind is None or not features:
        raise WrongResult(f"{folder}/{METADATA}", "a model_file .skops, .onnx or .pkl, and features", repr(name))
    content = read_file(lake, f"{folder}/{name}")
    cannot_compile = None
    if kind == "skops":
        recorded = sha256 or str(metadata.get("model_sha256", ""))
        trained_with = str((metadata.get("library_versions") or {}).get("scikit-learn", ""))
        made = compile_file(content, f"{folder}/{name}", recorded, trained_with, features, dialect)
        cannot_compile = made.obstacle
    trees = metadata.get("iterations")
    return ModelFacts(
        model,
        version,
        str(metadata.get("algorithm") or ""),
        kind,
        len(content),
        len(features),
        int(trees) if trees is not None else None,
        cannot_compile,
    )


def read_table_facts(
    databases: Databases, database: str, schema: str, table: str, where: str | None = None
) -> TableFacts:
    """What is known of a table or view: its server, and its rows.

    They are counted, unless the server estimates far more than a million.

    Args:
        where: a SQL condition in the server's own words; with one the rows are always counted.

    Raises:
        NotFound: it does not exist; with the tables that do.
        Unreachable: the database does not answer.
    """
    with databases.connect(database) as connection:
        require_table(connection, database, schema, table)
        platform = read_platform(connection)
        estimated = None if where else estimate_rows(connection, platform, schema, table)
        is_estimate = estimated is not None and estimated > 2 * MANY_ROWS
        rows = estimated if is_estimate and estimated is not None else count_rows(connection, schema, table, where)
    return TableFacts(f"{database}.{schema}.{table}", rows, is_estimate, platform)


def estimate_rows(connection: Connection, platform: Platform, schema: str, table: str) -> int | None:
    """The server's own estimate of a table's rows; None where it has none, as for views."""
    import sqlalchemy as sa

    preparer = connection.dialect.identifier_preparer
    name = {"name": f"{preparer.quote_identifier(schema)}.{preparer.quote_identifier(table)}"}
    query = ESTIMATES.get(connection.dialect.name)
    if query is None or not platform.compiled:
        return None
    found = connection.execute(sa.text(query), name).scalar()
    # PostgreSQL says -1 of a table that was never analysed.
    return int(found) if found is not None and found >= 0 else None


def count_rows(connection: Connection, schema: str, table: str, where: str | None = None) -> int:
    """The rows of a table or view, counted by the server."""
    return int(connection.execute(build_count(connection.dialect.name, schema, table, where)).scalar_one())


def build_count(dialect: str, schema: str, table: str, where: str | None) -> Any:
    """The statement that counts."""
    import sqlalchemy as sa

    counted = sa.func.count_big(sa.text("*")) if dialect == "mssql" else sa.func.count()
    query = sa.select(counted).select_from(sa.table(table, schema=schema))
    # On lines of their own: a comment at the end of it ends with it.
    return query.where(sa.literal_column(f"(\n{where}\n)", sa.Boolean())) if where else query
