"""sp_execute_external_script: the statement that scores a table's rows in the server's own Python.

The script is the one of resources/sql/usp_PythonMLScoring.sql, which pipelines call: there is one of it.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from importlib.resources import files

from adfml_assets.in_database.platform import ModelKind
from adfml_assets.in_database.predict import ServerScoring, fetch_model, quote_staging, select_features
from resources.servers.sqlserver_statements import Statement, quote

PROCEDURE = "usp_PythonMLScoring.sql"
_SCRIPT = re.compile(r"@script = N'\n((?:[^']|'')*)'", re.DOTALL)
_KEY = "CONVERT(nvarchar(450), {})"


@lru_cache
def read_script() -> str:
    """The Python that runs in the server.

    It has the names InputDataSet (a data frame: adfml_key and the features), features, model_bytes, model_format and
    model_sha256, and leaves OutputDataSet (a data frame: key and score). It runs on Python 3.5 and later.
    """
    text = files("resources").joinpath("sql", PROCEDURE).read_text("utf-8")
    found = _SCRIPT.search(text)
    if found is None:
        raise ValueError(f"resources/sql/{PROCEDURE} has no script in it")
    return found[1].replace("''", "'")


def build_external_script(scoring: ServerScoring, kind: ModelKind) -> Statement:
    """The batch that scores by sp_execute_external_script. It is refused by the server (51012, 51013) before a row is
    scored where the model is not in the store, or is not what was registered; the script looks at the hash once more
    before it loads anything.

    Keys travel as text: the server would hand over whole numbers as float64, exact up to 2^53 only.

    Args:
        kind: how the model is stored; the server's Python must have what loads it.

    Returns:
        Several statements, to be run as one, within the caller's transaction; the parameters are marked by `?`. INSERT
        ... EXECUTE takes no WITH RESULT SETS: the types are those of the staging table's columns.
    """
    fetched = fetch_model(scoring)
    text = f"""{fetched.text}

DECLARE @adfml_script nvarchar(max) = ?;
DECLARE @adfml_query nvarchar(max) = ?;
DECLARE @adfml_features nvarchar(max) = ?;
DECLARE @adfml_format varchar(20) = ?;
DECLARE @adfml_sha256 varchar(64) = ?;

INSERT INTO {quote_staging(scoring)} ({quote(scoring.key_column)}, {quote(scoring.score_column)})
EXECUTE sp_execute_external_script
    @language = N'Python',
    @script = @adfml_script,
    @input_data_1 = @adfml_query,
    @params = N'@features nvarchar(max), @model_bytes varbinary(max), @model_format varchar(20),
    @model_sha256 varchar(64)',
    @features = @adfml_features,
    @model_bytes = @adfml_model,
    @model_format = @adfml_format,
    @model_sha256 = @adfml_sha256;"""
    own = (
        read_script(),
        select_features(scoring, _KEY),
        json.dumps(list(scoring.features), ensure_ascii=False),
        kind,
        scoring.sha256.lower(),
    )
    return Statement(text, (*fetched.parameters, *own))
