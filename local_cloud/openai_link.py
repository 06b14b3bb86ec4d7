"""The server's side of the worker process: starts it when it is first needed, and again when it dies."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

_STOP_SECONDS = 5.0
_log = logging.getLogger(__name__)


class WorkerLink:
    """Sends orders to the worker and hands its messages on. Safe from any thread."""

    def __init__(self, on_message: Callable[[dict[str, Any]], None], on_death: Callable[[], None]) -> None:
        """Describe the link; nothing is started yet.

        Args:
            on_message: Called with every message, in a thread of the link.
            on_death: Called when a worker has ended without being asked to: its orders are lost.
        """
        self._on_message = on_message
        self._on_death = on_death
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._stopping = False

    def warm_up(self) -> None:
        """Start the worker if there is none: it takes a second or two to load its model."""
        with self._lock:
            self._ensure()

    def send(self, order: dict[str, Any]) -> None:
        """Send an order; lost, like all others, when the worker dies."""
        with self._lock:
            process = self._ensure()
            if process is None or process.stdin is None:
                return
            try:
                process.stdin.write(json.dumps(order) + "\n")
                process.stdin.flush()
            except BrokenPipeError:
                # Its thread notices the end of its output and reports the death, this order's with the others'.
                _log.warning("The worker of the OpenAI service is gone.")

    def stop(self) -> None:
        """End the worker, and what it is at."""
        with self._lock:
            self._stopping = True
            process, self._process = self._process, None
        if process is None or process.stdin is None:
            return
        try:
            process.stdin.close()
        except BrokenPipeError:
            _log.warning("The worker of the OpenAI service was gone already.")
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _ensure(self) -> subprocess.Popen[str] | None:
        if self._process is None and not self._stopping:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "local_cloud.openai_worker"],
                cwd=Path(__file__).resolve().parent.parent,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                # Ctrl-C is for the server, which stops the worker in order.
                start_new_session=True,
            )
            threading.Thread(target=self._listen, args=(self._process,), name="openai-worker", daemon=True).start()
        return self._process

    def _listen(self, process: subprocess.Popen[str]) -> None:
        try:
            for line in process.stdout or ():
                if line.endswith("\n"):
                    self._on_message(json.loads(line))
        except Exception:
            _log.exception("A message of the worker of the OpenAI service could not be taken; it is started again.")
            process.kill()
        process.wait()
        with self._lock:
            if self._stopping:
                return
            self._process = None
        _log.error("The worker of the OpenAI service ended with exit code %s.", process.returncode)
        self._on_death()
