"""A day's records scored by an online endpoint: scores and refused rows, visible together or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from adfml_assets import lake_layout
from adfml_assets.errors import AdfmlError, WrongResult
from adfml_assets.scoring.errors import WrongRecords
from adfml_assets.scoring.scores import FEATURE_SNAPSHOT, FILE, build_scores_schema
from adfml_assets.scoring.scoring_input import RECORD_ID
from resources.azure_ml_online import AzureMlOnline, OnlineLimits, OnlineTarget, Scored, TooManyRowErrors
from resources.lake import Lake, ParquetSink, WrittenFile
from resources.manifest import FILE_NAME, Manifest, build_manifest, list_data_paths, write_manifest

if TYPE_CHECKING:
    import pyarrow as pa

ERRORS_FILE = "errors.parquet"
_GROUP_ROWS = 65_536
_SHOWN_ERRORS = 10


class RowsRefused(AdfmlError):
    """The model refused more of a day's records than it may."""

    def __init__(self, model: str, day: str, records: int, share: float, first: Sequence[tuple[Any, str]]) -> None:
        self.model = model
        self.day = day
        self.records = records
        self.share = share
        self.first = tuple(first)
        examples = "".join(f"\n{RECORD_ID} {record}: {message}" for record, message in first)
        super().__init__(
            f"Model {model}, {day}: the online endpoint refused more than {share:.2%} of {records} records "
            f"(max_error_share); nothing is visible. The first of them:{examples}\nMend the records or the scoring "
            "script, or raise max_error_share."
        )


@dataclass(frozen=True)
class Request:
    """What is to be scored, by what.

    Attributes:
        features: the columns that are sent, in the model's order.
        expected: what every row of the result says: `model`, `version`, `alias`, `feature_snapshot` (ISO).
        max_error_share: the share of the records, from 0 to 1, that may be without a score.
    """

    model: str
    day: str
    features: Sequence[str]
    expected: dict[str, str]
    target: OnlineTarget
    limits: OnlineLimits
    max_error_share: float


@dataclass
class Result:
    """What came of it: `examples` are the first (RecordId, reason) that have no score."""

    errors: int = 0
    scored: int = 0
    deployments: set[str] = field(default_factory=set)
    examples: list[tuple[Any, str]] = field(default_factory=list)
    manifest: Manifest | None = None


def score_online(
    lake: Lake, online: AzureMlOnline, request: Request, records: Manifest, *, asset: str, now: datetime, run_id: str
) -> Result:
    """Score a day's records and make the scores visible. A run that is killed leaves what was visible before.

    `predictions.parquet` has the columns of a scoring job's (see `adfml_assets.scoring.scores`); `errors.parquet`,
    where the model refused rows, has `error` in place of `score`. Memory does not grow with the rows, except
    for their ids.

    Args:
        records: the scoring input's manifest.
        now: when they are scored, UTC.

    Raises:
        WrongRecords: an id is NULL or doubled.
        RowsRefused: more rows than `max_error_share` have no score.
        WrongResult: what was written does not hold each record once.
        Refused, Unreachable, WrongAnswer, SettingMissing: the endpoint's.
    """
    paths = list_data_paths(lake_layout.scoring_input_folder(request.model, request.day), records)
    ids = _read_ids(lake, paths)
    _check_ids(ids, paths[0])
    folder, result = lake_layout.scores_folder(request.model, request.day), Result()
    schemas = _build_schemas(ids.type)
    with ExitStack() as files:
        scores = _Sheet(lake.write_parquet(f"{folder}/{FILE}", schemas[0]), files, request, now)
        refused = _Sheet(lake.write_parquet(f"{folder}/{ERRORS_FILE}", schemas[1]), files, request, now)
        try:
            for batch, scored in _send(lake, online, request, paths, len(ids)):
                _note(result, batch, scored)
                scores.add(batch[RECORD_ID], scored.scores)
                refused.add(batch[RECORD_ID], scored.errors)
        except TooManyRowErrors as error:
            first = [(ids[number].as_py(), message) for number, message in sorted(error.first)]
            raise RowsRefused(request.model, request.day, len(ids), request.max_error_share, first) from None
        scores.flush(always=True)
        refused.flush()
        # From here to the end no manifest vouches for the files: they are replaced one after the other.
        lake.delete(f"{folder}/{FILE_NAME}")
        if not result.errors:
            lake.delete(f"{folder}/{ERRORS_FILE}")
    _verify(lake, folder, ids, result)
    facts: dict[str, Any] = {**request.expected, "errors": result.errors, "deployments": sorted(result.deployments)}
    if refused.written is not None:
        # Named here and not among the files: a partition's files are its scores.
        facts["errors_file"] = {"name": ERRORS_FILE, "sha256": refused.written.sha256, "bytes": refused.written.bytes}
    assert scores.written is not None  # noqa: S101 - its file was ended without an exception
    result.manifest = build_manifest(
        asset=asset,
        partition=request.day,
        files=[scores.written],
        schema=schemas[0],
        written_at=now,
        run_id=run_id,
        source={"endpoint": online.find_uri(request.target), "deployment": request.target.deployment},
        facts=facts,
    )
    write_manifest(lake, folder, result.manifest)
    return result


