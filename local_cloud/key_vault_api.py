"""Key Vault's secrets over REST (api-version 7.0 to 2026-04-01), as azure-keyvault-secrets uses it.

Served over TLS only, as the SDK wants it: a 401 challenge first, then a token for https://vault.azure.net. There are
set, get, list and change of properties; a secret cannot be deleted. As in Azure a disabled secret is refused, and an
expired one is given out.

Behaviours to order: ``key_vault.forbidden`` (the identity has no role), ``key_vault.firewall`` (the vault's firewall),
and ``key_vault.other_resource`` (a challenge that asks for a token of Azure's management, as a false vault would).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local_cloud.errors import ApiError, TokenError
from local_cloud.exchanges import guard, parse_object
from local_cloud.faults import FaultBox
from local_cloud.key_vault_store import Properties, Secret, SecretStore
from local_cloud.services import Cloud, Service
from local_cloud.tokens import TokenIssuer

RESOURCE = "https://vault.azure.net"
_TENANT = "https://login.microsoftonline.com/00000000-0000-0000-0000-00000000ada0"
_NAME = re.compile(r"[0-9A-Za-z-]{1,127}")
_MAX_CHARACTERS = 25 * 1024
_HELP = "For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125182"

Answer = Callable[[Request], Awaitable[Any]]


class VaultError(ApiError):
    """A request that the vault refuses; `inner` is the innererror's code, where it has one."""

    def __init__(self, status: int, code: str, message: str, inner: str | None = None) -> None:
        super().__init__(status, code, message)
        self.inner = inner


def build_service(cloud: Cloud) -> Service:
    """The key vault of a cloud."""
    api = _VaultApi(SecretStore(cloud.database), cloud.issuer, cloud.faults, cloud.secure_url)
    return Service(
        routes=[],
        secure_routes=[
            Route("/secrets", api.answer(api.list_secrets), methods=["GET"]),
            Route("/secrets/{name}", api.answer(api.set_secret), methods=["PUT"]),
            Route("/secrets/{name}", api.answer(api.get_secret), methods=["GET"]),
            Route("/secrets/{name}/", api.answer(api.get_secret), methods=["GET"]),
            Route("/secrets/{name}/versions", api.answer(api.list_versions), methods=["GET"]),
            Route("/secrets/{name}/{version}", api.answer(api.get_secret), methods=["GET"]),
            Route("/secrets/{name}/", api.answer(api.change_secret), methods=["PATCH"]),
            Route("/secrets/{name}/{version}", api.answer(api.change_secret), methods=["PATCH"]),
        ],
        environment={"ADFML_KEY_VAULT_URL": cloud.secure_url, "ADFML_CA_BUNDLE": str(cloud.authority)},
    )


