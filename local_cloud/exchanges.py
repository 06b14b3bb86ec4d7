"""What all services do alike with a request: its JSON body, the tokens of its pages, and errors on the way."""

from __future__ import annotations

import base64
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from local_cloud.errors import ApiError

_MAX_INTEGER = 2**63 - 1
"""What a column of the database holds."""

_CLIENT_CLOSED_REQUEST = 499
_log = logging.getLogger(__name__)


def guard(
    answer: Callable[[Request], Awaitable[Response]], show: Callable[[ApiError], Response], failure_code: str
) -> Callable[[Request], Awaitable[Response]]:
    """A route's endpoint that answers every error as its service words them.

    Args:
        answer: Answers a request; may raise `ApiError`.
        show: An error as an answer.
        failure_code: The service's code for a failure of its own: what anything but an `ApiError` is.
    """

    async def endpoint(request: Request) -> Response:
        try:
            return await answer(request)
        except ApiError as error:
            return show(error)
        except ClientDisconnect:
            return Response(status_code=_CLIENT_CLOSED_REQUEST)
        except Exception as error:
            _log.exception("%s %s failed", request.method, request.url.path)
            return show(ApiError(500, failure_code, f"The local cloud failed: {error!r}"))

    return endpoint


def parse_object(raw: bytes) -> dict[str, Any]:
    """A JSON object; as JSON has it, without NaN and texts that are no Unicode.

    Raises:
        ValueError: it is none.
    """
    import orjson

    found = orjson.loads(raw)
    if not isinstance(found, dict):
        raise ValueError("expected an object")
    return found


def parse_integer(text: str) -> int:
    """A whole number of 64 bits.

    Raises:
        ValueError: it is none.
    """
    found = int(text)
    if abs(found) > _MAX_INTEGER:
        raise ValueError(f"{found} has more than 64 bits")
    return found


def make_page_token(kind: str, key: int) -> str:
    """The opaque token of the page after a key, of a list of some kind."""
    return base64.urlsafe_b64encode(f"{kind}:{key}".encode()).decode()


def read_page_token(token: str, kind: str) -> int:
    """The key in a page token.

    Raises:
        ValueError: it is no token, or one of another kind of list.
    """
    found, _, key = base64.urlsafe_b64decode(token).decode().partition(":")
    if found != kind:
        raise ValueError(f"it is not of {kind}")
    return parse_integer(key)
