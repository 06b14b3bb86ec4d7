"""Azure ML online endpoints: rows in, one score or one error for every row out, while the caller waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import dagster as dg
from pydantic import Field, PrivateAttr

from resources.azure_ml_online_calls import Caller, TooManyRowErrors
from resources.azure_ml_online_pace import Pace
from resources.azure_ml_online_rows import (
    Answers,
    Rows,
    Scored,
    WrongAnswer,
    choose_columns,
    collect_scored,
    take_rows,
)
from resources.azure_ml_online_target import OnlineLimits, OnlineTarget, TargetInvalid, check_uri
from resources.errors import Refused, Unreachable
from resources.secret_values import read_secret_value
from resources.settings import AZURE_ML_KEY

if TYPE_CHECKING:
    import httpx
    import pyarrow as pa

__all__ = [
    "AzureMlOnline",
    "OnlineLimits",
    "OnlineTarget",
    "Scored",
    "TargetInvalid",
    "TooManyRowErrors",
    "WrongAnswer",
]

SCOPE = "https://ml.azure.com/.default"
_WORKSPACE_SECONDS = 30

Records = TypeVar("Records", bound="pa.RecordBatch | Sequence[Mapping[str, Any]]")


class AzureMlOnline(dg.ConfigurableResource):
    """Online endpoints of Azure ML, signed in to by key (ADFML_AZURE_ML_KEY, or a Key Vault secret) or identity.

    For real-time scoring of records and small batches (the pattern's WebActivity `ScoreRecord`, which sends one row a
    call and takes the first 5,000 of a lookup):

        online = AzureMlOnline()
        scored = online.score([{"recency_days": 3}], OnlineTarget(endpoint="sales-forecast"))
        for score, error in scored: ...

    The call is made in the caller's process and ends with it. Whole tables are better sent to a batch endpoint.
    """

    request_seconds: float = Field(default=190.0, description="How long one answer is waited for, in seconds.")
    retry_seconds: float = Field(
        default=120.0, description="How long a micro-batch is sent again after 408, 429, 5xx or a lost connection."
    )
    _client: Any = PrivateAttr(default=None)
    _credential: Any = PrivateAttr(default=None)
    _uris: dict[str, str] = PrivateAttr(default_factory=dict)

    def score(
        self,
        records: pa.Table | pa.RecordBatch | Sequence[Mapping[str, Any]],
        target: OnlineTarget,
        *,
        columns: Sequence[str] | None = None,
        limits: OnlineLimits | None = None,
        max_errors: int | None = None,
    ) -> Scored:
        """Score records that are in memory.

        Args:
            records: a table, or a list of objects; what an object lacks is sent as null.
            target: the endpoint.
            columns: which columns to send, in this order; None: all.
            limits: how much is sent at once; None: the defaults.
            max_errors: give up when more rows than this have an error; None: never.

        Returns:
            A score or an error for each record, in the order of the records. The model's own error (status 424)
            keeps to the rows that cause it: a micro-batch that fails is halved until they are alone.

        Raises:
            NotFound: a column is not there.
            SettingMissing, SettingInvalid, TargetInvalid: the target, or a setting.
            Refused: no key that is accepted, no such endpoint or deployment, or a request it does not take.
            Unreachable: no answer for longer than `retry_seconds`.
            WrongAnswer: the endpoint answers, but not with one number a row.
            TooManyRowErrors: see `max_errors`.
        """
        import pyarrow as pa

        batches: list[Any] = records.combine_chunks().to_batches() if isinstance(records, pa.Table) else [records]
        found = [
            part
            for _, part in self.score_batches(batches, target, columns=columns, limits=limits, max_errors=max_errors)
        ]
        return Scored(
            scores=pa.concat_arrays([part.scores for part in found]) if found else pa.array([], pa.float64()),
            errors=pa.concat_arrays([part.errors for part in found]) if found else pa.array([], pa.string()),
            deployments=frozenset(name for part in found for name in part.deployments),
        )

    def score_batches(
        self,
        batches: Iterable[Records],
        target: OnlineTarget,
        *,
        columns: Sequence[str] | None = None,
        limits: OnlineLimits | None = None,
        max_errors: int | None = None,
    ) -> Iterator[tuple[Records, Scored]]:
        """Score any number of rows in constant memory: each batch comes back with its answers, in order.

        Arguments and errors are those of `score`. Nothing is sent before the first batch is asked for; requests that
        are under way when the caller stops asking are not waited for.
        """
        limits = limits or OnlineLimits(request_seconds=self.request_seconds, retry_seconds=self.retry_seconds)
        caller: Caller | None = None
        waiting: deque[tuple[Records, list[Future[Answers]]]] = deque()
        ahead = offset = 0
        pool = ThreadPoolExecutor(limits.concurrency, thread_name_prefix="azure-ml-online")
        try:
            for batch in batches:
                futures: list[Future[Answers]] = []
                if len(batch):
                    caller = caller or self._prepare(target, limits, max_errors)
                    for rows in _cut(batch, choose_columns(batch, columns), offset, limits.rows_per_request):
                        futures.append(pool.submit(_score_later, caller, rows))
                offset += len(batch)
                ahead += len(futures)
                waiting.append((batch, futures))
                # As far ahead as keeps all threads busy, and no further: rows that wait are rows in memory.
                while len(waiting) > 1 and ahead > 2 * limits.concurrency:
                    ahead -= len(waiting[0][1])
                    yield _finish(waiting.popleft(), caller)
            while waiting:
                yield _finish(waiting.popleft(), caller)
        finally:
            if caller is not None:
                caller.pace.stop()
            pool.shutdown(wait=False, cancel_futures=True)

    def find_uri(self, target: OnlineTarget) -> str:
        """The target's scoring URI; the workspace is asked where only the endpoint's name is given.

        Raises:
            Refused, Unreachable, SettingMissing, SettingInvalid, TargetInvalid: the workspace's.
        """
        if target.scoring_uri is not None:
            return target.scoring_uri
        from resources.azure_ml_workspace import AzureMlWorkspace

        name = str(target.endpoint)
        if name not in self._uris:
            workspace = AzureMlWorkspace(timeout_seconds=_WORKSPACE_SECONDS)
            self._uris[name] = check_uri(workspace.read_scoring_uri(name, "online"))
        return self._uris[name]

    def describe_sign_in(self, target: OnlineTarget) -> str:
        """How a target is signed in to, in words, once that has worked; the endpoint itself is not asked.

        Raises:
            SettingInvalid, Refused, Unreachable: the key's vault, or the identity.
        """
        self._sign_in(target, target.scoring_uri or str(target.endpoint))
        if target.secret:
            return f"the key in Key Vault secret {target.secret}"
        return AZURE_ML_KEY.name if read_secret_value(AZURE_ML_KEY) else "the Azure identity"

    def _prepare(self, target: OnlineTarget, limits: OnlineLimits, max_errors: int | None) -> Caller:
        uri = self.find_uri(target)
        return Caller(self._open_client(), uri, target, limits, self._sign_in(target, uri), max_errors)

    def _open_client(self) -> httpx.Client:
        if self._client is None:
            import httpx

            # How many requests run at once is the pace's affair; a redirect would carry the key elsewhere.
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
            self._client = httpx.Client(limits=limits, follow_redirects=False)
        return self._client

    def _sign_in(self, target: OnlineTarget, uri: str) -> Callable[[], str]:
        key = read_secret_value(AZURE_ML_KEY, target.secret)
        if key:
            return lambda: key
        from azure.core.exceptions import AzureError, ClientAuthenticationError
        from azure.identity import DefaultAzureCredential

        if self._credential is None:
            self._credential = DefaultAzureCredential()

        def read_token() -> str:
            # Cached and renewed by azure-identity: a call may outlive a token.
            try:
                return str(self._credential.get_token(SCOPE).token)
            except ClientAuthenticationError as error:
                check = f"the managed identity (or az login), or set {AZURE_ML_KEY.name}"
                # What each way of signing in said is in azure-identity's own log.
                raise Refused("The Azure identity", uri, error.message.partition("\n")[0], check) from None
            except AzureError as error:
                reason = str(error) or type(error).__name__
                raise Unreachable("The identity endpoint", uri, reason, "that the managed identity is there") from None

        read_token()
        return read_token


def _cut(batch: Any, columns: tuple[str, ...], offset: int, size: int) -> Iterator[Callable[[], Rows]]:
    # The rows become Python objects in the thread that sends them: those that wait stay Arrow.
    for start in range(0, len(batch), size):
        stop = min(start + size, len(batch))
        yield lambda start=start, stop=stop: take_rows(batch, columns, start, stop, offset)  # type: ignore[misc]


def _score_later(caller: Caller, take: Callable[[], Rows]) -> Answers:
    return caller.score(take())


def _finish(batch: tuple[Records, list[Future[Answers]]], caller: Caller | None) -> tuple[Records, Scored]:
    records, futures = batch
    try:
        return records, collect_scored([future.result() for future in futures])
    except Exception as error:
        pace: Pace | None = caller.pace if caller else None
        # The thread that failed first knows why; the others were only stopped.
        raise (pace.failure if pace and pace.failure else error) from None
