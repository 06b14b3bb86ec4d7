"""Every status an Azure OpenAI batch can have, every reason it can fail for, and what they mean here.

Source: Microsoft, "Azure OpenAI batch": batch object, status, and error codes; the OpenAI SDK's `Batch`.

| status | here |
|---|---|
| validating, in_progress, finalizing, cancelling | running |
| completed | succeeded; rows without a usable answer are asked again in a next batch |
| expired; cancelled by somebody else | succeeded with what came; what is missing is asked again in a next batch |
| cancelled by us | cancelled; what came is kept |
| failed | by its code: `token_limit_exceeded` waits for room, the service's own failures are tried again, else failed |
| anything else | running, with a warning |
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from resources.remote_jobs import RemoteStatus

if TYPE_CHECKING:
    from openai.types import Batch

RUNNING = frozenset({"validating", "in_progress", "finalizing", "cancelling"})
# Microsoft's own sample waits for "canceled".
ENDED = frozenset({"completed", "failed", "expired", "cancelled", "canceled"})

NO_ROOM = frozenset({"token_limit_exceeded"})
"""The deployment's quota of enqueued tokens is used up: as a 400 when a batch is created, or as its later failure."""

TRANSIENT = frozenset({"server_error", "internal_error", "internal_server_error", "service_unavailable", "timeout"})
TERMINAL = frozenset(
    {
        "invalid_json_line",
        "too_many_tasks",
        "url_mismatch",
        "model_not_found",
        "duplicate_custom_id",
        "empty_file",
        "model_mismatch",
        "invalid_request",
    }
)
_ADVICE = {
    "model_not_found": "Check `engine.deployment` in the declaration: it names a deployment of type Global Batch or "
    "Data Zone Batch of this resource.",
    "too_many_tasks": "Lower `engine.rows_per_shard` in the declaration.",
}
_FIRST_WAIT, _LONGEST_WAIT = timedelta(minutes=1), timedelta(minutes=30)
_MESSAGE_CHARACTERS = 4000

Phase = Literal["running", "ended", "unknown"]


def read_phase(status: str | None) -> Phase:
    """Whether a batch of this status still runs, has ended, or nobody knows."""
    word = (status or "").lower()
    return "running" if word in RUNNING else "ended" if word in ENDED else "unknown"


def describe_running(status: str | None) -> RemoteStatus:
    """A batch that has not ended; a status nobody knows means: still running, and worth a warning."""
    return RemoteStatus("running", status or "none", unknown=read_phase(status) == "unknown")


def describe_failure(batch: Batch, refusals: int = 0) -> RemoteStatus:
    """A batch that failed and has answered no row.

    Args:
        batch: the batch.
        refusals: how often there was no room for these rows before: the wait doubles with each.
    """
    errors = (batch.errors.data or []) if batch.errors else []
    codes = [(error.code or "").lower() for error in errors]
    shown = "/".join(["failed", *sorted({code for code in codes if code})])
    lines = [f"{error.code or 'error'}{_at(error.line)}: {error.message or 'no message'}" for error in errors[:20]]
    message = "\n".join([*lines, *(_ADVICE[code] for code in sorted(set(codes)) if code in _ADVICE)])
    message = message[:_MESSAGE_CHARACTERS] or "The batch failed without a reason."
    if any(code in NO_ROOM for code in codes):
        wait = min(_FIRST_WAIT * 2 ** min(refusals, 10), _LONGEST_WAIT)
        return RemoteStatus("failed", shown, message, requeue_after=wait)
    # A failure without a reason is the service's: a mistake of ours is told with its code.
    transient = all(code in TRANSIENT for code in codes)
    return RemoteStatus("failed", shown, message, transient=transient)


def _at(line: int | None) -> str:
    return f" (line {line})" if line is not None else ""
