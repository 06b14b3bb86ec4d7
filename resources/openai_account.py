"""The Azure OpenAI resource as one key, or the identity, may use it: the calls that a batch's life takes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from resources.errors import QuotaExceeded, Refused, ResourceError, Unreachable
from resources.key_vault import forget_secrets
from resources.openai_client import SERVICE, KeyRefused, build_client, translated
from resources.openai_requests import ENDPOINT
from resources.openai_settling import AnswersGone
from resources.openai_states import read_phase
from resources.settings import OPENAI_ENDPOINT, OPENAI_KEY

if TYPE_CHECKING:
    from pathlib import Path

    from openai import OpenAI
    from openai.types import Batch, FileObject

T = TypeVar("T")

_log = logging.getLogger(__name__)
_PAGE = 100
_CLOCK_SKEW = timedelta(minutes=10)
_BLOCK_BYTES = 1024 * 1024
_UPLOAD_TRIES = 3
_READY = frozenset({"processed", "uploaded", "none", ""})
_WHY_GONE = "its expiry (engine.expiry_days), and who deletes files of the resource"
_RENEWAL_SECONDS = 60.0
"""How long the Key Vault is not asked again for a key that it had no other of: every job's call may be refused."""


class OpenAIAccount:
    """One key's, or the identity's, access to the resource at ADFML_OPENAI_ENDPOINT; safe for many threads.

    A key that is refused is read again from the Key Vault where it is a secret of it: it may have been rotated since it
    was read. The call is then made once more: a call that was refused has done nothing.
    """

    def __init__(self, secret: str | None, request_timeout_seconds: float) -> None:
        self.secret = secret
        self._request_timeout_seconds = request_timeout_seconds
        self._lock = threading.Lock()
        self._client: OpenAI | None = None
        self._renewed_at: float | None = None

    @property
    def key_secret(self) -> str:
        """The name of the Key Vault secret that holds the key; "": none does."""
        return self.secret or ("" if OPENAI_KEY.read_given() else OPENAI_KEY.read_named_secret())

    @property
    def is_open(self) -> bool:
        """Whether the key was read."""
        return self._client is not None

    def open(self) -> OpenAI:
        """The SDK's client, with the key as it was read last; it repeats no request by itself.

        Raises:
            SettingMissing: ADFML_OPENAI_ENDPOINT.
            SettingInvalid, Refused, Unreachable: the Key Vault's.
        """
        with self._lock:
            if self._client is None:
                self._client = build_client(self._request_timeout_seconds, self.secret)
            return self._client

    def has_file(self, file_id: str) -> bool:
        """Whether a file that was uploaded is still there, and good."""
        import openai

        def find(client: OpenAI) -> bool:
            try:
                return client.files.retrieve(file_id).status not in ("error", "deleted")
            except openai.NotFoundError:
                return False

        return self._ask(find)

    def upload(self, path: Path, name: str, *, expiry_seconds: int, timeout_seconds: float, wait_seconds: float) -> str:
        """Upload a file of requests, again where no answer comes, and wait until the service has looked through it.

        Args:
            path: of the file.
            name: what the service calls it.
            expiry_seconds: when the service deletes it.
            timeout_seconds: how long one upload may take.
            wait_seconds: how long the service may take to look through it.

        Returns:
            The file's id.

        Raises:
            QuotaExceeded: the service did not come to look through it. Refused: it found it wrong.
        """

        def create(client: OpenAI) -> FileObject:
            with path.open("rb") as file:
                return client.with_options(timeout=timeout_seconds).files.create(
                    file=(name, file, "application/jsonl"),
                    purpose="batch",
                    expires_after={"anchor": "created_at", "seconds": expiry_seconds},
                )

        for attempt in range(_UPLOAD_TRIES):
            try:
                uploaded = self._ask(create)
                break
            except Unreachable:
                if attempt + 1 == _UPLOAD_TRIES:
                    raise
                time.sleep(2**attempt / 4)
        self._await_file(uploaded.id, uploaded.status, wait_seconds)
        return uploaded.id

    def _await_file(self, file_id: str, status: str | None, wait_seconds: float) -> None:
        stop_at = time.monotonic() + wait_seconds
        pause = 0.5
        while (word := str(status or "").lower()) not in _READY:
            address = OPENAI_ENDPOINT.read()
            if word == "error":
                raise Refused(SERVICE, address, f"file {file_id} was uploaded and found wrong", "the declaration")
            if time.monotonic() > stop_at:
                raise QuotaExceeded(SERVICE, address, f"file {file_id} is still {word}")
            time.sleep(pause)
            pause = min(2 * pause, 5.0)
            status = self._ask(lambda client: client.files.retrieve(file_id).status)

    def create_batch(self, file_id: str, metadata: dict[str, str], *, expiry_seconds: int, submission_key: str) -> str:
        """POST batches, once; the batch's id. A call whose key was refused made none, and is made again.

        Raises:
            OutcomeUnknown: no answer came.
        """
        return self._ask(
            lambda client: (
                client.batches.create(
                    input_file_id=file_id,
                    endpoint=ENDPOINT,  # type: ignore[arg-type]  # a Literal there
                    completion_window="24h",
                    metadata=metadata,
                    output_expires_after={"anchor": "created_at", "seconds": expiry_seconds},
                ).id
            ),
            submission_key,
        )

    def list_since(self, moment: datetime, max_pages: int | None = None) -> Iterator[Batch]:
        """Batches created since then, newest first, as the service lists them."""
        since = (moment - _CLOCK_SKEW).timestamp()
        page = self._ask(lambda client: client.batches.list(limit=_PAGE))
        pages = 1
        while True:
            yield from (batch for batch in page.data if batch.created_at >= since)
            if not page.data or page.data[-1].created_at < since or pages == max_pages or not page.has_next_page():
                return
            page = self._list_after(page.data[-1].id)
            pages += 1

    def _list_after(self, batch_id: str) -> Any:
        # Not the page's own way to the next: it would go on with a key that was refused.
        return self._ask(lambda client: client.batches.list(limit=_PAGE, after=batch_id))

    def get_batch(self, batch_id: str) -> Batch | None:
        """A batch; None: the service does not know it."""
        import openai

        def get(client: OpenAI) -> Batch | None:
            try:
                return client.batches.retrieve(batch_id)
            except openai.NotFoundError:
                # A wrong address answers so as well, and a batch that is paid for must not be given up for that.
                client.batches.list(limit=1)
                return None

        return self._ask(get)

    def cancel_batch(self, batch_id: str) -> None:
        """POST batches/{id}/cancel; a batch that has ended, or is gone, is no error."""
        import openai

        def cancel(client: OpenAI) -> None:
            try:
                client.batches.cancel(batch_id)
            except openai.NotFoundError:
                return
            except (openai.BadRequestError, openai.ConflictError):
                if read_phase(client.batches.retrieve(batch_id).status) != "ended":
                    raise

        self._ask(cancel)

    def download(self, file_id: str) -> Iterator[bytes]:
        """A file's bytes, in blocks.

        Raises:
            AnswersGone: the service has it no longer.
        """
        import openai

        with translated(secret=self.secret), ExitStack() as stack:

            def start(client: OpenAI) -> Any:
                try:
                    return stack.enter_context(client.files.with_streaming_response.content(file_id))
                except openai.NotFoundError as error:
                    address = OPENAI_ENDPOINT.read()
                    raise AnswersGone(SERVICE, address, f"file {file_id} is gone", _WHY_GONE) from error

            yield from self._ask(start).iter_bytes(_BLOCK_BYTES)

    def delete_file(self, file_id: str) -> None:
        """Delete a file; one that is gone is no error, and one that stays all the same expires."""
        import openai

        def delete(client: OpenAI) -> None:
            with suppress(openai.NotFoundError):
                client.files.delete(file_id)

        try:
            self._ask(delete)
        except ResourceError as error:
            _log.info("File %s stays until it expires: %s", file_id, error)

    def _ask(self, call: Callable[[OpenAI], T], submission_key: str | None = None) -> T:
        """Make a call; where its key was refused and there is another by now, once more."""
        client = self.open()
        try:
            with translated(submission_key, self.secret):
                return call(client)
        except KeyRefused:
            renewed = self._renew(client)
            if renewed is None:
                raise
        with translated(submission_key, self.secret):
            return call(renewed)

    def _renew(self, refused: OpenAI) -> OpenAI | None:
        """A client with the key that the Key Vault has now; None: it has no other, or was asked a moment ago."""
        name = self.key_secret
        with self._lock:
            if self._client is not refused:
                return self._client  # another thread did it meanwhile
            now = time.monotonic()
            if not name or (self._renewed_at is not None and now - self._renewed_at < _RENEWAL_SECONDS):
                return None
            self._renewed_at = now
            forget_secrets(name)
            renewed = build_client(self._request_timeout_seconds, self.secret)
            if renewed.api_key == refused.api_key:
                return None
            self._client = renewed
            return renewed
