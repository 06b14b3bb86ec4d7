"""Every state an Azure ML batch job can be in, and what it means here.

Source: the `JobStatus` of the batch jobs' API (2020-09-01-dataplanepreview) and of Azure Resource Manager, and the
`RootError` codes of Azure ML's run history.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resources.remote_jobs import RemoteState, RemoteStatus

RUNNING = frozenset(
    {
        "NotStarted",
        "Starting",
        "Provisioning",
        "Preparing",
        "Queued",
        "Running",
        "Finalizing",
        "CancelRequested",
        # It reports nothing at the moment; it may go back to any earlier state, and the deadline ends it otherwise.
        "NotResponding",
        "Paused",
    }
)
ENDED: dict[str, RemoteState] = {"Completed": "succeeded", "Failed": "failed", "Canceled": "cancelled"}
UNTOLD = frozenset({"Unknown"})
"""States by which the service says that it does not know itself."""

TRANSIENT_CODES = frozenset({"ServiceError", "TransientError", "RequestThrottled", "AzureStorageError"})
"""Error codes that are not the user's doing (the others are UserError and ValidationError)."""

_MESSAGE_CHARACTERS = 4000
_BY_FOLDED = {state.casefold(): state for state in (*RUNNING, *ENDED, *UNTOLD)}


def describe_status(answer: Mapping[str, Any]) -> RemoteStatus:
    """How a job stands, from what the service answers about it. A state nobody knows means: still running.

    Args:
        answer: a batch job as `GET <scoring URI>/<name>` and the list of jobs give it.
    """
    properties = read_field(answer, "properties") or {}
    word = str(read_field(properties, "status") or "")
    state = _BY_FOLDED.get(word.casefold())
    if state is None or state not in ENDED:
        return RemoteStatus("running", state or word or "no status", unknown=state not in RUNNING)
    if ENDED[state] == "succeeded":
        return RemoteStatus("succeeded", state)
    code, message = _read_error(properties)
    if ENDED[state] == "cancelled":
        return RemoteStatus("cancelled", state, message or "The job was cancelled in Azure ML.")
    shown = f"{state}/{code}" if code else state
    message = message or "Azure ML gives no reason with the job's state; the job's page and logs have it."
    return RemoteStatus("failed", shown, message, transient=code in TRANSIENT_CODES)


def tells_reason(answer: Mapping[str, Any]) -> bool:
    """Whether an answer about a failed job says why it failed."""
    return _read_error(read_field(answer, "properties") or {})[1] is not None


def read_field(values: Mapping[str, Any], name: str) -> Any:
    """A field of an answer; the documents write PascalCase and the service camelCase. None where it is not there."""
    if name in values:
        return values[name]
    return next((value for key, value in values.items() if key.casefold() == name.casefold()), None)


def _read_error(properties: Mapping[str, Any]) -> tuple[str | None, str | None]:
    error = read_field(properties, "error")
    if not isinstance(error, Mapping):
        return None, None
    inner = read_field(error, "error")
    error = inner if isinstance(inner, Mapping) else error
    code, message = read_field(error, "code"), read_field(error, "message")
    return (str(code) if code else None), (str(message)[:_MESSAGE_CHARACTERS] if message else None)
