"""The process that does the work of the OpenAI service: checks input files, answers batches and single requests.

Started by `local_cloud.openai_link`, it reads orders from its standard input and writes what it has done to its
standard output, one JSON object a line. It ends when its input does, however the server died; what it was at is
done again, with the same result, by the next one.
"""

from __future__ import annotations

import collections
import json
import os
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, TextIO

from local_cloud.openai_answers import answer_chat, refuse
from local_cloud.openai_batch_work import BatchWork
from local_cloud.openai_validation import inspect_file

CHUNK_ROWS = 250
_PROGRESS_SECONDS = 0.25


class Worker:
    """Takes orders in turn; single requests come first, also in the middle of a batch."""

    def __init__(self, output: TextIO) -> None:
        self._output = output
        self._orders: collections.deque[dict[str, Any]] = collections.deque()
        self._chats: collections.deque[dict[str, Any]] = collections.deque()
        self._stopped: dict[str, str] = {}
        self._arrived = threading.Condition()

    def take(self, order: dict[str, Any]) -> None:
        """Accept an order, from any thread."""
        with self._arrived:
            if order["do"] == "stop":
                self._stopped[order["batch_id"]] = order["ending"]
            elif order["do"] == "chat":
                self._chats.append(order)
            else:
                self._orders.append(order)
            self._arrived.notify()

    def work(self) -> None:
        """Do orders until the process ends."""
        while True:
            with self._arrived:
                while not self._orders and not self._chats:
                    self._arrived.wait()
                order = None if self._chats else self._orders.popleft()
            self._answer_chats()
            if order is None:
                continue
            self._tell({"began": order["batch_id"]})
            try:
                result = self._inspect(order) if order["do"] == "inspect" else self._answer(order)
            except Exception as error:
                traceback.print_exc()
                result = {"failure": repr(error)}
            self._tell({"done": order["do"], "batch_id": order["batch_id"], **result})

    def _inspect(self, order: dict[str, Any]) -> dict[str, Any]:
        found = inspect_file(Path(order["input"]), order["endpoint"])
        return {"total": found.total, "model": found.model, "errors": found.errors}

    def _answer(self, order: dict[str, Any]) -> dict[str, Any]:
        batch_id = order["batch_id"]
        with BatchWork(order) as work:
            told = time.monotonic()
            while batch_id not in self._stopped and work.advance(CHUNK_ROWS):
                self._answer_chats()
                if time.monotonic() - told > _PROGRESS_SECONDS:
                    told = time.monotonic()
                    self._tell({"progress": batch_id, "completed": work.completed, "failed": work.failed})
            found = work.finish(self._stopped.pop(batch_id, order["ending"]))
            return {**found, "output": order["output"], "errors": order["errors"]}

    def _answer_chats(self) -> None:
        while self._chats:
            order = self._chats.popleft()
            try:
                answer = answer_chat(order["body"], key=order["key"], created=int(time.time()))
            except Exception as error:
                # The batch it came in the middle of is not to die of it.
                traceback.print_exc()
                answer = refuse(500, "InternalServerError", f"The local cloud failed: {error!r}")
            self._tell({"chat": order["key"], "status": answer.status, "body": answer.body})

    def _tell(self, message: dict[str, Any]) -> None:
        self._output.write(json.dumps(message) + "\n")
        self._output.flush()


def main() -> None:
    """Work until the standard input ends."""
    # Whatever a library prints must not get between the messages.
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    worker = Worker(output)

    def listen() -> None:
        for line in sys.stdin:
            worker.take(json.loads(line))
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    from local_cloud.openai_reading import Reading

    # Loads the lexicon while the first batch is still being uploaded.
    _ = Reading("good").polarity
    worker.work()


if __name__ == "__main__":
    main()
