"""The address served over TLS: its certificates, made once and kept in the state folder, and the routes only it has."""

from __future__ import annotations

import os
import shutil
import ssl
from dataclasses import dataclass
from pathlib import Path

from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from local_cloud.state import StateFolder

FOLDER = "tls"


@dataclass(frozen=True)
class Certificates:
    """Three PEM files.

    Attributes:
        authority: What a client has to trust. The authority's own key is not kept: it signs nothing else.
        certificate: The server's.
        key: The server's private key, readable by its owner only.
    """

    authority: Path
    certificate: Path
    key: Path

    def build_context(self) -> ssl.SSLContext:
        """What the server speaks TLS with."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


def ensure_certificates(state: StateFolder, host: str) -> Certificates:
    """The certificates of a state folder, for a host and localhost; made when there are none, all of them at once."""
    folder = state.root / FOLDER
    if not folder.is_dir():
        _make(folder, host)
    return Certificates(folder / "authority.pem", folder / "certificate.pem", folder / "key.pem")


def _make(folder: Path, host: str) -> None:
    import trustme

    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    authority = trustme.CA(organization_name="adfml local cloud")
    server = authority.issue_cert(host, "localhost")
    authority.cert_pem.write_to_path(unfinished / "authority.pem")
    for blob in server.cert_chain_pems:
        blob.write_to_path(unfinished / "certificate.pem", append=True)
    key = os.open(unfinished / "key.pem", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(key, "wb") as file:
        file.write(server.private_key_pem.bytes())
    unfinished.rename(folder)


class SecureRoute(BaseRoute):
    """A route that is there over TLS only."""

    def __init__(self, route: BaseRoute) -> None:
        self._route = route

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """How the route matches; over plain HTTP not at all."""
        return self._route.matches(scope) if scope.get("scheme") == "https" else (Match.NONE, {})

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await self._route.handle(scope, receive, send)
