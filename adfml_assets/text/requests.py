"""A day's requests: the snapshot's rows as prompts, one JSON line each, in the lake before anything is submitted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar, cast

from adfml_assets import lake_layout
from adfml_assets.archive.current import open_duckdb
from adfml_assets.duckdb_sql import build_scan, quote
from adfml_assets.origins import build_facts, copy_columns, map_personal
from adfml_assets.text.answer_schema import AnswerSchema
from adfml_assets.text.prompts import Prompt
from adfml_assets.text.source_rows import BatchRows, open_source
from resources.lake import Lake
from resources.manifest import Manifest, build_manifest, commit_manifest, read_manifest
from resources.openai_requests import ID_CHARACTERS, ShardWriter, begin_line

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

T = TypeVar("T")
_MARK = "\0"


@dataclass(frozen=True)
class RequestSpec:
    """What is asked of which rows, and how.

    Attributes:
        name: of the declaration.
        source: the archived table, `database.schema.table`.
        key, text, where: see `ScoredText`.
        prompt, template: what is asked of a row, and its source.
        schema: the form of an answer.
        deployment, system, max_output_tokens, temperature: of the request; see `OpenAIBatchEngine`.
        rows_per_shard, bytes_per_shard: what one batch holds at most.
        row_tries: how often a row is asked whose answer cannot be used; row_misses: how often it may be left over.
        expiry_days: after which the service deletes files of ours.
        secret: the Key Vault secret that holds the key; None: the resource's. Another name is no other work.
    """

    name: str
    source: str
    key: tuple[str, ...]
    text: str
    where: str | None
    prompt: Prompt
    template: str
    schema: AnswerSchema
    deployment: str
    system: str | None
    max_output_tokens: int
    temperature: float | None
    rows_per_shard: int
    bytes_per_shard: int
    row_tries: int
    row_misses: int
    expiry_days: int
    secret: str | None = None

    def identify(self, snapshot: Manifest) -> str:
        """A digest of the rows and of everything that is asked of them: the same work has the same."""
        asked = {
            "files": sorted(file.sha256 for file in snapshot.files),
            "key": self.key,
            "text": self.text,
            "where": self.where,
            "template": self.template,
            "body": self.build_body(_MARK),
            "schema": self.schema.full,
            "shard": [self.rows_per_shard, self.bytes_per_shard],
            "tries": [self.row_tries, self.row_misses],
        }
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:32]

    def build_body(self, prompt: str) -> dict[str, Any]:
        """A chat completion's body (Microsoft, "Structured outputs")."""
        messages = [{"role": "system", "content": self.system}] if self.system else []
        body: dict[str, Any] = {
            "model": self.deployment,
            "messages": [*messages, {"role": "user", "content": prompt}],
            "max_completion_tokens": self.max_output_tokens,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "strict": True, "schema": dict(self.schema.sent)},
            },
        }
        if self.temperature is not None:
            body["temperature"] = self.temperature
        return body


