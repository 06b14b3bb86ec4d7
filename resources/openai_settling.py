"""Settling a batch that has ended: its answers into the lake, and what has to be asked again into a next file.

Both lie at paths that follow from the job, so that settling it again, after a crash at any line, finds or makes the
same: the answers are read from the service once, and the files there may be deleted when the lake has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from resources.errors import NotFound, Refused
from resources.lake import Lake
from resources.openai_answers import Answer, AnswerReader, BrokenLine
from resources.openai_requests import copy_lines, iterate_lines, read_custom_id
from resources.remote_jobs import RemoteJob

if TYPE_CHECKING:
    import pyarrow as pa
    from openai.types import Batch

_BATCH_ROWS = 5_000


class IncompleteDownload(Exception):
    """A batch's file came without all of its lines."""


class AnswersGone(Refused):
    """A file of a batch that the service has no longer."""


@dataclass(frozen=True)
class Settled:
    """What came of a batch.

    Attributes:
        facts: rows by outcome, tokens, and where the answers lie.
        next_request: the request of the job that asks again; None: there is nothing to ask again.
        unanswered: whether no row has an answer, and none may be asked again.
    """

    facts: Mapping[str, Any]
    next_request: Mapping[str, Any] | None
    unanswered: bool


def answers_path(job: RemoteJob) -> str:
    """Where the answers of a job lie: the token differs between jobs, and between deployments."""
    return f"{job.request['answers']}/{job.token[:24]}.parquet"


def settle_batch(
    lake: Lake, job: RemoteJob, batch: Batch, download: Callable[[str], Iterator[bytes]], *, lenient: bool
) -> Settled:
    """Bring a batch's answers into the lake, whatever it ended with, and write the file that asks again.

    Args:
        job: its request names the file that was sent (`file`, `rows`), the folder of answers (`answers`), the schema,
            the limits (`row_tries`, `row_misses`) and the answers of the job it follows (`after`), where there is one.
        batch: it has ended.
        download: the bytes of a file of the service, by its id.
        lenient: take what comes for all there is, even where the service counts more.

    Raises:
        IncompleteDownload: lines are missing or cut off; nothing was written.
        AnswersGone: neither the service nor the lake has the answers.
        ResourceError: the lake's or the service's; nothing was written.
    """
    path = answers_path(job)
    tally = _read_tally(lake, path)
    if tally is None:
        try:
            tally = _write_answers(lake, job, batch, path, download, lenient=lenient)
        except AnswersGone:
            # Another tick may have settled it meanwhile, and deleted the files: then the lake has its answers.
            # Where only the errors are gone, the rows whose reasons they held are asked again.
            without = batch.model_copy(update={"error_file_id": None})
            tally = _read_tally(lake, path) or _write_answers(lake, job, without, path, download, lenient=lenient)
    request = None
    if tally.again:
        # A path of the job's own, so that settling it twice writes the same file twice.
        shard = copy_lines(
            lake, job.request["file"], f"{job.request['requests']}/after-{job.token[:24]}.jsonl", tally.again
        )
        request = {**job.request, "file": shard.path, "rows": shard.rows, "after": path}
    facts = {**tally.counts, "input_tokens": tally.input_tokens, "output_tokens": tally.output_tokens, "answers": path}
    return Settled(facts, request, unanswered=not tally.again and not tally.counts["ok"] and not tally.answered)


@dataclass
class _Tally:
    """Counted while the answers are written, or read again from them."""

    counts: dict[str, int] = field(default_factory=lambda: {"ok": 0, "rejected": 0, "missing": 0})
    again: set[str] = field(default_factory=set)
    answered: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def add(self, rows: Mapping[str, list[Any]]) -> None:
        for custom_id, outcome, next_asked in zip(rows["custom_id"], rows["outcome"], rows["asked_next"], strict=True):
            self.counts[outcome] += 1
            self.answered += outcome != "missing"
            if next_asked:
                self.again.add(custom_id)
        self.input_tokens += sum(rows["input_tokens"])
        self.output_tokens += sum(rows["output_tokens"])


def build_answers_schema() -> pa.Schema:
    """The columns of a file of answers.

    tries: how often a row was answered unusably or not at all by the model, this one included, since it was asked
    first; misses: how often a batch ended before its turn; again: whether asking again may help; asked_next: whether
    the job that follows asks it; attempt: the job's; answered_at: when the batch ended (UTC).
    """
    import pyarrow as pa

    return pa.schema(
        [
            ("custom_id", pa.string()),
            ("outcome", pa.string()),
            ("code", pa.string()),
            ("reason", pa.string()),
            ("again", pa.bool_()),
            ("asked_next", pa.bool_()),
            ("tries", pa.int32()),
            ("misses", pa.int32()),
            ("content", pa.string()),
            ("model", pa.string()),
            ("input_tokens", pa.int64()),
            ("output_tokens", pa.int64()),
            ("attempt", pa.int32()),
            ("batch_id", pa.string()),
            ("answered_at", pa.timestamp("us", "UTC")),
        ]
    )


