"""TLS in front of a PostgreSQL that was built without: what a client sees is the protocol of a server with TLS."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")
_BLOCK = 1 << 16


def write_certificate(folder: Path) -> Path:
    """A key and a certificate it signed itself, in one file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


@contextmanager
def serve_tls(unix_socket: Path, folder: Path) -> Iterator[int]:
    """A port of 127.0.0.1 that speaks TLS and passes everything on to a server's unix socket."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(write_certificate(folder))
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:  # closed: the block ended
                    return
                threading.Thread(target=_serve, args=(client, unix_socket, context), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def _serve(client: socket.socket, unix_socket: Path, context: ssl.SSLContext) -> None:
    with client, socket.socket(socket.AF_UNIX) as server:
        if client.recv(8, socket.MSG_WAITALL) != _REQUEST:
            return
        client.sendall(b"S")
        server.connect(str(unix_socket))
        with context.wrap_socket(client, server_side=True) as secure:
            upward = threading.Thread(target=_pass_on, args=(secure, server), daemon=True)
            upward.start()
            _pass_on(server, secure)
            upward.join()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):  # either side may close at any time
        while block := source.recv(_BLOCK):
            target.sendall(block)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
