"""The Azure OpenAI v1 surface for batches: files, batches and chat completions below ``/openai/v1/``.

After Microsoft's "Azure OpenAI in Microsoft Foundry Models v1 API" and the official SDK's types. What no document
says of the service (the code of an input file that is not there, for example) is chosen plausibly and said so here:

- an input file that does not exist: 400 ``invalid_input_file``;
- a file over 200 MB: 413 ``content_length_exceeded``; a file too many: 400 ``file_limit_exceeded``;
- cancelling a batch that has ended: 400 ``invalid_batch_status``.

``/_local/openai/batches`` counts the batches ever created, in all and by their metadata; ``/_local/openai/clock``
(POST ``{"ahead_seconds": n}``) sets the service's clock ahead, so that files and batches expire;
``/_local/openai/key`` tells the resource's key.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from local_cloud.errors import ApiError, TokenError
from local_cloud.exchanges import guard
from local_cloud.openai_engine import OpenAIEngine, quota_message
from local_cloud.openai_limits import (
    DEPLOYMENTS,
    MAX_FILE_BYTES,
    MAX_FILES,
    MAX_FILES_WITH_EXPIRY,
    WINDOW_SECONDS,
    count_tokens,
)
from local_cloud.openai_orders import exceeds_quota, take_orders
from local_cloud.openai_requests import (
    Call,
    invalid,
    not_found,
    parse_body,
    read_batch_request,
    read_expiry,
    read_limit,
)
from local_cloud.openai_store import BatchRecord, FileRecord, OpenAIStore
from local_cloud.openai_uploads import FormReader
from local_cloud.openai_views import show_batch, show_error, show_file, show_page
from local_cloud.services import Cloud, Service

RESOURCE = "https://cognitiveservices.azure.com"
"""The audience a token must have."""

PREFIX = "/openai/v1"
LOCAL = "/_local/openai"
UNKNOWN_STATUS = "reticulating"
"""What a fault of kind ``unknown_state`` reports: no SDK knows it."""

_MAX_BATCHES_PAGE = 100
_MAX_FILES_PAGE = 10_000
_BAD_TOKEN = f"Access token is missing, invalid, audience is incorrect ({RESOURCE}), or have expired."
_BAD_KEY = (
    "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an "
    "active subscription and use a correct regional API endpoint for your resource."
)
_NO_DEPLOYMENT = (
    "The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes, "
    "please wait a moment and try again."
)


class OpenAIApi:
    """Answers the requests; what it accepts is committed before it answers."""

    def __init__(self, cloud: Cloud, store: OpenAIStore, engine: OpenAIEngine) -> None:
        self._faults = cloud.faults
        self._issuer = cloud.issuer
        self._store = store
        self._engine = engine
        self._key = cloud.database.setting("openai_key", lambda: secrets.token_hex(32))

    def authenticate(self, request: Request) -> None:
        """Let a request through that carries the resource's key, in either header, or a token for `RESOURCE`.

        Raises:
            ApiError: it carries neither.
        """
        authorization = request.headers.get("authorization", "")
        scheme, _, credential = authorization.partition(" ")
        given = request.headers.get("api-key")
        if given is None and scheme.lower() == "bearer" and credential.count(".") != 2:
            given = credential
        if given is not None:
            if not hmac.compare_digest(given.encode(), self._key.encode()):
                raise ApiError(401, "401", _BAD_KEY)
            return
        try:
            self._issuer.verify(authorization, RESOURCE)
        except TokenError as error:
            raise ApiError(401, "Unauthorized", _BAD_TOKEN) from error

    async def upload_file(self, request: Request) -> dict[str, Any]:
        """``POST files``: the file goes to disk as it arrives."""
        self._engine.warm_up()
        staged = self._store.staging / f"upload-{secrets.token_hex(16)}"
        reader = FormReader(request.headers.get("content-type"), staged, max_file_bytes=MAX_FILE_BYTES)
        try:
            problem: ApiError | None = None
            async for data in request.stream():
                # After an error the rest is still read: closing before would hide the answer from the client.
                if problem is None:
                    try:
                        reader.feed(data)
                    except ApiError as error:
                        problem = error
            if problem is not None:
                raise problem
            reader.close()
            return await run_in_threadpool(self._accept_file, reader, staged)
        finally:
            reader.discard()
            staged.unlink(missing_ok=True)

    def list_files(self, call: Call) -> dict[str, Any]:
        """``GET files``."""
        order = call.query.get("order", "desc")
        if order not in ("asc", "desc"):
            raise invalid(f"Invalid value for 'order': {order!r}. Supported values are: 'asc' and 'desc'.")
        limit = read_limit(call.query, _MAX_FILES_PAGE, _MAX_FILES_PAGE)
        after = call.query.get("after")
        found = self._store.list_files(
            purpose=call.query.get("purpose"),
            after=self._find_file(after).seq if after else None,
            limit=limit + 1,
            newest_first=order == "desc",
        )
        return show_page([show_file(file) for file in found[:limit]], has_more=len(found) > limit)

    def get_file(self, call: Call) -> dict[str, Any]:
        """``GET files/{id}``."""
        return show_file(self._find_file(call.names["file_id"]))

    def get_content(self, call: Call) -> Response:
        """``GET files/{id}/content``: sent from disk."""
        file = self._find_file(call.names["file_id"])
        return FileResponse(
            self._store.path(file.file_id), media_type="application/octet-stream", filename=file.filename
        )

    def delete_file(self, call: Call) -> dict[str, Any]:
        """``DELETE files/{id}``."""
        file = self._find_file(call.names["file_id"])
        self._store.delete_file(file.file_id)
        return {"id": file.file_id, "object": "file", "deleted": True}

    def create_batch(self, call: Call) -> dict[str, Any]:
        """``POST batches``: without any protection from creating the same twice, as the service has none."""
        wanted = read_batch_request(call.body)
        file = self._store.file(wanted.input_file_id)
        if file is None or file.purpose != "batch":
            raise invalid(f"No such file with the purpose batch: {wanted.input_file_id}", "invalid_input_file")
        tokens = count_tokens(file.bytes)
        if exceeds_quota(self._faults, "quota", lambda: self._store.enqueued_tokens() + tokens):
            raise ApiError(400, "token_limit_exceeded", quota_message(None))
        orders = take_orders(self._faults, call.method, call.path)
        try:
            batch = self._store.add_batch(
                file,
                endpoint=wanted.endpoint,
                metadata=wanted.metadata,
                output_seconds=wanted.output_seconds,
                window_seconds=WINDOW_SECONDS,
                orders=orders,
                tokens=tokens,
            )
        except FileNotFoundError as error:
            raise invalid(f"No such file: {wanted.input_file_id}", "invalid_input_file") from error
        self._engine.wake(batch.batch_id, hold=orders.hold is not None)
        return self._show(call, batch)

    def list_batches(self, call: Call) -> dict[str, Any]:
        """``GET batches``: newest first."""
        limit = read_limit(call.query, _MAX_BATCHES_PAGE, 20)
        after = call.query.get("after")
        before = self._find_batch(after).seq if after else None
        found = self._store.list_batches(before=before, limit=limit + 1)
        return show_page([self._show(call, batch) for batch in found[:limit]], has_more=len(found) > limit)

    def get_batch(self, call: Call) -> dict[str, Any]:
        """``GET batches/{id}``."""
        return self._show(call, self._find_batch(call.names["batch_id"]))

    def cancel_batch(self, call: Call) -> dict[str, Any]:
        """``POST batches/{id}/cancel``: asks for it and answers at once."""
        batch_id = call.names["batch_id"]
        batch = self._find_batch(batch_id)
        if not self._store.move(batch_id, "cancelling", expected=["validating", "in_progress", "finalizing"]):
            batch = self._find_batch(batch_id)
            if batch.has_ended:
                message = f"Cannot cancel a batch with status '{batch.status}'."
                raise invalid(message, "invalid_batch_status")
        self._engine.wake(batch_id)
        return self._show(call, self._find_batch(batch_id))

    async def complete_chat(self, request: Request) -> Response:
        """``POST chat/completions``: the answer a batch would get, at once."""
        body = parse_body(await request.body())
        if str(body.get("model")) not in DEPLOYMENTS:
            raise ApiError(404, "DeploymentNotFound", _NO_DEPLOYMENT)
        if body.get("stream"):
            raise invalid("The local cloud does not stream answers: leave 'stream' out.")
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[dict[str, Any] | None] = loop.create_future()

        def reply(message: dict[str, Any] | None) -> None:
            loop.call_soon_threadsafe(_resolve, answered, message)

        await run_in_threadpool(self._engine.ask, secrets.token_hex(16), body, reply)
        message = await answered
        if message is None:
            raise ApiError(500, "InternalServerError", "The worker of the local cloud died over this request.")
        return JSONResponse(message["body"], status_code=message["status"])

    def count_batches(self) -> dict[str, Any]:
        """How many batches were ever created: in all, by status, and by each value of each metadata key."""
        by_status: dict[str, int] = {}
        by_metadata: dict[str, dict[str, int]] = {}
        total, before = 0, None
        while page := self._store.list_batches(before=before, limit=1000):
            before, total = page[-1].seq, total + len(page)
            for batch in page:
                by_status[batch.status] = by_status.get(batch.status, 0) + 1
                for key, value in (batch.metadata or {}).items():
                    counts = by_metadata.setdefault(key, {})
                    counts[value] = counts.get(value, 0) + 1
        return {"total": total, "by_status": by_status, "by_metadata": by_metadata}

    def tell_key(self) -> dict[str, Any]:
        """The key that the header ``api-key`` is to carry."""
        return {"key": self._key}

    def set_clock(self, ahead_seconds: float) -> dict[str, Any]:
        """Set the service's clock ahead of the machine's."""
        self._store.set_clock(ahead_seconds)
        self._store.remove_expired()
        self._engine.wake_all()
        return {"ahead_seconds": ahead_seconds, "now": self._store.now()}

    def _accept_file(self, reader: FormReader, staged: Path) -> dict[str, Any]:
        if reader.fields.get("purpose") != "batch":
            raise invalid(
                f"Invalid value for 'purpose': {reader.fields.get('purpose')!r}. The local cloud takes 'batch'."
            )
        if reader.filename is None:
            raise invalid("Missing required parameter: 'file'.")
        if reader.size > MAX_FILE_BYTES:
            message = f"The file has {reader.size} bytes, which is more than the limit of {MAX_FILE_BYTES} (200 MB)."
            raise ApiError(413, "content_length_exceeded", message)
        anchor, seconds = (reader.fields.get(f"expires_after[{name}]") for name in ("anchor", "seconds"))
        expiry = None if anchor is None and seconds is None else read_expiry(anchor, seconds, "expires_after")
        maximum = MAX_FILES if expiry is None else MAX_FILES_WITH_EXPIRY
        if self._store.count_files(with_expiry=expiry is not None) >= maximum:
            kind = "without an expiry" if expiry is None else "with an expiry"
            raise invalid(f"The resource has {maximum} batch input files {kind} already.", "file_limit_exceeded")
        return show_file(self._store.add_file(staged, reader.filename, expiry))

    def _find_file(self, file_id: str) -> FileRecord:
        file = self._store.file(file_id)
        if file is None:
            raise not_found("File", file_id)
        return file

    def _find_batch(self, batch_id: str) -> BatchRecord:
        batch = self._store.batch(batch_id)
        if batch is None:
            raise not_found("Batch", batch_id)
        return batch

    def _show(self, call: Call, batch: BatchRecord) -> dict[str, Any]:
        shown = show_batch(batch)
        if call.method == "GET" and self._faults.take(("unknown_state",), call.method, call.path):
            shown["status"] = UNKNOWN_STATUS
        return shown


def build_service(cloud: Cloud) -> Service:
    """The service, with its endpoint in the environment; its key is not: managed identity is the default."""
    store = OpenAIStore(cloud.database, cloud.state)
    engine = OpenAIEngine(store, cloud.faults, cloud.fail)
    api = OpenAIApi(cloud, store, engine)
    return Service(
        routes=build_routes(api),
        environment={"ADFML_OPENAI_ENDPOINT": f"{cloud.url}{PREFIX}/"},
        start=engine.start,
        stop=engine.stop,
    )


def build_routes(api: OpenAIApi) -> list[BaseRoute]:
    """The routes of the service and of its switches."""

    def no_such_path(_call: Call) -> dict[str, Any]:
        raise ApiError(404, "404", "Resource not found")

    async def batches(_request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(api.count_batches))

    async def clock(request: Request) -> Response:
        try:
            ahead = float(parse_body(await request.body())["ahead_seconds"])
        except (KeyError, TypeError, ValueError, ApiError):
            return JSONResponse({"error": 'expected {"ahead_seconds": a number}'}, status_code=400)
        return JSONResponse(await run_in_threadpool(api.set_clock, ahead))

    async def key(_request: Request) -> Response:
        return JSONResponse(api.tell_key())

    served: list[tuple[str, str, Callable[[Call], Any]]] = [
        ("GET", "/files", api.list_files),
        ("GET", "/files/{file_id}", api.get_file),
        ("DELETE", "/files/{file_id}", api.delete_file),
        ("GET", "/files/{file_id}/content", api.get_content),
        ("POST", "/batches", api.create_batch),
        ("GET", "/batches", api.list_batches),
        ("GET", "/batches/{batch_id}", api.get_batch),
        ("POST", "/batches/{batch_id}/cancel", api.cancel_batch),
    ]
    streamed: list[tuple[str, Callable[[Request], Any]]] = [
        ("/files", api.upload_file),
        ("/chat/completions", api.complete_chat),
    ]
    methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    return [
        *(Route(PREFIX + path, _endpoint(handler, api), methods=[method]) for method, path, handler in served),
        *(Route(PREFIX + path, _streaming_endpoint(handler, api), methods=["POST"]) for path, handler in streamed),
        Route("/openai/{rest:path}", _endpoint(no_such_path, api), methods=methods),
        Route(f"{LOCAL}/batches", batches, methods=["GET"]),
        Route(f"{LOCAL}/clock", clock, methods=["POST"]),
        Route(f"{LOCAL}/key", key, methods=["GET"]),
    ]


def _endpoint(handler: Callable[[Call], Any], api: OpenAIApi) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Any:
        raw = await request.body()
        body = parse_body(raw) if request.method == "POST" and raw else {}
        path = request.url.path
        call = Call(request.method, path, request.path_params, dict(request.query_params), body)
        return await run_in_threadpool(handler, call)

    return _streaming_endpoint(answer, api)


def _streaming_endpoint(handler: Callable[[Request], Any], api: OpenAIApi) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        try:
            api.authenticate(request)
        except ApiError:
            async for _ in request.stream():
                pass
            raise
        found = await handler(request)
        return found if isinstance(found, Response) else JSONResponse(found)

    def show(error: ApiError) -> Response:
        return JSONResponse(show_error(error.code, error.message, error.status), status_code=error.status)

    return guard(answer, show, "InternalServerError")


def _resolve(answered: asyncio.Future[dict[str, Any] | None], message: dict[str, Any] | None) -> None:
    if not answered.done():
        answered.set_result(message)
