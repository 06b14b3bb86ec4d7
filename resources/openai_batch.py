"""Azure OpenAI batches: files of requests sent once, polled by list, settled into the lake, through the openai SDK."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field, PrivateAttr

from resources.control import utc_now
from resources.errors import NotFound, ResourceError, Unreachable
from resources.lake import Lake
from resources.openai_account import OpenAIAccount
from resources.openai_adoption import compare_file
from resources.openai_client import SERVICE
from resources.openai_polling import look_up
from resources.openai_settling import AnswersGone, IncompleteDownload, Settled, settle_batch
from resources.openai_states import describe_failure, describe_running, read_phase
from resources.remote_jobs import ForeignJob, RemoteJob, RemoteRun, RemoteState, RemoteStatus
from resources.settings import OPENAI_ENDPOINT

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types import Batch

_log = logging.getLogger(__name__)
_KEY = "submission_key"
_DAY_SECONDS = 86_400
_PATIENCE = 5
"""How often a file that comes incomplete is read again before what came counts as all there is."""
_TOLD_PROBLEMS = 10

_NOT_YET_VISIBLE = timedelta(minutes=10)
"""How long a batch that was just made may be unknown to the service that made it."""


class OpenAIBatch(dg.ConfigurableResource):
    """Batches of the Azure OpenAI resource at ADFML_OPENAI_ENDPOINT (ADF: upload, create, Until, download).

    The pipelines' Until loop takes Failed for done, never ends for a cancelled batch and forgets what an expired one
    had answered; here every way to end is told apart, and what came is kept.

    A job whose request names a Key Vault secret (`secret`) is submitted, polled and settled with the key that it holds,
    others with that of this resource or of the settings. The sensor has no declaration: the name travels with the job.
    """

    lake: Lake = Field(description="Where requests are read from and answers are written to.")
    request_timeout_seconds: float = Field(default=30.0, description="How long one request may take, in seconds.")
    upload_timeout_seconds: float = Field(default=600.0, description="How long an upload may take, in seconds.")
    file_wait_seconds: float = Field(
        default=120.0, description="How long the service may take to look through an uploaded file, in seconds."
    )
    concurrency: int = Field(default=8, description="Requests under way at once while polling.")
    secret: str | None = Field(
        default=None, description="The Key Vault secret that holds the key of jobs that name none; none: the settings."
    )
    _accounts: dict[str | None, OpenAIAccount] = PrivateAttr(default_factory=dict)

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
        """The SDK's client for jobs that name no secret; it repeats no request by itself.

        Raises:
            SettingMissing: ADFML_OPENAI_ENDPOINT.
            SettingInvalid, Refused, Unreachable: the Key Vault's.
        """
        return self._account().open()

    def _account(self, job: RemoteJob | None = None) -> OpenAIAccount:
        secret = (job.request.get("secret") if job is not None else None) or self.secret
        return self._accounts.setdefault(secret, OpenAIAccount(secret, self.request_timeout_seconds))

    def prepare(self, job: RemoteJob) -> Mapping[str, Any]:
        """Upload the job's file, unless an earlier upload of it is still there; see `RemoteService.prepare`.

        A second upload costs nothing, and every file expires.
        """
        account = self._account(job)
        known = job.facts.get("input_file_id")
        if known is not None and account.has_file(str(known)):
            return {}
        with self.lake.local_copy(job.request["file"]) as path:
            uploaded = account.upload(
                path,
                f"{job.token[:24]}.jsonl",
                expiry_seconds=_read_expiry(job),
                timeout_seconds=self.upload_timeout_seconds,
                wait_seconds=self.file_wait_seconds,
            )
        return {"input_file_id": uploaded}

    def submit(self, job: RemoteJob) -> RemoteRun:
        """POST batches, once, with our key in its metadata; see `RemoteService.submit`."""
        batch_id = self._account(job).create_batch(
            job.facts["input_file_id"],
            {_KEY: job.remote_key},
            expiry_seconds=_read_expiry(job),
            submission_key=job.submission_key,
        )
        return RemoteRun(batch_id, None)

    def find(self, job: RemoteJob) -> RemoteRun | None:
        """The batch that carries the job's submission key and was created since its intent was written, or None."""
        for batch in self._account(job).list_since(job.created_at):
            if (batch.metadata or {}).get(_KEY) == job.remote_key:
                return RemoteRun(batch.id, None)
        return None

    def inspect(self, remote_id: str, request: Mapping[str, Any]) -> ForeignJob:
        """A batch that somebody else made, compared with a request: whether its file is the same, byte by byte."""
        secret = request.get("secret") or self.secret
        account = self._accounts.setdefault(secret, OpenAIAccount(secret, self.request_timeout_seconds))
        batch = account.get_batch(remote_id)
        if batch is None:
            raise NotFound("batch", remote_id, f"{SERVICE} at {OPENAI_ENDPOINT.read()}", ())
        differences = compare_file(self.lake, account, batch, str(request["file"]))
        key = (batch.metadata or {}).get(_KEY)
        facts = {"input_file_id": batch.input_file_id, **({"remote_key": key} if key else {})}
        started = datetime.fromtimestamp(batch.created_at, UTC)
        # One that expired or was cancelled may have answered rows, which are settled; one that failed has none.
        status = describe_failure(batch) if batch.status == "failed" else describe_running(batch.status)
        return ForeignJob(RemoteRun(batch.id, None, facts), started, status, tuple(differences))

    def cancel(self, job: RemoteJob) -> None:
        """POST batches/{id}/cancel; a batch that has ended, or is gone, is no error."""
        if job.remote_id is not None:
            self._account(job).cancel_batch(job.remote_id)

    def poll(self, jobs: Sequence[RemoteJob], stop_at: float) -> Iterator[tuple[RemoteJob, RemoteStatus]]:
        """How jobs stand: by list, singly where a list does not reach; those that have ended are settled.

        Settling is done one after the other, and for one job at least, however little time there is: otherwise a long
        list would leave no time for it ever.

        Raises:
            ResourceError: a key could not be read, or a batch not be asked for or settled; after all others have been
                looked at. It is the first of several; the others are logged.
        """
        if not jobs:
            return
        found, problems = look_up([(job, self._account(job)) for job in jobs], stop_at, self.concurrency)
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
            for message in sorted({str(problem) for problem in problems} - {str(problems[0])})[:_TOLD_PROBLEMS]:
                _log.warning("%s", message)
            raise problems[0]

    def _end(self, job: RemoteJob, batch: Batch, problems: list[ResourceError]) -> RemoteStatus:
        """Settle a batch that has ended; one that cannot be settled now counts as running until it can."""
        account, status = self._account(job), batch.status.lower()
        if status == "failed" and not (batch.output_file_id or batch.error_file_id):
            _delete_files(account, batch)
            return describe_failure(batch, job.refusals)
        incomplete = int(job.facts.get("incomplete_reads", 0))
        try:
            settled = settle_batch(self.lake, job, batch, account.download, lenient=incomplete >= _PATIENCE)
        except IncompleteDownload as error:
            address = OPENAI_ENDPOINT.read()
            problems.append(Unreachable(SERVICE, address, f"{error}; it is read again", "the network"))
            return RemoteStatus("running", batch.status, facts={"incomplete_reads": incomplete + 1}, settling=True)
        except AnswersGone as error:
            lost = f"The answers of batch {batch.id} to {job.request['rows']} rows are lost: {error}"
            advice = "When the partition is materialised again, these rows are asked, and paid for, again."
            return RemoteStatus("failed", batch.status, f"{lost} {advice}")
        except ResourceError as error:
            # The lake's no, a key that was changed: the answers are paid for, and there until their files expire.
            problems.append(error)
            return RemoteStatus("running", batch.status, settling=True)
        _delete_files(account, batch)
        return _describe_end(job, status, settled)


def _describe_end(job: RemoteJob, status: str, settled: Settled) -> RemoteStatus:
    following = [settled.next_request] if settled.next_request else []
    state: RemoteState = "succeeded"
    message = None
    if job.cancel_reason is not None and status in ("cancelled", "canceled"):
        state, message = "cancelled", job.cancel_reason
    elif settled.unanswered:
        state, message = "failed", f"The batch {status} without an answer to any row, as those before it did."
    return RemoteStatus(state, status, message, facts=settled.facts, next_requests=following)


def _delete_files(account: OpenAIAccount, batch: Batch) -> None:
    for file_id in filter(None, (batch.input_file_id, batch.output_file_id, batch.error_file_id)):
        account.delete_file(file_id)


def _read_expiry(job: RemoteJob) -> int:
    return int(job.request["expiry_days"] * _DAY_SECONDS)


def _is_young(job: RemoteJob) -> bool:
    return job.submitted_at is not None and utc_now() - job.submitted_at < _NOT_YET_VISIBLE
