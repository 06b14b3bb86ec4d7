"""What a remote job is, whatever service runs it: the words, the states and the interface a service has to offer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol, get_args, runtime_checkable

JobState = Literal["submitting", "running", "succeeded", "failed", "cancelled"]
"""submitting: the intent is recorded, no answer yet. running: the service has it. The others have ended."""

RemoteState = Literal["running", "succeeded", "failed", "cancelled"]

OUTSTANDING: tuple[JobState, ...] = ("submitting", "running")
ENDED: tuple[JobState, ...] = tuple(state for state in get_args(JobState) if state not in OUTSTANDING)


@dataclass(frozen=True)
class RemoteJob:
    """A row of the ledger: one submission of one partition's job, or of one shard of it. Times are UTC.

    Attributes:
        sender: who may call the service for it until `submitter_lease_until`: a run, or a sensor's tick.
        group_key: the submission key of the first of the jobs that make one result together (the shards of a
            partition and their retries); its own key where it is alone.
        parent_key: the job that this one retries, or completes; None: somebody asked for it.
        refusals: how often the service had no room for it.
        facts: what the service's client noted for itself: file ids, counts, usage.
    """

    submission_key: str
    token: str
    asset: str
    collecting_asset: str
    partition: str
    attempt: int
    try_number: int
    max_tries: int
    service: str
    request: Mapping[str, Any]
    state: JobState
    created_at: datetime
    sends: int
    submitter_lease_until: datetime
    deadline_at: datetime
    run_id: str
    remote_id: str | None = None
    url: str | None = None
    remote_state: str | None = None
    message: str | None = None
    submitted_at: datetime | None = None
    polled_at: datetime | None = None
    ended_at: datetime | None = None
    cancel_reason: str | None = None
    backfill_id: str | None = None
    early_selection: tuple[str, ...] | None = None
    early_run_id: str | None = None
    collected_by: str | None = None
    collected_at: datetime | None = None
    sender: str | None = None
    group_key: str = ""
    parent_key: str | None = None
    refusals: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def outstanding(self) -> bool:
        """Whether it has not ended."""
        return self.state in OUTSTANDING

    @property
    def remote_key(self) -> str:
        """The submission key as the service gets it. Two deployments on one workspace have the same keys: a part of
        the token tells whose it is. Of an adopted job it is what whoever started it had told the service."""
        return str(self.facts.get("remote_key") or f"{self.submission_key}|{self.token[:12]}")

    @property
    def retryable(self) -> bool:
        """Whether a transient failure may be tried again."""
        return self.try_number < self.max_tries and self.cancel_reason is None


@dataclass(frozen=True)
class RemoteRun:
    """What a service calls a submitted job: its id there, and a page for people."""

    remote_id: str
    url: str | None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RemoteStatus:
    """How a remote job stands.

    Attributes:
        state: in our words.
        remote_state: in the service's words.
        message: the service's own error, where there is one.
        transient: whether a failure is worth another try (cloud failure, quota, expired).
        unknown: whether the service's word is one we do not know; then the state is `running`.
        facts: added to the job's facts.
        requeue_after: the service had no room for the job (quota): the same job is sent again after this time, and it
            does not count as a try. With state `failed`.
        settling: the service has done its part, and its result could not be fetched yet. With state `running`.
        next_requests: requests of further jobs of the same group that have to follow (what this one left undone),
            recorded in the same transaction as its end.
    """

    state: RemoteState
    remote_state: str
    message: str | None = None
    transient: bool = False
    unknown: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)
    requeue_after: timedelta | None = None
    settling: bool = False
    next_requests: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class ForeignJob:
    """A job at a service that is not in the ledger, compared with a request.

    Attributes:
        run: its id, its page, and the facts that the service's client needs of an adopted job; `remote_key` among them
            where it was told a submission key.
        started_at: UTC; None: the service does not say.
        status: how it stands.
        differences: what about it is not as requested, a sentence without its end each; empty: it fits.
    """

    run: RemoteRun
    started_at: datetime | None
    status: RemoteStatus
    differences: tuple[str, ...] = ()


class RemoteService(Protocol):
    """A service that runs jobs. Every call may be repeated; none holds anything but the network."""

    @property
    def name(self) -> str:
        """The service's name in the ledger."""
        ...

    @property
    def resends_safely(self) -> bool:
        """Whether `submit` under the same token gives the same remote run, however often it is sent.

        Where it does not, a job is looked for (`find`) before it is sent a second time, and only the holder of its
        lease may send it.
        """
        ...

    def prepare(self, job: RemoteJob) -> Mapping[str, Any]:
        """What has to be done before `submit` and costs nothing when it is done twice, such as an upload.

        Returns facts, recorded before `submit` gets the job. May take minutes.

        Raises:
            Unreachable: nothing was sent. Refused: it will never be taken.
        """
        ...

    def submit(self, job: RemoteJob) -> RemoteRun:
        """Send the job, in one request that is not repeated (unless `resends_safely`), in well under a minute.

        Raises:
            Unreachable: nothing was sent. Refused: it will never be taken. OutcomeUnknown: no answer came.
            QuotaExceeded: there is no room for it now; it was not taken.
        """
        ...

    def find(self, job: RemoteJob) -> RemoteRun | None:
        """Look for a job that may have been submitted, without submitting it."""
        ...

    def poll(self, jobs: Sequence[RemoteJob], stop_at: float) -> Iterator[tuple[RemoteJob, RemoteStatus]]:
        """How jobs stand; jobs it had no time for before `stop_at` (time.monotonic()) are left out."""
        ...

    def cancel(self, job: RemoteJob) -> None:
        """Ask the service to stop a running job; one that has ended is no error."""
        ...

    def inspect(self, remote_id: str, request: Mapping[str, Any]) -> ForeignJob:
        """A job that somebody else started, compared with what a request would have started.

        Raises:
            NotFound: the service knows no such job. Unreachable, Refused: its word.
        """
        ...


@runtime_checkable
class LogReader(Protocol):
    """A service that hands out what a job wrote while it ran."""

    def read_log(self, job: RemoteJob) -> str | None:
        """What the job wrote, its error at the end; None: there is nothing.

        Raises:
            Unreachable, Refused: the service's word.
        """
        ...