def build_requests(
    lake: Lake,
    spec: RequestSpec,
    snapshot: tuple[str, Manifest],
    day: str,
    *,
    asset: str,
    now: datetime,
    run_id: str,
    again: bool = False,
) -> tuple[Manifest, list[dict[str, Any]]]:
    """Write what a day's rows are asked, split into files that one batch takes, and the rows themselves beside them.

    A row that has a usable answer from before, or one that was rejected for good, is in no file.

    Args:
        again: ask every row anew, whatever answers there are.

    Returns:
        The manifest of the rows, and a request a file for `submit_remote_jobs`.

    Raises:
        NotFound: a column that is named is not in the snapshot.
        PredicateInvalid, KeysInvalid, TemplateInvalid: see there. Nothing was written that anything names.
    """
    folder = lake_layout.text_requests_folder(spec.name, day)
    identity = spec.identify(snapshot[1])
    earlier = read_manifest(lake, folder)
    salt = run_id if again else str(earlier.facts["salt"]) if earlier is not None else ""
    answers = list_answers(lake, folder)
    basis = hashlib.sha256(json.dumps([identity, salt, answers]).encode()).hexdigest()[:24]
    counts = {"asked": 0, "answered_before": 0, "rejected": 0}
    with ExitStack() as stack:
        connection = stack.enter_context(open_duckdb())
        source = open_source(lake, spec, snapshot, connection, stack)
        has_answers = _load_settled(lake, connection, answers, stack)
        lines = _LineBuilder(spec, connection.cursor(), salt, has_answers)
        rows_path, schema = f"{folder}/rows-{basis}.parquet", build_rows_schema(spec, source.key_types)
        shards = stack.enter_context(
            ShardWriter(
                lake,
                lambda index: f"{folder}/requests/{basis}/{index:04d}.jsonl",
                max_rows=spec.rows_per_shard,
                max_bytes=spec.bytes_per_shard,
            )
        )
        with lake.write_parquet(rows_path, schema) as sink:
            for rows, prompts in _read_ahead((rows, _render(spec, rows)) for rows in source.batches()):
                for part in lines.build(rows, prompts, counts):
                    shards.write(part.lines)
                    sink.write(part.rows.cast(schema))
    assert sink.written is not None  # noqa: S101 - set when the block ended without an exception
    manifest = build_manifest(
        asset=asset,
        partition=day,
        files=[sink.written],
        schema=schema,
        written_at=now,
        run_id=run_id,
        source={"snapshot": {"folder": snapshot[0], "run_id": snapshot[1].run_id}},
        facts={
            **counts,
            "basis": basis,
            "salt": salt,
            "shards": len(shards.shards),
            "bytes_sent": sum(shard.bytes for shard in shards.shards),
            "deployment": spec.deployment,
            **_describe_origins(spec, snapshot[1]),
        },
    )
    commit_manifest(lake, folder, manifest)
    common = {
        "identity": identity,
        "basis": basis,
        "deployment": spec.deployment,
        "answers": f"{folder}/answers",
        "requests": f"{folder}/requests/{basis}",
        "schema": spec.schema.full,
        "row_tries": spec.row_tries,
        "row_misses": spec.row_misses,
        "expiry_days": spec.expiry_days,
        "after": None,
    }
    if spec.secret is not None:
        common["secret"] = spec.secret
    return manifest, [{**common, "file": shard.path, "rows": shard.rows} for shard in shards.shards]


def _render(spec: RequestSpec, rows: BatchRows) -> pa.Array:
    import pyarrow as pa

    return pa.array(spec.prompt.render(rows.inputs), pa.large_string())


def _read_ahead(items: Iterable[T]) -> Iterator[T]:
    """Items made one ahead in a thread: Python renders the next prompts while DuckDB makes lines of these."""
    iterator, end = iter(items), object()
    with ThreadPoolExecutor(1, thread_name_prefix="prompts") as pool:
        following = pool.submit(next, iterator, end)
        while (item := following.result()) is not end:
            following = pool.submit(next, iterator, end)
            yield cast("T", item)


def list_answers(lake: Lake, folder: str) -> list[str]:
    """The files of answers that a day's batches have left so far."""
    return [path for path in lake.list_files(f"{folder}/answers") if path.endswith(".parquet")]


NEWEST_ANSWERS = """
    SELECT * FROM answers QUALIFY row_number() OVER (
        PARTITION BY custom_id ORDER BY (outcome = 'ok') DESC, answered_at DESC, attempt DESC) = 1
"""
"""Of every request its usable answer, or else what came last."""


def build_rows_schema(spec: RequestSpec, key_types: Mapping[str, pa.DataType]) -> pa.Schema:
    """Keys, then custom_id; code and reason where a row is rejected without being sent."""
    import pyarrow as pa

    names = ("custom_id", "code", "reason")
    return pa.schema([*((name, key_types[name]) for name in spec.key), *((name, pa.string()) for name in names)])


def open_answers(lake: Lake, connection: DuckDBPyConnection, paths: Sequence[str], stack: ExitStack) -> None:
    """Make files of answers the view `answers`."""
    files = [str(stack.enter_context(lake.local_copy(path))) for path in paths]
    connection.execute(f"CREATE VIEW answers AS SELECT * FROM {build_scan(files)}")  # noqa: S608


def _describe_origins(spec: RequestSpec, snapshot: Manifest) -> dict[str, Any]:
    """What the answers will be made of: every field of all that the model is told of a row."""
    told = [(snapshot.asset, column) for column in spec.prompt.columns]
    origins = {**copy_columns(snapshot.asset, spec.key), **dict.fromkeys(spec.schema.columns, told)}
    return build_facts(origins, map_personal([snapshot]), list(origins))


