"""A day's result: every row of the input either with its answer in columns, or among the rejects with the reason."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from adfml_assets import lake_layout
from adfml_assets.archive.current import open_duckdb
from adfml_assets.duckdb_sql import build_scan, quote
from adfml_assets.errors import WrongResult
from adfml_assets.origins import ORIGINS, PERSONAL
from adfml_assets.text.requests import NEWEST_ANSWERS, list_answers, open_answers
from resources.lake import Lake
from resources.manifest import Manifest, build_manifest, commit_manifest, list_data_paths
from resources.openai_settling import build_answers_schema
from resources.parquet_files import WrittenFile

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

PREDICTIONS = "predictions.parquet"
REJECTS = "rejects.parquet"
_BATCH_ROWS = 20_000


@dataclass(frozen=True)
class Result:
    """What a day came to.

    Attributes:
        manifest: of predictions and rejects.
        predictions, rejects: rows of each.
        reasons: code -> rejected rows.
        input_tokens, output_tokens: what all tries of these rows are billed for.
    """

    manifest: Manifest
    predictions: int
    rejects: int
    reasons: Mapping[str, int]
    input_tokens: int
    output_tokens: int


def collect_answers(
    lake: Lake,
    name: str,
    key: Sequence[str],
    columns: Mapping[str, Any],
    rows: Manifest,
    day: str,
    *,
    asset: str,
    now: datetime,
    run_id: str,
    source: Mapping[str, Any],
) -> Result:
    """Join a day's rows and answers by custom_id, verify that none is missing, and make the result visible.

    Args:
        key: the columns that identify a row.
        columns: field of an answer -> its DuckDB type; see `AnswerSchema`.
        rows: the manifest of what was asked.

    Raises:
        WrongResult: a row has neither an answer nor a reason.
    """
    requests = lake_layout.text_requests_folder(name, day)
    folder = lake_layout.text_scores_folder(name, day)
    with ExitStack() as stack:
        connection = stack.enter_context(open_duckdb())
        _open_rows(lake, requests, rows, connection, stack)
        deployment = str(rows.facts["deployment"])
        selected = _select_predictions(key, columns, deployment)
        predictions, schema = _write(lake, connection, f"{folder}/{PREDICTIONS}", selected)
        rejects, _ = _write(lake, connection, f"{folder}/{REJECTS}", _select_rejects(key))
        if predictions.rows + rejects.rows != rows.rows:
            found = f"{predictions.rows} answers and {rejects.rows} rejects"
            raise WrongResult(f"{folder}", f"an answer or a reason for each of {rows.rows} rows", found)
        reasons = dict(connection.execute("SELECT code, count(*) FROM rejected GROUP BY code ORDER BY code").fetchall())
        spent: Any = connection.execute(
            "SELECT coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0) FROM answers "
            "WHERE custom_id IN (SELECT custom_id FROM asked)"
        ).fetchone()
    made_of = {name: rows.facts[name] for name in (ORIGINS, PERSONAL) if name in rows.facts}
    facts = {
        **made_of,
        "basis": rows.facts["basis"],
        "predictions": predictions.rows,
        "rejects": rejects.rows,
        "reasons": reasons,
    }
    manifest = build_manifest(
        asset=asset,
        partition=day,
        files=[predictions, rejects],
        schema=schema,
        written_at=now,
        run_id=run_id,
        source=dict(source),
        facts={**facts, "input_tokens": int(spent[0]), "output_tokens": int(spent[1]), "deployment": deployment},
    )
    commit_manifest(lake, folder, manifest)
    return Result(manifest, predictions.rows, rejects.rows, reasons, int(spent[0]), int(spent[1]))


def _open_rows(lake: Lake, folder: str, rows: Manifest, connection: DuckDBPyConnection, stack: ExitStack) -> None:
    files = [str(stack.enter_context(lake.local_copy(path))) for path in list_data_paths(folder, rows)]
    connection.execute("SET arrow_large_buffer_size = true")
    connection.execute(f"CREATE VIEW asked AS SELECT * FROM {build_scan(files)}")  # noqa: S608
    paths = list_answers(lake, folder)
    if paths:
        open_answers(lake, connection, paths, stack)
    else:
        connection.register("answers", build_answers_schema().empty_table())
    # What is still to be asked is no result: then its batch has left no answers.
    connection.execute(f"""
        CREATE TABLE newest AS SELECT * FROM ({NEWEST_ANSWERS})
        WHERE custom_id IN (SELECT custom_id FROM asked) AND (outcome = 'ok' OR NOT asked_next)
    """)  # noqa: S608
    connection.execute("""
        CREATE VIEW rejected AS
        SELECT asked.* EXCLUDE (code, reason), coalesce(asked.code, newest.code) AS code,
            coalesce(asked.reason, newest.reason) AS reason,
            CAST(coalesce(newest.tries, 0) AS INTEGER) AS tries,
            coalesce(NOT newest.again, true) AS final
        FROM asked LEFT JOIN newest USING (custom_id)
        WHERE asked.code IS NOT NULL OR newest.outcome <> 'ok'
    """)


def _select_predictions(key: Sequence[str], columns: Mapping[str, Any], deployment: str) -> str:
    form = json.dumps(columns).replace("'", "''")
    fields = ", ".join(
        f"{_plain(f'adfml_answer.{quote(name)}', kind)} AS {quote(name)}" for name, kind in columns.items()
    )
    model = deployment.replace("'", "''")
    keys = ", ".join(quote(name) for name in key)
    return f"""
        WITH answered AS (
            SELECT {", ".join(f"asked.{quote(name)}" for name in key)}, newest.model, newest.custom_id,
                newest.answered_at AS scored_at, newest.input_tokens, newest.output_tokens,
                json_transform_strict(newest.content, '{form}') AS adfml_answer
            FROM asked JOIN newest USING (custom_id) WHERE newest.outcome = 'ok'
        )
        SELECT {keys}, {fields}, model, '{model}' AS deployment, custom_id, scored_at, input_tokens, output_tokens
        FROM answered ORDER BY {keys}
    """  # noqa: S608


def _plain(expression: str, kind: Any) -> str:
    """A field without DuckDB's own JSON type, which Parquet readers would not know."""
    return f"CAST({expression} AS VARCHAR)" if kind == "JSON" else expression


def _select_rejects(key: Sequence[str]) -> str:
    keys = ", ".join(quote(name) for name in key)
    return f"SELECT {keys}, code, reason, tries, final, custom_id FROM rejected ORDER BY {keys}"  # noqa: S608


def _write(lake: Lake, connection: DuckDBPyConnection, path: str, query: str) -> tuple[WrittenFile, pa.Schema]:
    import pyarrow as pa

    reader = connection.execute(query).to_arrow_reader(_BATCH_ROWS)
    schema = pa.schema([field.with_type(_narrow(field.type)) for field in reader.schema])
    with lake.write_parquet(path, schema) as sink:
        for batch in reader:
            sink.write(pa.Table.from_batches([batch]).cast(schema))
    assert sink.written is not None  # noqa: S101 - set when the block ended without an exception
    return sink.written, schema


def _narrow(kind: pa.DataType) -> pa.DataType:
    """Texts as other readers expect them; a batch of rows is far from 2 GB."""
    import pyarrow as pa

    return pa.string() if pa.types.is_large_string(kind) else kind