def _send(
    lake: Lake, online: AzureMlOnline, request: Request, paths: Sequence[str], rows: int
) -> Iterator[tuple[pa.RecordBatch, Scored]]:
    limits = request.limits
    batch_rows = min(_GROUP_ROWS, limits.rows_per_request * limits.concurrency)
    columns = [RECORD_ID, *request.features]
    batches = (batch for path in paths for batch in lake.iter_batches(path, columns, batch_rows))
    return online.score_batches(
        batches,
        request.target,
        columns=request.features,
        limits=limits,
        max_errors=int(rows * request.max_error_share),
    )


def _note(result: Result, batch: pa.RecordBatch, scored: Scored) -> None:
    import pyarrow.compute as pc

    result.errors += scored.failed
    result.scored += len(scored) - scored.failed
    result.deployments |= scored.deployments
    if scored.failed and len(result.examples) < _SHOWN_ERRORS:
        wrong = pc.is_valid(scored.errors)
        pairs = zip(batch[RECORD_ID].filter(wrong).to_pylist(), scored.errors.filter(wrong).to_pylist(), strict=True)
        result.examples += list(pairs)[: _SHOWN_ERRORS - len(result.examples)]


class _Sheet:
    """One of the two files: rows are collected to row groups of a good size. It is opened with its first group."""

    def __init__(
        self, file: AbstractContextManager[ParquetSink], files: ExitStack, request: Request, now: datetime
    ) -> None:
        self._file = file
        self._files = files
        self._expected = request.expected
        self._now = now
        self._sink: ParquetSink | None = None
        self._ids: list[pa.Array] = []
        self._values: list[pa.Array] = []
        self._rows = 0

    @property
    def written(self) -> WrittenFile | None:
        """The file, once it is whole; None where there is none."""
        return self._sink.written if self._sink else None

    def add(self, ids: pa.Array, values: pa.Array) -> None:
        """Append the rows that have a value."""
        import pyarrow.compute as pc

        there = pc.is_valid(values)
        self._ids.append(ids.filter(there))
        self._values.append(values.filter(there))
        self._rows += len(self._values[-1])
        if self._rows >= _GROUP_ROWS:
            self.flush()

    def flush(self, *, always: bool = False) -> None:
        """Write what was collected; without rows there is a file only with `always`."""
        import pyarrow as pa

        if not self._rows and not always:
            return
        if self._sink is None:
            self._sink = self._files.enter_context(self._file)
        schema, rows = self._sink.schema, self._rows
        said = {
            **self._expected,
            "scored_at": self._now,
            FEATURE_SNAPSHOT: date.fromisoformat(self._expected[FEATURE_SNAPSHOT]),
        }
        constants = [pa.repeat(pa.scalar(said[field.name], field.type), rows) for field in list(schema)[2:]]
        columns = [_join(self._ids, schema.types[0]), _join(self._values, schema.types[1]), *constants]
        self._sink.write(pa.RecordBatch.from_arrays(columns, schema=schema))
        self._ids, self._values, self._rows = [], [], 0


def _join(parts: list[pa.Array], kind: pa.DataType) -> pa.Array:
    import pyarrow as pa

    return pa.concat_arrays(parts) if parts else pa.array([], kind)


def _build_schemas(id_type: pa.DataType) -> tuple[pa.Schema, pa.Schema]:
    """Of the scores, and of the refused rows."""
    import pyarrow as pa

    scores = build_scores_schema(id_type)
    return scores, scores.set(scores.get_field_index("score"), pa.field("error", pa.string()))


def _read_ids(lake: Lake, paths: Sequence[str]) -> pa.ChunkedArray:
    import pyarrow as pa

    return pa.concat_tables([lake.read_table(path, [RECORD_ID]) for path in paths])[RECORD_ID]


def _check_ids(ids: pa.ChunkedArray, path: str) -> None:
    import pyarrow.compute as pc

    if ids.null_count:
        raise WrongRecords(path, f"{ids.null_count} of {len(ids)} records have no {RECORD_ID}")
    different = pc.count_distinct(ids).as_py()
    if different != len(ids):
        raise WrongRecords(path, f"{len(ids)} records have {different} different {RECORD_ID}s")


def _verify(lake: Lake, folder: str, ids: pa.ChunkedArray, result: Result) -> None:
    """What is in the files, against the input: each record has its score or its error, once."""
    import pyarrow as pa
    import pyarrow.compute as pc

    files = [FILE, ERRORS_FILE] if result.errors else [FILE]
    found = _read_ids(lake, [f"{folder}/{name}" for name in files])
    expected = f"{len(ids)} records, each with a score or an error"
    if len(found) != len(ids):
        raise WrongResult(folder, expected, f"{len(found)} rows")
    missing = pc.sum(pc.invert(pc.is_in(ids, value_set=pa.chunked_array(found.chunks, found.type)))).as_py() or 0
    if missing:
        raise WrongResult(folder, expected, f"nothing for {missing} of them")
