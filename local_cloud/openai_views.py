"""Files, batches, pages and errors as the OpenAI service shows them. Times are seconds since the epoch (UTC)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from local_cloud.openai_limits import DEPLOYMENTS
from local_cloud.openai_store import BatchRecord, FileRecord

_MOMENTS = (
    "in_progress_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
)


def show_file(file: FileRecord) -> dict[str, Any]:
    """A file object."""
    return {
        "id": file.file_id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": int(file.created_at),
        "expires_at": _seconds(file.expires_at),
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
    }


def show_batch(batch: BatchRecord) -> dict[str, Any]:
    """A batch object; a file that there is not is an empty string, as Azure has it."""
    moments = {name: _seconds(getattr(batch, name)) for name in _MOMENTS}
    return {
        "id": batch.batch_id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "model": None if batch.model is None else DEPLOYMENTS.get(batch.model, batch.model),
        "errors": None if batch.errors is None else {"object": "list", "data": batch.errors},
        "input_file_id": batch.input_file_id,
        "completion_window": "24h",
        "status": batch.status,
        "output_file_id": batch.output_file_id or "",
        "error_file_id": batch.error_file_id or "",
        "created_at": int(batch.created_at),
        "expires_at": int(batch.expires_at),
        **moments,
        "request_counts": {"total": batch.total, "completed": batch.completed, "failed": batch.failed},
        "usage": batch.usage,
        "metadata": batch.metadata,
    }


def show_page(items: Sequence[Mapping[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """A page of a list."""
    return {
        "object": "list",
        "data": list(items),
        "first_id": items[0]["id"] if items else None,
        "last_id": items[-1]["id"] if items else None,
        "has_more": has_more,
    }


def show_error(code: str | None, message: str, status: int) -> dict[str, Any]:
    """An error, as the SDK reads it."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"code": code, "message": message, "type": kind, "param": None}}


def _seconds(moment: float | None) -> int | None:
    return None if moment is None else int(moment)
