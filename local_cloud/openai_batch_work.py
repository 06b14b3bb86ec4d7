"""The answering of one batch: every request of it to a line of the output file or of the error file."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from local_cloud.openai_answers import Answer, answer_chat, refuse
from local_cloud.openai_limits import digest, fraction
from local_cloud.openai_orders import ROW_BEHAVIOURS, RowOrder, choose_rows
from local_cloud.openai_validation import InputLines

_SEEN = "CREATE TABLE IF NOT EXISTS seen (custom_id TEXT PRIMARY KEY, batch_id TEXT NOT NULL) WITHOUT ROWID"
_QUERY_SIZE = 500
_EXPIRED = "This request could not be executed before the completion window expired."
_ROW_ERRORS = (
    (429, "429", "Requests to the deployment have exceeded the rate limit. Please retry later."),
    (500, "InternalServerError", "The server had an error while processing your request."),
    (503, "ServiceUnavailable", "The service is temporarily unable to process your request."),
    (None, "server_error", "The request could not be executed because of an internal error."),
)


class BatchWork:
    """A batch at work. Rows are answered in an order shuffled by the batch's id, and so written."""

    def __init__(self, order: dict[str, Any]) -> None:
        """Begin.

        Args:
            order: ``batch_id``; ``input``, ``output`` and ``errors``, paths; ``seen``, the path of the database of
                processed custom_ids; ``rows``, how many rows to answer at most; ``created``, seconds since the epoch;
                ``row_orders``, the behaviours of rows by name.
        """
        self._batch_id: str = order["batch_id"]
        self._created: int = order["created"]
        self._lines = InputLines(Path(order["input"]))
        self._places = list(range(len(self._lines)))
        random.Random(self._batch_id).shuffle(self._places)  # noqa: S311
        self._rows: int = min(order["rows"], len(self._places))
        self._next = 0
        self.completed = 0
        self.failed = 0
        self._prompt_tokens = 0
        self._completion_tokens = 0
        self._lines_written = {"output": 0, "errors": 0}
        with contextlib.ExitStack() as stack:
            self._seen = stack.enter_context(contextlib.closing(sqlite3.connect(order["seen"], timeout=30)))
            self._seen.execute("PRAGMA journal_mode=WAL")
            self._seen.execute("PRAGMA synchronous=OFF")
            self._seen.execute(_SEEN)
            self._output = stack.enter_context(Path(order["output"]).open("wb", buffering=1 << 20))
            self._errors = stack.enter_context(Path(order["errors"]).open("wb", buffering=1 << 20))
            row_orders = {name: RowOrder(**one) for name, one in order["row_orders"].items()}
            self._fates = self._choose_fates(row_orders) if row_orders else {}
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the files."""
        self._stack.close()

    def advance(self, rows: int) -> bool:
        """Answer some more rows; False when there are none left to answer."""
        import orjson

        chunk = self._places[self._next : min(self._next + rows, self._rows)]
        processed = []
        for place in chunk:
            request = orjson.loads(self._lines[place])
            processed.append((request["custom_id"], self._batch_id))
            self._process(request["custom_id"], request["body"])
        with self._seen:
            self._seen.executemany("INSERT OR IGNORE INTO seen VALUES (?, ?)", processed)
        self._next += len(chunk)
        return self._next < self._rows

    def finish(self, ending: str) -> dict[str, Any]:
        """Close the files and tell what came of the batch.

        Args:
            ending: completed, expired or cancelled; an expired batch has its other requests in the error file.
        """
        import orjson

        if ending == "expired":
            for place in self._places[self._next :]:
                self._write_error(orjson.loads(self._lines[place])["custom_id"], None, "batch_expired", _EXPIRED)
        self._output.close()
        self._errors.close()
        usage = {
            "input_tokens": self._prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": self._completion_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": self._prompt_tokens + self._completion_tokens,
        }
        counts = {"completed": self.completed, "failed": self.failed}
        return {"ending": ending, "usage": usage, "lines": self._lines_written, **counts}

    def _process(self, custom_id: str, body: dict[str, Any]) -> None:
        fate = self._fates.get(custom_id)
        if fate == "row_errors":
            status, code, message = _ROW_ERRORS[int(fraction("error", custom_id) * len(_ROW_ERRORS))]
            if status is None:
                self._write_error(custom_id, None, code, message)
                return
            answer = refuse(status, code, message)
        else:
            answer = answer_chat(body, key=custom_id, created=self._created, fate=fate, batch=self._batch_id)
        self._prompt_tokens += answer.prompt_tokens
        self._completion_tokens += answer.completion_tokens
        if answer.status == 200:
            self.completed += 1
            self._write(self._output, "output", custom_id, answer, None)
        else:
            self.failed += 1
            self._write(self._errors, "errors", custom_id, answer, None)

    def _write_error(self, custom_id: str, answer: Answer | None, code: str, message: str) -> None:
        self.failed += 1
        self._write(self._errors, "errors", custom_id, answer, {"code": code, "message": message})

    def _write(
        self, file: IO[bytes], name: str, custom_id: str, answer: Answer | None, error: dict[str, Any] | None
    ) -> None:
        import orjson

        response = None
        if answer is not None:
            request_id = digest("request", self._batch_id, custom_id)
            response = {"body": answer.body, "request_id": request_id, "status_code": answer.status}
        line_id = f"batch_req_{digest(self._batch_id, custom_id)}"
        file.write(orjson.dumps({"id": line_id, "custom_id": custom_id, "response": response, "error": error}) + b"\n")
        self._lines_written[name] += 1

    def _choose_fates(self, row_orders: dict[str, RowOrder]) -> dict[str, str]:
        """What is to happen to which rows."""
        import orjson

        custom_ids = [orjson.loads(self._lines[place])["custom_id"] for place in range(len(self._lines))]
        fresh = set(custom_ids) - self._processed_before(custom_ids)
        fates: dict[str, str] = {}
        for name in reversed(ROW_BEHAVIOURS):
            if name in row_orders:
                fates |= dict.fromkeys(choose_rows(name, row_orders[name], custom_ids, fresh), name)
        return fates

    def _processed_before(self, custom_ids: list[str]) -> set[str]:
        found: set[str] = set()
        for start in range(0, len(custom_ids), _QUERY_SIZE):
            part = custom_ids[start : start + _QUERY_SIZE]
            marks = ", ".join("?" * len(part))
            query = f"SELECT custom_id FROM seen WHERE batch_id <> ? AND custom_id IN ({marks})"  # noqa: S608
            found.update(row[0] for row in self._seen.execute(query, (self._batch_id, *part)))
        return found