def _read_tally(lake: Lake, path: str) -> _Tally | None:
    tally = _Tally()
    columns = ["custom_id", "outcome", "asked_next", "input_tokens", "output_tokens"]
    try:
        for batch in lake.iter_batches(path, columns):
            tally.add(batch.to_pydict())
    except NotFound:
        return None
    return tally


def _write_answers(
    lake: Lake, job: RemoteJob, batch: Batch, path: str, download: Callable[[str], Iterator[bytes]], *, lenient: bool
) -> _Tally:
    import pyarrow as pa

    schema, tally = build_answers_schema(), _Tally()
    earlier = _read_earlier(lake, job.request.get("after"))
    ended = batch.completed_at or batch.expired_at or batch.cancelled_at or batch.failed_at or batch.created_at
    common = {
        "attempt": job.attempt,
        "batch_id": batch.id,
        "answered_at": datetime.fromtimestamp(ended, UTC),
    }
    with lake.write_parquet(path, schema) as sink:
        for answers in _in_batches(_read_answers(lake, job, batch, download, lenient=lenient)):
            rows = [{**_count_tries(answer, earlier, job), **common} for answer in answers]
            columns = {name: [row[name] for row in rows] for name in schema.names}
            tally.add(columns)
            sink.write(pa.RecordBatch.from_pydict(columns, schema))
    return tally


def _read_earlier(lake: Lake, path: str | None) -> dict[str, tuple[int, int]]:
    """custom_id -> tries and misses so far."""
    if path is None:
        return {}
    table = lake.read_table(path, ["custom_id", "tries", "misses"]).to_pydict()
    return dict(zip(table["custom_id"], zip(table["tries"], table["misses"], strict=True), strict=True))


def _count_tries(answer: Answer, earlier: Mapping[str, tuple[int, int]], job: RemoteJob) -> dict[str, Any]:
    tries, misses = earlier.get(answer.custom_id, (0, 0))
    missing = answer.outcome == "missing"
    tries, misses = tries + (not missing), misses + missing
    left = misses < job.request["row_misses"] if missing else tries < job.request["row_tries"]
    asked_next = answer.again and left and job.cancel_reason is None
    return {**vars(answer), "tries": tries, "misses": misses, "asked_next": asked_next}


def _read_answers(
    lake: Lake, job: RemoteJob, batch: Batch, download: Callable[[str], Iterator[bytes]], *, lenient: bool
) -> Iterator[Answer]:
    """One answer for every request of the file that was sent, in whatever order they come."""
    asked = {read_custom_id(line) for line in iterate_lines(lake, job.request["file"])}
    reader = AnswerReader(job.request["schema"])
    counts = batch.request_counts
    for file_id, counted in (
        (batch.output_file_id, counts.completed if counts else 0),
        # Requests that were never looked at are in this file too, and not counted.
        (batch.error_file_id, counts.failed if counts and batch.status == "completed" else 0),
    ):
        if not file_id:
            continue
        lines = 0
        for line in _split_lines(download(file_id)):
            lines += 1
            try:
                answer = reader.read(line)
            except BrokenLine as error:
                if lenient:
                    continue
                raise IncompleteDownload(f"file {file_id}, line {lines}: {error}") from None
            if answer.custom_id in asked:
                asked.discard(answer.custom_id)
                yield answer
        if lines < counted and not lenient:
            raise IncompleteDownload(f"file {file_id} has {lines} lines, the batch counts {counted}")
    word = batch.status.lower().replace("canceled", "cancelled")
    code = word if word in ("expired", "cancelled") else "missing"
    reason = f"the batch ended {word} without an answer to this row"
    for custom_id in sorted(asked):
        yield Answer(custom_id, "missing", code, reason, again=True)


def _split_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines of a stream. Only line feeds end one: JSON may hold other characters that end lines elsewhere."""
    rest = b""
    for block in blocks:
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        yield from (line for line in lines if line.strip())
    if rest.strip():
        yield rest


def _in_batches(answers: Iterator[Answer]) -> Iterator[list[Answer]]:
    chunk: list[Answer] = []
    for answer in answers:
        chunk.append(answer)
        if len(chunk) == _BATCH_ROWS:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
