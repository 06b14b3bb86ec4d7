"""What all APIs of a Databricks workspace do alike: tokens, bodies, and errors in Databricks' own words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from local_cloud.databricks_requests import Call, parse_body
from local_cloud.errors import ApiError, TokenError
from local_cloud.exchanges import guard
from local_cloud.tokens import Claims, TokenIssuer

RESOURCE = "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d"
"""The application id of Azure Databricks: the audience a token must have."""

_WITH_BODY = ("POST", "PUT", "PATCH")


def build_endpoint(handler: Callable[[Call], dict[str, Any]], issuer: TokenIssuer) -> Callable[[Request], Any]:
    """A route's endpoint that demands a token for `RESOURCE` and answers what a handler returns, as JSON."""

    async def answer(request: Request) -> Response:
        caller = _authenticate(issuer, request.headers.get("authorization"))
        body = parse_body(await request.body()) if request.method in _WITH_BODY else {}
        parts = {name: str(value) for name, value in request.path_params.items()}
        call = Call(request.method, request.url.path, dict(request.query_params), body, caller, parts)
        return JSONResponse(await run_in_threadpool(handler, call))

    return guard(answer, _show_error, "INTERNAL_ERROR")


def _show_error(error: ApiError) -> Response:
    return JSONResponse({"error_code": error.code, "message": error.message}, status_code=error.status)


def _authenticate(issuer: TokenIssuer, authorization: str | None) -> Claims:
    try:
        return issuer.verify(authorization, RESOURCE)
    except TokenError as error:
        if error.reason == "signature":
            raise ApiError(403, "PERMISSION_DENIED", str(error)) from error
        raise ApiError(401, "UNAUTHENTICATED", str(error)) from error
