"""Faults to order, switched on over HTTP: what a client must survive, done to it on purpose."""

from __future__ import annotations

import threading
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Kind = Literal[
    "status", "lost_answer", "truncated", "reset", "delay", "unknown_state", "cloud_failure", "hold", "behaviour"
]


class Fault(BaseModel):
    """One fault.

    - ``status``: answered with ``code`` (and ``retry_after`` seconds) before anything is done.
    - ``lost_answer``: the work is done, then the connection is closed without an answer.
    - ``truncated``: the work is done, then half of the answer is sent and the connection is closed.
    - ``reset``: the connection is reset before anything is done.
    - ``delay``: ``seconds`` pass before the request is looked at; other faults still apply. One that stays (``times``
      null) holds requests until the faults are cleared.
    - ``unknown_state``: an answer reports a life cycle state that no SDK knows.
    - ``cloud_failure``: the next new run ends INTERNAL_ERROR with CLOUD_FAILURE, without doing the work.
    - ``hold``: new runs stay RUNNING without starting the work until all faults are cleared (``times`` has no say).
    - ``behaviour``: what only one service does, by ``name`` (``openai.quota``), with ``value`` where it takes one.
    """

    model_config = ConfigDict(extra="forbid")

    kind: Kind
    path: str = Field(default="*", description="The path it applies to; * stands for anything.")
    method: str | None = Field(default=None, description="Only this HTTP method; none: any.")
    times: Annotated[int, Field(gt=0)] | None = Field(default=1, description="How often; null: until cleared.")
    code: Annotated[int, Field(ge=400, le=599)] | None = Field(default=None, description="The status of kind status.")
    retry_after: Annotated[int, Field(ge=0)] | None = Field(default=None, description="Retry-After in seconds.")
    seconds: Annotated[float, Field(gt=0)] | None = Field(default=None, description="How long kind delay waits.")
    name: str | None = Field(default=None, description="Which behaviour, as service.what.")
    value: float | None = Field(default=None, description="How much of a behaviour, for example a share of the rows.")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind == "status" and self.code is None:
            raise ValueError("kind status needs code, for example 503")
        if self.kind == "delay" and self.seconds is None:
            raise ValueError("kind delay needs seconds, for example 0.5")
        if self.kind == "behaviour" and not self.name:
            raise ValueError("kind behaviour needs name, for example openai.quota")
        if self.kind == "hold":
            self.times = None
        return self

    def applies(self, method: str, path: str) -> bool:
        """Whether it is meant for this request."""
        return fnmatchcase(path, self.path) and self.method in (None, method)


class FaultBox:
    """The faults in force and the counts of requests, shared by all services; safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._counts: dict[str, int] = {}
        self._listeners: list[Callable[[], None]] = []

    def add(self, fault: Fault) -> None:
        """Put a fault in force, behind those already there."""
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        """Take all faults away and release what was held."""
        with self._lock:
            self._faults.clear()
        for listener in self._listeners:
            listener()

    def on_clear(self, listener: Callable[[], None]) -> None:
        """Have a function called whenever the faults are cleared."""
        self._listeners.append(listener)

    def faults(self) -> list[Fault]:
        """Copies of the faults in force, with how often each is still left."""
        with self._lock:
            return [fault.model_copy() for fault in self._faults]

    def take(self, kinds: tuple[Kind, ...], method: str, path: str) -> Fault | None:
        """The first fault of these kinds meant for this request, used up by one; None without one."""
        return self._take(lambda fault: fault.kind in kinds and fault.applies(method, path))

    def take_behaviour(self, name: str) -> Fault | None:
        """The first ``behaviour`` of this name, used up by one; None without one."""
        return self._take(lambda fault: fault.kind == "behaviour" and fault.name == name)

    def _take(self, is_meant: Callable[[Fault], bool]) -> Fault | None:
        with self._lock:
            fault = next(filter(is_meant, self._faults), None)
            if fault is not None and fault.times is not None:
                fault.times -= 1
                self._faults = [other for other in self._faults if other.times != 0]
            return fault

    def holds(self) -> bool:
        """Whether a ``hold`` is in force."""
        with self._lock:
            return any(fault.kind == "hold" for fault in self._faults)

    def count(self, method: str, path: str) -> None:
        """Count a request that arrived."""
        with self._lock:
            key = f"{method} {path}"
            self._counts[key] = self._counts.get(key, 0) + 1

    def counts(self) -> dict[str, int]:
        """How many requests arrived since the last reset, by ``"METHOD /path"``."""
        with self._lock:
            return dict(self._counts)

    def reset_counts(self) -> None:
        """Count from zero again."""
        with self._lock:
            self._counts.clear()


def build_routes(box: FaultBox) -> list[Route]:
    """``/_local/faults`` (GET, POST, DELETE) and ``/_local/requests`` (GET, DELETE)."""

    async def faults(request: Request) -> Response:
        if request.method == "POST":
            try:
                box.add(Fault.model_validate_json(await request.body()))
            except ValidationError as error:
                return JSONResponse({"error": _explain(error)}, status_code=400)
        elif request.method == "DELETE":
            box.clear()
        in_force = [fault.model_dump(exclude_none=True) for fault in box.faults()]
        return JSONResponse({"faults": in_force}, status_code=201 if request.method == "POST" else 200)

    async def requests(request: Request) -> Response:
        if request.method == "DELETE":
            box.reset_counts()
        return JSONResponse(box.counts())

    return [
        Route("/_local/faults", faults, methods=["GET", "POST", "DELETE"]),
        Route("/_local/requests", requests, methods=["GET", "DELETE"]),
    ]


def _explain(error: ValidationError) -> list[dict[str, Any]]:
    return [{"field": ".".join(map(str, one["loc"])), "problem": one["msg"]} for one in error.errors()]
