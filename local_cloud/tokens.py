"""Access tokens of the local cloud: JWTs signed with a secret of the state folder."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from dataclasses import dataclass
from typing import Any

from local_cloud.errors import TokenError

ISSUER = "https://local-cloud.invalid/"
LIFETIME_SECONDS = 24 * 3600
"""How long a token is valid; the real managed identity gives 24 hours too."""


@dataclass(frozen=True)
class Claims:
    """What a valid token says: for which resource, until when (epoch seconds, UTC), and for whom."""

    audience: str
    expires_on: int
    client_id: str


class TokenIssuer:
    """Signs and checks tokens with one secret, so that they outlive a restart of the cloud."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def issue(self, resource: str, client_id: str, *, lifetime_seconds: int = LIFETIME_SECONDS) -> tuple[str, Claims]:
        """A token for a resource (as in the ``resource`` parameter, with or without a trailing slash)."""
        now = int(time.time())
        claims = Claims(resource.rstrip("/"), now + lifetime_seconds, client_id)
        payload = {"aud": claims.audience, "iss": ISSUER, "iat": now, "nbf": now, "exp": claims.expires_on}
        head = f"{_encode({'alg': 'HS256', 'typ': 'JWT'})}.{_encode({**payload, 'appid': client_id})}"
        return f"{head}.{self._sign(head)}", claims

    def verify(self, authorization: str | None, resource: str) -> Claims:
        """The claims of an ``Authorization: Bearer ...`` header.

        Raises:
            TokenError: no such header, not one of our tokens, expired, or for another resource.
        """
        if not authorization:
            raise TokenError("missing", "Credential was not sent or was of an unsupported type for this API.")
        scheme, _, token = authorization.partition(" ")
        head, _, signature = token.strip().rpartition(".")
        if scheme.lower() != "bearer" or head.count(".") != 1:
            raise TokenError("malformed", "Credential was not sent or was of an unsupported type for this API.")
        if not hmac.compare_digest(signature.encode(), self._sign(head).encode()):
            raise TokenError("signature", "Invalid access token.")
        payload = _decode(head.split(".")[1])
        if payload["exp"] <= time.time():
            raise TokenError("expired", "Access token expired.")
        if payload["aud"] != resource.rstrip("/"):
            raise TokenError("audience", f"Expected aud claim to be: {resource}, but was: {payload['aud']}.")
        return Claims(payload["aud"], payload["exp"], payload["appid"])

    def _sign(self, head: str) -> str:
        return _encode_bytes(hmac.new(self._secret, head.encode(), hashlib.sha256).digest())


def _encode_bytes(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _encode(value: dict[str, Any]) -> str:
    return _encode_bytes(json.dumps(value, separators=(",", ":")).encode())


def _decode(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return found
