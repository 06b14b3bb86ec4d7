"""Moves batches on: validating, in_progress, finalizing and their ends. All it must not forget is in the database."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from local_cloud.faults import FaultBox
from local_cloud.openai_limits import digest
from local_cloud.openai_link import WorkerLink
from local_cloud.openai_orders import exceeds_quota, share_of
from local_cloud.openai_store import BatchRecord, FileRecord, OpenAIStore

QUOTA_CODE = "token_limit_exceeded"
_MAX_DEATHS = 3
_SWEEP_SECONDS = 60.0
_STOP_SECONDS = 10.0
_AT_WORK = ("validating", "in_progress", "finalizing")
_log = logging.getLogger(__name__)


class OpenAIEngine:
    """One thread that looks at a batch whenever something has happened to it.

    After a crash every batch that has not ended is looked at, and its work is done again: the worker's results
    depend on nothing but the batch, so they come out as they would have.
    """

    def __init__(self, store: OpenAIStore, faults: FaultBox, on_failure: Callable[[], None]) -> None:
        """Create the engine, not yet started.

        Args:
            store: Files and batches.
            faults: Consulted for the quota at run time; clearing them releases held batches.
            on_failure: Called when the engine cannot go on at all.
        """
        self._store = store
        self._faults = faults
        self._on_failure = on_failure
        self._changed = threading.Condition()
        self._due: dict[str, None] = {}
        self._timers: list[tuple[float, str]] = []
        self._next_sweep = 0.0
        self._orders_sent = itertools.count()
        self._results: dict[str, dict[str, Any]] = {}
        self._held: set[str] = set()
        self._sent: dict[str, str] = {}
        self._stops: set[str] = set()
        self._deaths: dict[str, int] = {}
        self._at_work: str | None = None
        self._chats: dict[str, Callable[[dict[str, Any] | None], None]] = {}
        self._stopping = False
        self._link = WorkerLink(self._receive, self._bury)
        self._thread = threading.Thread(target=self._work, name="openai-engine", daemon=True)
        faults.on_clear(self._release)

    def start(self) -> None:
        """Start the thread."""
        self._store.clean_up()
        self._due = dict.fromkeys(self._store.active_ids())
        self._thread.start()

    def stop(self) -> None:
        """End the thread and the worker; the next start on this state folder takes up what they were at."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._link.stop()
        self._thread.join(_STOP_SECONDS)
        if self._thread.is_alive():
            _log.error("The OpenAI engine did not stop within %s s.", _STOP_SECONDS)

    def warm_up(self) -> None:
        """Start the worker, if it is not running: somebody is about to need it."""
        self._link.warm_up()

    def wake(self, batch_id: str, *, hold: bool = False) -> None:
        """Look at a batch, and hold it until the faults are cleared."""
        with self._changed:
            if hold:
                self._held.add(batch_id)
            self._due[batch_id] = None
            self._changed.notify()

    def wake_all(self) -> None:
        """Look at every batch that has not ended."""
        active = self._store.active_ids()
        with self._changed:
            self._due |= dict.fromkeys(active)
            self._changed.notify()

    def ask(self, key: str, body: dict[str, Any], reply: Callable[[dict[str, Any] | None], None]) -> None:
        """Have the worker answer one chat request; ``reply`` gets its message, or None when it died over it."""
        with self._changed:
            self._chats[key] = reply
        self._link.send({"do": "chat", "key": key, "body": body})

    def _release(self) -> None:
        with self._changed:
            self._due |= dict.fromkeys(self._held)
            self._held.clear()
            self._changed.notify()

    def _receive(self, message: dict[str, Any]) -> None:
        if "progress" in message:
            self._store.note_progress(message["progress"], message["completed"], message["failed"])
            return
        with self._changed:
            reply = None
            if "began" in message:
                self._at_work = message["began"]
            elif "chat" in message:
                reply = self._chats.pop(message["chat"], None)
            else:
                self._at_work = None
                self._results[message["batch_id"]] = message
                self._due[message["batch_id"]] = None
                self._changed.notify()
        if reply is not None:
            reply(message)

    def _bury(self) -> None:
        """The worker is dead: all it was told to do is to be told to the next one."""
        with self._changed:
            replies = list(self._chats.values())
            self._chats.clear()
            # One that died before it began anything may have died of any of its orders.
            for batch_id in [self._at_work] if self._at_work else self._sent:
                self._deaths[batch_id] = self._deaths.get(batch_id, 0) + 1
            self._due |= dict.fromkeys(self._sent)
            self._at_work = None
            self._sent.clear()
            self._stops.clear()
            self._changed.notify()
        for reply in replies:
            reply(None)

    def _work(self) -> None:
        try:
            while (batch_id := self._next()) is not None:
                if not batch_id:
                    self._store.remove_expired()
                    continue
                batch = self._store.batch(batch_id)
                if batch is None or batch.has_ended:
                    self._discard(batch_id)
                else:
                    self._advance_safely(batch)
        except Exception:
            _log.exception("The OpenAI engine failed and stops the local cloud.")
            self._on_failure()

    def _next(self) -> str | None:
        """The next batch to look at; '' when it is time for the files; None to stop."""
        with self._changed:
            while not self._stopping:
                now = self._store.now()
                while self._timers and self._timers[0][0] <= now:
                    self._due[heapq.heappop(self._timers)[1]] = None
                if self._due:
                    batch_id = next(iter(self._due))
                    del self._due[batch_id]
                    return batch_id
                if now >= self._next_sweep:
                    self._next_sweep = now + _SWEEP_SECONDS
                    return ""
                nearest = self._timers[0][0] if self._timers else now + _SWEEP_SECONDS
                self._changed.wait(min(nearest - now, _SWEEP_SECONDS))
        return None

    def _advance_safely(self, batch: BatchRecord) -> None:
        try:
            self._advance(batch)
        except Exception as error:
            _log.exception("Batch %s cannot go on.", batch.batch_id)
            self._fail(batch, "server_error", f"The local cloud cannot go on with this batch: {error!r}")

    def _advance(self, batch: BatchRecord) -> None:
        with self._changed:
            result = self._results.pop(batch.batch_id, None)
            deaths = self._deaths.get(batch.batch_id, 0)
            if result is not None:
                self._sent.pop(batch.batch_id, None)
        if deaths >= _MAX_DEATHS:
            self._fail(batch, "server_error", f"The worker died {deaths} times over this batch.")
        elif result is not None and "failure" in result:
            self._fail(batch, "server_error", f"The worker failed over this batch: {result['failure']}")
        elif result is not None and result["done"] == "answer":
            self._finish(batch, result)
        elif batch.status == "validating" and result is not None:
            self._begin(batch, result)
        elif self._must_stop(batch):
            self._stop(batch)
        elif batch.status == "validating":
            self._send(batch, {"do": "inspect", "endpoint": batch.endpoint})
        else:
            self._answer(batch)

    def _begin(self, batch: BatchRecord, found: dict[str, Any]) -> None:
        """Take a batch from validating to in_progress, or fail it."""
        if found["errors"]:
            self._end(batch, "failed", errors=found["errors"])
            return
        if exceeds_quota(self._faults, "quota_at_run", self._store.enqueued_tokens):
            self._fail(batch, QUOTA_CODE, quota_message(found["model"]))
            return
        done = share_of(batch.orders.hold or 0.0, found["total"]) if batch.batch_id in self._held else 0
        columns = {"total": found["total"], "model": found["model"], "completed": done}
        if self._store.move(batch.batch_id, "in_progress", expected=["validating"], **columns):
            self._set_timer(batch.batch_id, batch.expires_at)
        self.wake(batch.batch_id)

    def _answer(self, batch: BatchRecord) -> None:
        if batch.batch_id in self._held or batch.batch_id in self._sent:
            return
        ready_at = (batch.in_progress_at or 0.0) + batch.orders.slow
        if self._store.now() < ready_at:
            self._set_timer(batch.batch_id, min(ready_at, batch.expires_at))
            return
        if batch.orders.fail:
            self._fail(batch, "server_error", "The batch failed because of an internal error. Please try again later.")
            return
        if batch.orders.expire is not None:
            self._send_answer(batch, share_of(batch.orders.expire, batch.total), "expired")
        elif batch.orders.cancel is not None:
            self._send_answer(batch, share_of(batch.orders.cancel, batch.total), "cancelled")
        else:
            self._send_answer(batch, batch.total, "completed")

    def _must_stop(self, batch: BatchRecord) -> bool:
        return batch.status == "cancelling" or self._store.now() >= batch.expires_at

    def _stop(self, batch: BatchRecord) -> None:
        """End a batch before its time, with what it has answered."""
        ending = "cancelled" if batch.status == "cancelling" else "expired"
        if self._sent.get(batch.batch_id) == "answer":
            if batch.batch_id not in self._stops:
                self._stops.add(batch.batch_id)
                self._link.send({"do": "stop", "batch_id": batch.batch_id, "ending": ending})
        elif batch.total and (batch.completed + batch.failed or ending == "expired"):
            self._send_answer(batch, batch.completed + batch.failed, ending)
        else:
            self._end(batch, ending)

    def _send_answer(self, batch: BatchRecord, rows: int, ending: str) -> None:
        # Names of their own, so that an order that is done twice never writes into a file that is in place.
        path = self._store.staging / f"{batch.batch_id}.{next(self._orders_sent)}"
        order = {
            "do": "answer",
            "output": f"{path}.output",
            "errors": f"{path}.errors",
            "seen": str(self._store.seen),
            "rows": rows,
            "ending": ending,
            "created": int(batch.in_progress_at or batch.created_at),
            "row_orders": batch.orders.to_json()["rows"],
        }
        self._send(batch, order)

    def _send(self, batch: BatchRecord, order: dict[str, Any]) -> None:
        with self._changed:
            if batch.batch_id in self._sent:
                return
            self._sent[batch.batch_id] = order["do"]
        self._link.send({"batch_id": batch.batch_id, "input": str(self._store.input_of(batch.batch_id)), **order})

    def _finish(self, batch: BatchRecord, result: dict[str, Any]) -> None:
        """Put the files in place and end a batch that has been answered, in whole or in part."""
        ending = "cancelled" if batch.status == "cancelling" else result["ending"]
        if ending == "cancelled":
            self._store.move(batch.batch_id, "cancelling", expected=_AT_WORK)
        elif not self._store.move(batch.batch_id, "finalizing", expected=_AT_WORK):
            ending = "cancelled"  # somebody has cancelled it in this moment
        output = self._place(batch, "output", Path(result["output"]))
        errors = self._place(batch, "errors", Path(result["errors"]))
        files = [errors] if not result["lines"]["output"] else [output, errors]
        if not result["lines"]["output"]:
            self._store.path(output.file_id).unlink()
        self._end(
            batch,
            ending,
            files=files,
            output_file_id=output.file_id if output in files else None,
            error_file_id=errors.file_id,
            completed=result["completed"],
            failed=result["failed"],
            usage=result["usage"],
        )

    def _place(self, batch: BatchRecord, kind: str, written: Path) -> FileRecord:
        file_id = f"file-{digest(batch.batch_id, kind)}"
        written.replace(self._store.path(file_id))
        name = f"{batch.batch_id}_{'output' if kind == 'output' else 'error'}.jsonl"
        now, size = self._store.now(), self._store.path(file_id).stat().st_size
        expires = None if batch.output_seconds is None else now + batch.output_seconds
        return FileRecord(0, file_id, "batch_output", name, size, now, expires)

    def _fail(self, batch: BatchRecord, code: str, message: str) -> None:
        self._end(batch, "failed", errors=[{"code": code, "message": message, "line": None, "param": None}])

    def _end(self, batch: BatchRecord, status: str, *, files: list[FileRecord] | None = None, **columns: Any) -> None:
        self._store.finish(batch, status, files=files or [], **columns)
        with self._changed:
            self._sent.pop(batch.batch_id, None)
            self._deaths.pop(batch.batch_id, None)
            self._held.discard(batch.batch_id)
            self._stops.discard(batch.batch_id)

    def _discard(self, batch_id: str) -> None:
        """Forget what came of an order for a batch that had ended by then."""
        with self._changed:
            result = self._results.pop(batch_id, None) or {}
        for name in ("output", "errors"):
            if name in result and result["done"] == "answer" and "failure" not in result:
                Path(result[name]).unlink(missing_ok=True)

    def _set_timer(self, batch_id: str, at: float) -> None:
        with self._changed:
            heapq.heappush(self._timers, (at, batch_id))


def quota_message(model: str | None) -> str:
    """The service's words for a quota of enqueued tokens that is used up."""
    where = f" for the deployment '{model}'" if model else ""
    return (
        f"The number of enqueued tokens has surpassed the configured limit{where}. "
        "Please either increase the limit or try again once the current jobs have finished."
    )