def _load_settled(lake: Lake, connection: DuckDBPyConnection, answers: Sequence[str], stack: ExitStack) -> bool:
    """The requests that need not be sent as the table `settled`: answered, or rejected for good."""
    if not answers:
        return False
    open_answers(lake, connection, answers, stack)
    connection.execute(
        f"CREATE TABLE settled AS SELECT custom_id FROM ({NEWEST_ANSWERS}) WHERE outcome = 'ok' OR NOT again"  # noqa: S608
    )
    return True


@dataclass(frozen=True)
class _Part:
    """Lines to be sent, and rows with their custom_ids; both of one batch."""

    lines: pa.LargeStringArray
    rows: pa.Table


class _LineBuilder:
    """Makes lines of rows: prompts by the template, the rest by DuckDB, so that no row is a Python object for long."""

    def __init__(self, spec: RequestSpec, connection: DuckDBPyConnection, salt: str, has_answers: bool) -> None:
        import orjson

        self._spec = spec
        self._connection = connection
        connection.execute("SET arrow_large_buffer_size = true")
        before, _, after = orjson.dumps(spec.build_body(_MARK)).decode().partition(orjson.dumps(_MARK).decode())
        head, _, tail = begin_line(_MARK).partition(_MARK)
        # What is the same in all bodies goes into the digest once, and not a row.
        same = hashlib.sha256(f"{salt}{before}{_MARK}{after}".encode()).hexdigest()
        self._values = {"same": same, "head": head, "middle": tail + before, "end": after + "}\n"}
        keys = [quote(name) for name in spec.key]
        known = "custom_id IN (SELECT custom_id FROM settled)" if has_answers else "false"
        self._query = f"""
            WITH named AS (
                SELECT {", ".join(keys)}, adfml_prompt, substr(sha256(concat(
                    $same, to_json([{", ".join(f"CAST({key} AS VARCHAR)" for key in keys)}]), adfml_prompt
                )), 1, {ID_CHARACTERS}) AS custom_id FROM adfml_rows
            )
            SELECT {", ".join(keys)}, custom_id, {known} AS adfml_known,
                concat($head, custom_id, $middle, to_json(adfml_prompt), $end) AS adfml_line
            FROM named
        """  # noqa: S608

    def build(self, rows: BatchRows, prompts: pa.Array, counts: dict[str, int]) -> Iterator[_Part]:
        import pyarrow as pa
        import pyarrow.compute as pc

        if rows.blank_keys.num_rows:
            yield self._reject(rows.blank_keys, "empty_text", f"{self._spec.text} is NULL or blank", counts)
        if not rows.keys.num_rows:
            return
        self._connection.register("adfml_rows", rows.keys.append_column("adfml_prompt", prompts))
        found = self._connection.execute(self._query, self._values).to_arrow_table()
        large = pc.greater(pc.binary_length(found["adfml_line"]), self._spec.bytes_per_shard)
        if pc.any(large).as_py():
            reason = f"the request is longer than the {self._spec.bytes_per_shard} bytes that a batch's file may have"
            yield self._reject(found.filter(large).select(list(self._spec.key)), "too_large", reason, counts)
            found = found.filter(pc.invert(large))
        asked = found.filter(pc.invert(found["adfml_known"]))
        counts["asked"] += asked.num_rows
        counts["answered_before"] += found.num_rows - asked.num_rows
        nothing = pa.nulls(found.num_rows, pa.string())
        kept = found.select([*self._spec.key, "custom_id"]).append_column("code", nothing)
        yield _Part(asked["adfml_line"].combine_chunks(), kept.append_column("reason", nothing))

    def _reject(self, keys: pa.Table, code: str, reason: str, counts: dict[str, int]) -> _Part:
        import pyarrow as pa

        counts["rejected"] += keys.num_rows
        rows = keys.append_column("custom_id", pa.nulls(keys.num_rows, pa.string()))
        for name, value in (("code", code), ("reason", reason)):
            rows = rows.append_column(name, pa.repeat(pa.scalar(value, pa.string()), keys.num_rows))
        return _Part(pa.array([], pa.large_string()), rows)
