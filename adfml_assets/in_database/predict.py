"""T-SQL PREDICT: the statement that scores a table's rows into a staging table by a model in MLModels.

For pipelines that call a procedure, the same is in resources/sql/usp_ScoreWithPredict.sql.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from resources.servers.base import TableName
from resources.servers.sqlserver_statements import Statement, quote, quote_table

MODEL_STORE = TableName("dbo", "MLModels")


@dataclass(frozen=True)
class ServerScoring:
    """What a SQL Server is to score by its own means: rows of a table, into a staging table of key and score.

    Attributes:
        source: the table or view whose rows are scored; its columns have the features' names.
        key: the column that identifies a row.
        features: the model's, in its order.
        where: a SQL condition in the server's own words, from the declaration; None: all rows.
        staging: the table that gets `key_column` and `score_column`; it is there, and empty. A name that begins with #
            is a temporary table's, of any schema.
        key_column, score_column: its columns.
        model, version: which one, in the model store.
        sha256: what its bytes have to be, hexadecimal: as the registry recorded it.
        store: the model store.
    """

    source: TableName
    key: str
    features: tuple[str, ...]
    staging: TableName
    model: str
    version: str
    sha256: str
    where: str | None = None
    key_column: str = "RecordId"
    score_column: str = "Score"
    store: TableName = MODEL_STORE


def build_predict(
    scoring: ServerScoring, prediction: str = "Score", *, runtime: Literal["onnx"] | None = None
) -> Statement:
    """The batch that scores by PREDICT. It is refused by the server (51012, 51013) before a row is scored where the
    model is not in the store, or is not what was registered.

    Args:
        prediction: what the model calls its prediction: `<label>_Pred` for RevoScale models, the name of the output for
            ONNX.
        runtime: `onnx` for a Synapse dedicated pool. There the types of the columns have to be those of the graph's
            inputs. Elsewhere features go in as float.

    Returns:
        Several statements, to be run as one, within the caller's transaction; the parameters are marked by `?`.
    """
    name = quote(prediction)
    if runtime == "onnx":
        # A pool takes no common table expression before INSERT.
        condition = f"\nWHERE (\n{scoring.where}\n)" if scoring.where else ""
        read = f"""INSERT INTO {quote_staging(scoring)} ({quote(scoring.key_column)}, {quote(scoring.score_column)})
SELECT d.{quote(scoring.key)}, p.{name}
FROM PREDICT(MODEL = @adfml_model, DATA = {quote_table(scoring.source)} AS d, RUNTIME = ONNX)
WITH ({name} float) AS p{condition};"""  # noqa: S608 - names are quoted, the condition is the declaration's
    else:
        read = f"""WITH adfml_rows AS (
{select_features(scoring)}
)
INSERT INTO {quote_staging(scoring)} ({quote(scoring.key_column)}, {quote(scoring.score_column)})
SELECT d.adfml_key, p.{name}
FROM PREDICT(MODEL = @adfml_model, DATA = adfml_rows AS d)
WITH ({name} float) AS p;"""  # noqa: S608
    fetched = fetch_model(scoring)
    return Statement(f"{fetched.text}\n\n{read}", fetched.parameters)


def fetch_model(scoring: ServerScoring) -> Statement:
    """The statements that read a model's bytes into @adfml_model, and refuse others than those that were registered."""
    text = f"""DECLARE @adfml_model varbinary(max) = (
    SELECT model_data FROM {quote_table(scoring.store)} WHERE model_name = ? AND model_version = ?
);

IF @adfml_model IS NULL
BEGIN;
    THROW 51012, N'The model store does not have this version. Register it: adfml register-model.', 1;
END;

IF CONVERT(char(64), HASHBYTES('SHA2_256', @adfml_model), 2) <> UPPER(?)
BEGIN;
    THROW 51013, N'The bytes in the model store are not those of the registry. Register the version again.', 1;
END;"""  # noqa: S608
    return Statement(text, (scoring.model, scoring.version, scoring.sha256))


def select_features(scoring: ServerScoring, key: str = "{}") -> str:
    """The query of key (as adfml_key) and features (as float, by their names) of the rows to score.

    Args:
        key: an expression of the quoted key, which stands for `{}`.
    """
    columns = [f"    {key.format(quote(scoring.key))} AS adfml_key"]
    columns += [f"    CONVERT(float, {quote(name)}) AS {quote(name)}" for name in scoring.features]
    listed = ",\n".join(columns)
    condition = f"\nWHERE (\n{scoring.where}\n)" if scoring.where else ""
    return f"SELECT\n{listed}\nFROM {quote_table(scoring.source)}{condition}"


def quote_staging(scoring: ServerScoring) -> str:
    """The staging table's name in a statement."""
    temporary = scoring.staging.table.startswith("#")
    return quote(scoring.staging.table) if temporary else quote_table(scoring.staging)
