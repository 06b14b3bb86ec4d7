"""The edge of the HTTP server: counting requests and doing transport faults to them."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from email.utils import formatdate
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from local_cloud.faults import Fault, FaultBox

LOCAL_PREFIX = "/_local/"
_STATUS_CODES = {
    429: "REQUEST_LIMIT_EXCEEDED",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
# The peer, and the port it came to: two listeners may have the same peer.
_Connection = tuple[tuple[str, int], int | None]
_transports: dict[_Connection, asyncio.Transport] = {}


class OpenProtocol(H11Protocol):
    """uvicorn's HTTP protocol, with the connection within reach: ASGI has no way to close one without an answer."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Remember the connection under its peer address."""
        super().connection_made(transport)
        if self.client is not None and self.server is not None:
            _transports[(self.client, self.server[1])] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self.client is not None and self.server is not None:
            _transports.pop((self.client, self.server[1]), None)
        super().connection_lost(exc)


class FaultMiddleware:
    """Counts every request and applies the transport faults; ``/_local/`` itself is neither counted nor hurt.

    Behaviour to order: ``server.clock`` (the answers' Date is off by `value` seconds).
    """

    def __init__(self, app: ASGIApp, box: FaultBox) -> None:
        self._app = app
        self._box = box

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI call."""
        if scope["type"] != "http" or scope["path"].startswith(LOCAL_PREFIX):
            await self._app(scope, receive, send)
            return
        method, path = scope["method"], scope["path"]
        self._box.count(method, path)
        send = _dated(send, self._box)
        while delay := self._box.take(("delay",), method, path):
            await asyncio.sleep(delay.seconds or 0)
        fault = self._box.take(("status", "reset", "lost_answer", "truncated"), method, path)
        if fault is None:
            await self._app(scope, receive, send)
        elif fault.kind == "status":
            await _status_answer(fault)(scope, receive, send)
        elif fault.kind == "reset":
            await _close(scope, receive, reset=True)
        elif fault.kind == "truncated":
            await self._app(scope, receive, _halve(send))
            await _close(scope, receive, reset=False)
        else:
            await self._app(scope, receive, _drop)
            await _close(scope, receive, reset=False)


def _dated(send: Send, box: FaultBox) -> Send:
    """Every answer says what the time is, as servers do; uvicorn's own header knows no fault."""

    async def send_dated(message: Message) -> None:
        if message["type"] == "http.response.start":
            skew = box.take_behaviour("server.clock")
            date = formatdate(time.time() + (skew.value or 0 if skew else 0), usegmt=True)
            message = {**message, "headers": [*message.get("headers", ()), (b"date", date.encode())]}
        await send(message)

    return send_dated


def _status_answer(fault: Fault) -> JSONResponse:
    status = fault.code or 500
    headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
    code, message = _STATUS_CODES.get(status, "FAULT"), f"A fault of the local cloud: {status}."
    # Databricks reads the outer fields, the other services' clients the inner ones.
    body = {"error_code": code, "message": message, "error": {"code": code, "message": message}}
    return JSONResponse(body, status_code=status, headers=headers)


async def _drop(message: Message) -> None:
    """Take an answer and send it nowhere."""


def _halve(send: Send) -> Send:
    """Send the answer's head as it is, and half of its body."""
    sent = False

    async def send_half(message: Message) -> None:
        nonlocal sent
        if message["type"] == "http.response.start":
            await send(message)
        elif not sent:
            sent = True
            body = message.get("body", b"")
            await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})

    return send_half


async def _close(scope: Scope, receive: Receive, *, reset: bool) -> None:
    transport = _transports[(tuple(scope["client"]), scope["server"][1])]
    if reset:
        connection: Any = transport.get_extra_info("socket")
        # Zero linger makes the close a TCP reset instead of an orderly end.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    else:
        transport.close()
    # The server answers 500 by itself if we return before it has noticed that the connection is gone.
    while (await receive())["type"] != "http.disconnect":
        pass
