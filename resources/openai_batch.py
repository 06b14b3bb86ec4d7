"""Azure OpenAI batches: files of requests sent once, polled by list, settled into the lake, through the openai SDK."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field, PrivateAttr

from resources.control import utc_now
from resources.errors import QuotaExceeded, Refused, ResourceError, Unreachable
from resources.lake import Lake
from resources.openai_client import SERVICE, build_client, translated
from resources.openai_requests import ENDPOINT
from resources.openai_settling import IncompleteDownload, Settled, settle_batch
from resources.openai_states import describe_failure, describe_running, read_phase
from resources.remote_jobs import RemoteJob, RemoteRun, RemoteState, RemoteStatus
from resources.settings import OPENAI_ENDPOINT

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types import Batch

_log = logging.getLogger(__name__)
_KEY = "submission_key"
_PAGE = 100
_CLOCK_SKEW = timedelta(minutes=10)
_BLOCK_BYTES = 1024 * 1024
_UPLOAD_TRIES = 3
_READY = frozenset({"processed", "uploaded", "none", ""})
_DAY_SECONDS = 86_400
_PATIENCE = 5
"""How often a file that comes incomplete is read again before what came counts as all there is."""


_NOT_YET_VISIBLE = timedelta(minutes=10)
"""How long a batch that was just made may be unknown to the service that made it."""


class AnswersGone(Refused):
    """A file of answers that the service has no longer."""


class OpenAIBatch(dg.ConfigurableResource):
    """Batches of the Azure OpenAI resource at ADFML_OPENAI_ENDPOINT (ADF: upload, create, Until, download).

    The pipelines' Until loop takes Failed for done, never ends for a cancelled batch and forgets what an expired one
    had answered; here every way to end is told apart, and what came is kept.
    """

    lake: Lake = Field(description="Where requests are read from and answers are written to.")
    request_timeout_seconds: float = Field(default=30.0, description="How long one request may take, in seconds.")
    upload_timeout_seconds: float = Field(default=600.0, description="How long an upload may take, in seconds.")
    file_wait_seconds: float = Field(
        default=120.0, description="How long the service may take to look through an uploaded file, in seconds."
    )
    concurrency: int = Field(default=8, description="Requests under way at once while polling.")
    secret: str | None = Field(default=None, description="The Key Vault secret that holds the key, where one does.")
    _client: Any = PrivateAttr(default=None)

    @property
    def name(self) -> str:
        """`openai_batch`."""
        return "openai_batch"

    @property
    def resends_safely(self) -> bool:
        """No: a file sent to POST batches twice is two batches, and both are paid for."""
        return False

    @property
    def client(self) -> OpenAI:
        """The SDK's client; it repeats no request by itself.

        Raises:
            SettingMissing: ADFML_OPENAI_ENDPOINT.
        """
        if self._client is None:
            self._client = build_client(self.request_timeout_seconds, self.secret)
        return self._client

    def prepare(self, job: RemoteJob) -> Mapping[str, Any]:
        """Upload the job's file, unless an earlier upload of it is still there; see `RemoteService.prepare`.

        A second upload costs nothing, and every file expires.
        """
        known = job.facts.get("input_file_id")
        if known is not None and self._find_file(str(known)):
            return {}
        return {"input_file_id": self._upload(job)}

    def _find_file(self, file_id: str) -> bool:
        import openai

        with translated():
            try:
                return self.client.files.retrieve(file_id).status not in ("error", "deleted")
            except openai.NotFoundError:
                return False

    def _upload(self, job: RemoteJob) -> str:
        seconds = int(job.request["expiry_days"] * _DAY_SECONDS)
        client = self.client.with_options(timeout=self.upload_timeout_seconds)
        with self.lake.local_copy(job.request["file"]) as path:
            for attempt in range(_UPLOAD_TRIES):
                try:
                    with translated(), path.open("rb") as file:
                        uploaded = client.files.create(
                            file=(f"{job.token[:24]}.jsonl", file, "application/jsonl"),
                            purpose="batch",
                            expires_after={"anchor": "created_at", "seconds": seconds},
                        )
                    break
                except Unreachable:
                    if attempt + 1 == _UPLOAD_TRIES:
                        raise
                    time.sleep(2**attempt / 4)
        self._await_file(uploaded.id, uploaded.status)
        return uploaded.id

    def _await_file(self, file_id: str, status: str | None) -> None:
        stop_at = time.monotonic() + self.file_wait_seconds
        pause = 0.5
        while (word := str(status or "").lower()) not in _READY:
            address = OPENAI_ENDPOINT.read()
            if word == "error":
                raise Refused(SERVICE, address, f"file {file_id} was uploaded and found wrong", "the declaration")
            if time.monotonic() > stop_at:
                raise QuotaExceeded(SERVICE, address, f"file {file_id} is still {word}")
            time.sleep(pause)
            pause = min(2 * pause, 5.0)
            with translated():
                status = self.client.files.retrieve(file_id).status

    def submit(self, job: RemoteJob) -> RemoteRun:
        """POST batches, once, with our key in its metadata; see `RemoteService.submit`."""
        seconds = int(job.request["expiry_days"] * _DAY_SECONDS)
        with translated(job.submission_key):
            batch = self.client.batches.create(
                input_file_id=job.facts["input_file_id"],
                endpoint=ENDPOINT,  # type: ignore[arg-type]  # a Literal there
                completion_window="24h",
                metadata={_KEY: job.remote_key},
                output_expires_after={"anchor": "created_at", "seconds": seconds},
            )
        return RemoteRun(batch.id, None)

    def find(self, job: RemoteJob) -> RemoteRun | None:
        """The batch that carries the job's submission key and was created since its intent was written, or None."""
        for batch in self._list_since(job.created_at):
            if (batch.metadata or {}).get(_KEY) == job.remote_key:
                return RemoteRun(batch.id, None)
        return None

    def _list_since(self, moment: datetime, max_pages: int | None = None) -> Iterator[Batch]:
        """Batches created since then, newest first, as the service lists them."""
        since = (moment - _CLOCK_SKEW).timestamp()
        with translated():
            page = self.client.batches.list(limit=_PAGE)
        pages = 1
        while True:
            yield from (batch for batch in page.data if batch.created_at >= since)
            if not page.data or page.data[-1].created_at < since or pages == max_pages:
                return
            with translated():
                if not page.has_next_page():
                    return
                page = page.get_next_page()
            pages += 1

    def cancel(self, job: RemoteJob) -> None:
        """POST batches/{id}/cancel; a batch that has ended, or is gone, is no error."""
        import openai

        if job.remote_id is None:
            return
        with translated():
            try:
                self.client.batches.cancel(job.remote_id)
            except openai.NotFoundError:
                return
            except (openai.BadRequestError, openai.ConflictError):
                if read_phase(self.client.batches.retrieve(job.remote_id).status) != "ended":
                    raise

    def poll(self, jobs: Sequence[RemoteJob], stop_at: float) -> Iterator[tuple[RemoteJob, RemoteStatus]]:
        """How jobs stand: by list, singly where a list does not reach; those that have ended are settled.

        Settling is done one after the other, and for one job at least, however little time there is: otherwise a long
        list would leave no time for it ever.

        Raises:
            ResourceError: a batch could not be settled, or not be asked for; after all others have been looked at.
        """
        if not jobs:
            return
        found = self._list_batches(jobs, stop_at)
        problems: list[ResourceError] = []
        self._get_missing([job for job in jobs if job.remote_id not in found], found, problems, stop_at)
        ended: list[tuple[RemoteJob, Batch]] = []
        for job in jobs:
            remote_id = str(job.remote_id)
            if remote_id not in found:
                continue
            batch = found[remote_id]
            if batch is None and _is_young(job):
                yield job, RemoteStatus("running", "NOT_FOUND")  # not visible everywhere yet
            elif batch is None:
                # Batches are forgotten, and people delete resources: waiting on would be for ever.
                where = OPENAI_ENDPOINT.read()
                message = f"{SERVICE} at {where} does not know batch {remote_id}, or no longer."
                yield job, RemoteStatus("failed", "NOT_FOUND", message)
            elif read_phase(batch.status) == "ended":
                ended.append((job, batch))
            else:
                yield job, describe_running(batch.status)
        for number, (job, batch) in enumerate(ended):
            if number and time.monotonic() > stop_at:
                break
            yield job, self._end(job, batch, problems)
        if problems:
            raise problems[0]

    def _list_batches(self, jobs: Sequence[RemoteJob], stop_at: float) -> dict[str, Batch | None]:
        found: dict[str, Batch | None] = {}
        if len(jobs) == 1:
            return found  # one request either way, and the answer to this one is certain
        wanted = {str(job.remote_id) for job in jobs}
        oldest = min(job.submitted_at or job.created_at for job in jobs)
        # Others may use the resource as well: no more pages than would be worth it.
        for batch in self._list_since(oldest, max_pages=2 + len(jobs) // 10):
            if batch.id in wanted:
                found[batch.id] = batch
            if len(found) == len(wanted) or time.monotonic() > stop_at:
                break
        return found

    def _get_missing(
        self,
        jobs: Sequence[RemoteJob],
        found: dict[str, Batch | None],
        problems: list[ResourceError],
        stop_at: float,
    ) -> None:
        def get(job: RemoteJob) -> None:
            if time.monotonic() > stop_at:
                return
            try:
                found[str(job.remote_id)] = self._get_batch(str(job.remote_id))
            except ResourceError as error:
                problems.append(error)

        if jobs:
            with ThreadPoolExecutor(self.concurrency, thread_name_prefix="openai-poll") as pool:
                list(pool.map(get, jobs))

    def _get_batch(self, batch_id: str) -> Batch | None:
        import openai

        with translated():
            try:
                return self.client.batches.retrieve(batch_id)
            except openai.NotFoundError:
                # A wrong address answers so as well, and a batch that is paid for must not be given up for that.
                self.client.batches.list(limit=1)
                return None

    def _end(self, job: RemoteJob, batch: Batch, problems: list[ResourceError]) -> RemoteStatus:
        """Settle a batch that has ended; one that cannot be settled now counts as running until it can."""
        status = batch.status.lower()
        if status == "failed" and not (batch.output_file_id or batch.error_file_id):
            self._delete_files(batch)
            return describe_failure(batch, job.refusals)
        incomplete = int(job.facts.get("incomplete_reads", 0))
        try:
            try:
                settled = settle_batch(self.lake, job, batch, self._download, lenient=incomplete >= _PATIENCE)
            except AnswersGone:
                # Another tick may have settled it meanwhile, and deleted the files: then the lake has its answers.
                settled = settle_batch(self.lake, job, batch, self._download, lenient=True)
        except IncompleteDownload as error:
            address = OPENAI_ENDPOINT.read()
            problems.append(Unreachable(SERVICE, address, f"{error}; it is read again", "the network"))
            return RemoteStatus("running", batch.status, facts={"incomplete_reads": incomplete + 1}, settling=True)
        except AnswersGone as error:
            return RemoteStatus("failed", batch.status, f"The answers of batch {batch.id} cannot be read: {error}")
        except ResourceError as error:
            # The lake's no, a key that was changed: the answers are paid for, and there until their files expire.
            problems.append(error)
            return RemoteStatus("running", batch.status, settling=True)
        self._delete_files(batch)
        return _describe_end(job, status, settled)

    def _download(self, file_id: str) -> Iterator[bytes]:
        import openai

        with translated():
            try:
                with self.client.files.with_streaming_response.content(file_id) as response:
                    yield from response.iter_bytes(_BLOCK_BYTES)
            except openai.NotFoundError as error:
                raise AnswersGone(SERVICE, OPENAI_ENDPOINT.read(), f"file {file_id} is gone", "its expiry") from error

    def _delete_files(self, batch: Batch) -> None:
        """Delete what the lake has; what stays all the same expires."""
        import openai

        for file_id in filter(None, (batch.input_file_id, batch.output_file_id, batch.error_file_id)):
            try:
                with translated(), suppress(openai.NotFoundError):
                    self.client.files.delete(file_id)
            except ResourceError as error:
                _log.info("File %s stays until it expires: %s", file_id, error)


def _describe_end(job: RemoteJob, status: str, settled: Settled) -> RemoteStatus:
    following = [settled.next_request] if settled.next_request else []
    state: RemoteState = "succeeded"
    message = None
    if job.cancel_reason is not None and status in ("cancelled", "canceled"):
        state, message = "cancelled", job.cancel_reason
    elif settled.unanswered:
        state, message = "failed", f"The batch {status} without an answer to any row, as those before it did."
    return RemoteStatus(state, status, message, facts=settled.facts, next_requests=following)


def _is_young(job: RemoteJob) -> bool:
    return job.submitted_at is not None and utc_now() - job.submitted_at < _NOT_YET_VISIBLE
