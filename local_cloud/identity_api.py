"""The managed-identity endpoint of App Service, api-version 2019-08-01."""

from __future__ import annotations

import hmac

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local_cloud.tokens import TokenIssuer

PATH = "/msi/token"
API_VERSION = "2019-08-01"
SYSTEM_ASSIGNED = "00000000-0000-0000-0000-00000000ada1"
"""The client id of the one system-assigned identity there is; a client id asked for is taken as it is."""


def build_routes(issuer: TokenIssuer, header: str) -> list[Route]:
    """The routes of the identity endpoint.

    Args:
        issuer: Signs the tokens.
        header: The secret a caller must send as ``x-identity-header``.
    """

    def token(request: Request) -> Response:
        sent = request.headers.get("x-identity-header", "")
        if not hmac.compare_digest(sent.encode(), header.encode()):
            return _refusal(
                401, "The header X-IDENTITY-HEADER is missing or does not hold the secret of this endpoint."
            )
        version = request.query_params.get("api-version")
        if version != API_VERSION:
            return _refusal(400, f"The api-version {version!r} is not supported, use {API_VERSION}.")
        resource = request.query_params.get("resource")
        if not resource:
            return _refusal(400, "The parameter resource is required, for example resource=https://ml.azure.com.")
        signed, claims = issuer.issue(resource, request.query_params.get("client_id") or SYSTEM_ASSIGNED)
        return JSONResponse(
            {
                "access_token": signed,
                "expires_on": str(claims.expires_on),
                "resource": resource,
                "token_type": "Bearer",
                "client_id": claims.client_id,
            }
        )

    return [Route(PATH, token, methods=["GET"])]


def _refusal(status: int, message: str) -> Response:
    return JSONResponse({"statusCode": status, "message": message}, status_code=status)
