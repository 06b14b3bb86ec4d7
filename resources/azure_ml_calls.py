"""Requests to a batch endpoint's own address: signed in, bounded in time, their errors in this package's words."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from resources.azure_ml_states import read_field
from resources.errors import OutcomeUnknown, QuotaExceeded, Refused, ResourceError, Unreachable

if TYPE_CHECKING:
    import httpx

SCOPE = "https://ml.azure.com/.default"
"""Microsoft, "Authorization on batch endpoints": the data plane's audience."""

_SERVICE = "Azure ML"
_FIRST_WAIT, _LONGEST_WAIT = 0.25, 8.0
_BODY_CHARACTERS = 1000
_CHECKS = {
    400: "the engine's inputs, outputs and parameters against those of the deployment",
    401: "that the process has an identity (managed identity, or a login), and that it is of the workspace's tenant",
    403: "that the identity has the role AzureML Data Scientist on the workspace",
    404: "the engine's `endpoint` or `scoring_uri`, and its `deployment`",
    424: "the engine's `deployment`",
}


class NoSuchThing(ResourceError):
    """The address answers, and does not know what was asked for."""

    def __init__(self, address: str, reason: str) -> None:
        self.address = address
        self.reason = reason
        super().__init__(f"Azure ML at {address} does not know it: {reason}")


class NotListed(ResourceError):
    """The address does not list its jobs."""

    def __init__(self, address: str, reason: str) -> None:
        self.address = address
        self.reason = reason
        super().__init__(f"Azure ML at {address} does not list its jobs: {reason}")


class EndpointCalls:
    """The calls, over one pool of connections, with a token that azure-identity caches and renews.

    Args:
        timeout_seconds: how long one request may take.
        retry_seconds: how long one that only reads is repeated.
        connections: how many at once.
        scope: the audience of the token.
    """

    def __init__(self, timeout_seconds: float, retry_seconds: float, connections: int, scope: str = SCOPE) -> None:
        import httpx
        from azure.identity import DefaultAzureCredential

        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        self._http = httpx.Client(timeout=timeout_seconds, limits=limits)
        self._retry_seconds = retry_seconds
        self._scope = scope
        self._credential = DefaultAzureCredential()

    def post(
        self, url: str, body: Mapping[str, Any], headers: Mapping[str, str], submission_key: str
    ) -> dict[str, Any]:
        """Send a job, once: the request is never repeated here, because the service would make a second job.

        Raises:
            Unreachable: nothing was sent. Refused: it was not taken. QuotaExceeded: not taken now (429).
            OutcomeUnknown: no answer, or a server's error: a job may have been made all the same.
        """
        import httpx

        try:
            answer = self._http.post(url, json=dict(body), headers={**self._sign_in(url), **headers})
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol) as error:
            raise _unreachable(url, error) from None
        except httpx.HTTPError as error:
            raise OutcomeUnknown(submission_key, _SERVICE, _describe(error)) from None
        if answer.status_code == 429:
            raise QuotaExceeded(_SERVICE, url, _read_reason(answer))
        if answer.status_code == 408 or answer.status_code >= 500:
            reason = f"{answer.status_code}: {_read_reason(answer)}"
            raise OutcomeUnknown(submission_key, _SERVICE, reason)
        if answer.status_code not in (200, 201, 202):
            raise _refusal(url, answer)
        try:
            return _read_object(answer)
        except ValueError as error:
            raise OutcomeUnknown(submission_key, _SERVICE, f"its answer is not whole ({error})") from None

    def get(self, url: str, stop_at: float) -> dict[str, Any]:
        """Read something, again for a while where the service is busy, but not beyond `stop_at` (time.monotonic()).

        Raises:
            NoSuchThing: 404. Refused: any other no. Unreachable: no answer in time.
        """
        import httpx

        wait = _FIRST_WAIT
        stop_at = min(stop_at, time.monotonic() + self._retry_seconds)
        while True:
            pause = wait
            try:
                answer = self._http.get(url, headers=self._sign_in(url))
                if answer.status_code == 404:
                    raise NoSuchThing(url, _read_reason(answer))
                busy = answer.status_code in (408, 429) or answer.status_code >= 500
                if not busy and answer.status_code != 200:
                    raise _refusal(url, answer)
                if not busy:
                    return _read_object(answer)
                failure: ResourceError = Unreachable(
                    _SERVICE, url, f"{answer.status_code}: {_read_reason(answer)}", "that the service is up"
                )
                pause = max(wait, _read_retry_after(answer))
            except httpx.UnsupportedProtocol as error:
                raise _unreachable(url, error) from None
            except httpx.HTTPError as error:
                failure = _unreachable(url, error)
            except ValueError as error:
                failure = Unreachable(_SERVICE, url, f"its answer is not whole ({error})", "the network, and any proxy")
            if time.monotonic() + pause >= stop_at:
                raise failure
            time.sleep(pause)
            wait = min(wait * 2, _LONGEST_WAIT)

    def _sign_in(self, url: str) -> dict[str, str]:
        from azure.core.exceptions import AzureError, ClientAuthenticationError

        try:
            token = self._credential.get_token(self._scope).token
        except ClientAuthenticationError as error:
            reason = (error.message or type(error).__name__).strip().splitlines()[0].rstrip(".")
            raise Refused("The Azure identity", url, reason, _CHECKS[401]) from None
        except AzureError as error:
            raise Unreachable(
                "The Azure identity", url, _describe(error), "that the managed identity is there"
            ) from None
        return {"Authorization": f"Bearer {token}"}


def _unreachable(url: str, error: httpx.HTTPError | httpx.UnsupportedProtocol) -> Unreachable:
    check = "the engine's `scoring_uri` (endpoint and region), the network, and that the endpoint is there"
    return Unreachable(_SERVICE, url, _describe(error), check)


def _describe(error: Exception) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, socket.gaierror):
            return "the name does not resolve"
        if isinstance(cause, ConnectionRefusedError):
            return "connection refused"
        cause = cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__


def _refusal(url: str, answer: httpx.Response) -> Refused:
    check = _CHECKS.get(answer.status_code, "the engine's declaration against the deployment")
    return Refused(_SERVICE, url, f"{answer.status_code}: {_read_reason(answer)}", check)


def _read_reason(answer: httpx.Response) -> str:
    """The service's own message; a gateway's page or an empty answer as far as it says something."""
    try:
        error = read_field(answer.json(), "error")
        code, message = read_field(error, "code"), read_field(error, "message")
    except (ValueError, AttributeError, TypeError):
        return answer.text.strip()[:_BODY_CHARACTERS] or answer.reason_phrase or "no reason given"
    return f"{message} ({code})" if code else str(message)


def _read_retry_after(answer: httpx.Response) -> float:
    try:
        return max(0.0, float(answer.headers.get("Retry-After", "0")))
    except ValueError:
        return 0.0


def _read_object(answer: httpx.Response) -> dict[str, Any]:
    found = json.loads(answer.content)
    if not isinstance(found, dict):
        raise ValueError(f"expected an object, found {type(found).__name__}")
    return found