class _VaultApi:
    def __init__(self, store: SecretStore, issuer: TokenIssuer, faults: FaultBox, url: str) -> None:
        self._store = store
        self._issuer = issuer
        self._faults = faults
        self._url = url

    def answer(self, handle: Answer) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint: who asks is checked first, then what is asked for."""

        async def answer(request: Request) -> Response:
            try:
                self._issuer.verify(request.headers.get("authorization"), RESOURCE)
            except TokenError as error:
                return self._challenge(error)
            self._check(request)
            return JSONResponse(await handle(request))

        return guard(answer, _show_error, "InternalServerError")

    def _challenge(self, error: TokenError) -> Response:
        messages = {
            "missing": "AKV10000: Request is missing a Bearer or PoP token.",
            "audience": f"AKV10022: Invalid audience. {error}",
        }
        other = self._faults.take_behaviour("key_vault.other_resource")
        resource = "https://management.azure.com" if other else RESOURCE
        return JSONResponse(
            {"error": {"code": "Unauthorized", "message": messages.get(error.reason, str(error))}},
            status_code=401,
            headers={"WWW-Authenticate": f'Bearer authorization="{_TENANT}", resource="{resource}"'},
        )

    def _check(self, request: Request) -> None:
        if not request.query_params.get("api-version"):
            raise VaultError(400, "BadParameter", "The api-version query parameter is missing.")
        if self._faults.take_behaviour("key_vault.forbidden"):
            action = (
                f"Microsoft.KeyVault/vaults/secrets/{'getSecret' if request.method == 'GET' else 'setSecret'}/action"
            )
            message = f"Caller is not authorized to perform action on resource.\r\nAction: '{action}'\r\n{_HELP}"
            raise VaultError(403, "Forbidden", message, "ForbiddenByRbac")
        if self._faults.take_behaviour("key_vault.firewall"):
            message = "Client address is not authorized and caller is not a trusted service."
            raise VaultError(403, "Forbidden", message, "ForbiddenByFirewall")
        name = request.path_params.get("name")
        if name is not None and not _NAME.fullmatch(name):
            raise VaultError(400, "BadParameter", f"The request URI contains an invalid name: {name}")

    async def get_secret(self, request: Request) -> dict[str, Any]:
        secret = self._require(request)
        if not secret.enabled:
            raise VaultError(403, "Forbidden", "Operation get is not allowed on a disabled secret.", "SecretDisabled")
        return self._describe(secret, with_value=True)

    async def set_secret(self, request: Request) -> dict[str, Any]:
        body = await _read_body(request)
        value = body.get("value")
        if not isinstance(value, str):
            raise VaultError(400, "BadParameter", "Property value has invalid value.")
        if len(value) > _MAX_CHARACTERS:
            raise VaultError(400, "BadParameter", f"Secret value is longer than {_MAX_CHARACTERS} characters.")
        name, properties = request.path_params["name"], _read_properties(body)
        return self._describe(self._store.add(name, value, properties), with_value=True)

    async def change_secret(self, request: Request) -> dict[str, Any]:
        secret, properties = self._require(request), _read_properties(await _read_body(request))
        return self._describe(self._store.change(secret, properties))

    async def list_versions(self, request: Request) -> dict[str, Any]:
        versions = self._store.list_versions(request.path_params["name"])
        return {"value": [self._describe(secret) for secret in versions], "nextLink": None}

    async def list_secrets(self, _request: Request) -> dict[str, Any]:
        newest = self._store.list_newest()
        described = [{**self._describe(secret), "id": f"{self._url}/secrets/{secret.name}"} for secret in newest]
        return {"value": described, "nextLink": None}

    def _require(self, request: Request) -> Secret:
        name = request.path_params["name"]
        version = request.path_params.get("version", "")
        secret = self._store.find(name, version)
        if secret is None:
            asked = f"{name}/{version}" if version else name
            message = (
                f"A secret with (name/id) {asked} was not found in this key vault. If you recently deleted this secret "
                f"you may be able to recover it using the correct recovery command. {_HELP}"
            )
            raise VaultError(404, "SecretNotFound", message)
        return secret

    def _describe(self, secret: Secret, *, with_value: bool = False) -> dict[str, Any]:
        times = {"created": secret.created, "updated": secret.updated, "nbf": secret.not_before, "exp": secret.expires}
        attributes = {"enabled": secret.enabled, **{name: time for name, time in times.items() if time is not None}}
        recovery = {"recoveryLevel": "Recoverable+Purgeable", "recoverableDays": 90}
        return {
            **({"value": secret.value} if with_value else {}),
            "id": f"{self._url}/secrets/{secret.name}/{secret.version}",
            **({"contentType": secret.content_type} if secret.content_type else {}),
            "attributes": {**attributes, **recovery},
            "tags": dict(secret.tags),
        }


async def _read_body(request: Request) -> dict[str, Any]:
    try:
        return parse_object(await request.body())
    except ValueError:
        # Without what the parser says, which may quote the value.
        raise VaultError(400, "BadParameter", "The request body is not a JSON object.") from None


def _read_properties(body: Mapping[str, Any]) -> Properties:
    """What a request sets beside the value."""

    def read(values: Mapping[str, Any], name: str, kind: type) -> Any:
        value = values.get(name)
        # By type, not isinstance: a bool is an int to Python, and none to JSON.
        if value is not None and type(value) is not kind:
            raise VaultError(400, "BadParameter", f"Property {name} has invalid value.")
        return value

    tags, attributes = read(body, "tags", dict), read(body, "attributes", dict) or {}
    if not all(isinstance(value, str) for value in (tags or {}).values()):
        raise VaultError(400, "BadParameter", "Property tags has invalid value.")
    return Properties(
        content_type=read(body, "contentType", str),
        tags=tags,
        enabled=read(attributes, "enabled", bool),
        not_before=read(attributes, "nbf", int),
        expires=read(attributes, "exp", int),
    )


def _show_error(error: ApiError) -> Response:
    inner = {"innererror": {"code": error.inner}} if isinstance(error, VaultError) and error.inner else {}
    return JSONResponse({"error": {"code": error.code, "message": error.message, **inner}}, status_code=error.status)
