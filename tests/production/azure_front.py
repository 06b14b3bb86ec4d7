"""Azure's own addresses, answered on this machine: a proxy to Azurite, and the identity that signs in there.

A deployment's configuration names an account, and Dagster makes https://<account>.blob.core.windows.net/ of it. Its
processes reach that address through HTTPS_PROXY, over TLS from end to end, with a token of a managed identity.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from pathlib import Path

import trustme

from tests.azurite_server import Azurite, run_azurite
from tests.lake.test_identity import IdentityEndpoint

_BLOCK = 1 << 16


@dataclass(frozen=True)
class AzureFront:
    """Blob storage at Azure's addresses; `environment` is what a process needs to reach it."""

    azurite: Azurite
    environment: dict[str, str]
    authority: Path


@contextmanager
def run_azure_front(folder: Path) -> Iterator[AzureFront]:
    """Azurite with a certificate for *.blob.core.windows.net, the proxy that leads there, and an identity endpoint."""
    authority = trustme.CA()
    certificate = authority.issue_cert("*.blob.core.windows.net", "127.0.0.1")
    files = folder / "authority.pem", folder / "certificate.pem", folder / "key.pem"
    authority.cert_pem.write_to_path(files[0])
    (folder / "certificate.pem").write_bytes(b"".join(part.bytes() for part in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(files[2])
    with run_azurite(files[1:]) as azurite, _serve_identity() as identity, _serve_proxy(azurite) as proxy:
        environment = {
            "HTTPS_PROXY": f"http://127.0.0.1:{proxy}",
            "NO_PROXY": "127.0.0.1",
            "REQUESTS_CA_BUNDLE": str(files[0]),
            "IDENTITY_ENDPOINT": f"http://127.0.0.1:{identity}/msi/token",
            "IDENTITY_HEADER": "x",
        }
        yield AzureFront(azurite, environment, files[0])


@contextmanager
def _serve_identity() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), IdentityEndpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def _serve_proxy(azurite: Azurite) -> Iterator[int]:
    port = int(azurite.url.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:  # closed: the block ended
                    return
                threading.Thread(target=_connect, args=(client, port), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]


def _connect(client: socket.socket, port: int) -> None:
    """Answer CONNECT for an account's address, and no other."""
    with client, suppress(OSError):
        request = b""
        while b"\r\n\r\n" not in request:
            request += client.recv(_BLOCK)
        target = request.split()[1].decode()
        if not target.endswith(".blob.core.windows.net:443"):
            client.sendall(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
            return
        with socket.create_connection(("127.0.0.1", port)) as server:
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_pass_on, args=(server, client), daemon=True)
            back.start()
            _pass_on(client, server)
            back.join()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while block := source.recv(_BLOCK):
            sink.sendall(block)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
