"""Without a key or token the identity of the process signs in to the lake: over TLS, its tokens' claims checked."""

from __future__ import annotations

import base64
import ipaddress
import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from resources.errors import Refused
from resources.lake import Lake
from tests.azurite_server import Azurite, run_azurite

TABLE = pa.table({"a": [1, 2, 3]})
TENANT = "00000000-0000-0000-0000-000000000001"


def encode(header: dict[str, object], claims: dict[str, object]) -> str:
    """A token as Entra ID has them, with a signature that Azurite does not check."""
    parts = [json.dumps(header).encode(), json.dumps(claims).encode(), b"signature"]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def make_certificate(folder: Path) -> tuple[Path, Path, Path]:
    """The files of an authority, of a certificate of its for 127.0.0.1, and of that one's key."""
    keys = [rsa.generate_private_key(65537, 2048) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("authority", "127.0.0.1")]

    def build(number: int) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder(names[0], names[number], keys[number].public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=2))
            .add_extension(x509.BasicConstraints(number == 0, None), critical=True)
        )

    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    leaf = build(1).add_extension(address, critical=False).add_extension(usage, critical=False)
    files = (folder / "authority.pem", folder / "certificate.pem", folder / "key.pem")
    files[0].write_bytes(build(0).sign(keys[0], hashes.SHA256()).public_bytes(Encoding.PEM))
    files[1].write_bytes(leaf.sign(keys[0], hashes.SHA256()).public_bytes(Encoding.PEM))
    files[2].write_bytes(keys[1].private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    return files


class IdentityEndpoint(BaseHTTPRequestHandler):
    """The managed-identity endpoint of a machine; `audience` is whom its tokens are for, whatever is asked for."""

    audience: str | None = None

    def do_GET(self) -> None:
        resource = parse_qs(urlsplit(self.path).query)["resource"][0]
        now = int(time.time())
        claims = {"iss": f"https://sts.windows.net/{TENANT}/", "aud": self.audience or resource}
        token = encode({"alg": "HS256", "typ": "JWT"}, {**claims, "iat": now, "nbf": now - 60, "exp": now + 3600})
        answer = {"access_token": token, "expires_on": str(now + 3600), "resource": resource}
        body = json.dumps({**answer, "token_type": "Bearer"}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Azurite, Path]]:
    authority, certificate, key = make_certificate(tmp_path_factory.mktemp("certificate"))
    with run_azurite((certificate, key)) as server:
        yield server, authority


@pytest.fixture
def endpoint(secure: tuple[Azurite, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[type[IdentityEndpoint]]:
    handler = type("Endpoint", (IdentityEndpoint,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    azurite, authority = secure
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority))
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{server.server_port}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "x")
    monkeypatch.setenv("ADFML_LAKE", azurite.take_account().url)
    yield handler
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_identity_of_the_process_signs_in(endpoint: type[IdentityEndpoint]) -> None:
    lake = Lake()
    with lake.write_parquet_parts(lambda index: f"archive/t/{index}.parquet", TABLE.schema) as sink:
        sink.write(TABLE)
    assert lake.list_files("archive/t") == ["archive/t/0.parquet"]
    assert lake.read_table("archive/t/0.parquet").equals(TABLE)
    lake.verify_file("archive/t/0.parquet", sink.files[0])
    lake.delete("archive/t/0.parquet")
    assert lake.list_files("archive/t") == []


def test_a_token_that_the_account_does_not_take_names_the_role(endpoint: type[IdentityEndpoint]) -> None:
    endpoint.audience = "https://vault.azure.net"
    for act in (Lake().list_files, Lake().read_bytes, Lake().delete, lambda path: Lake().write_bytes(path, b"")):
        with pytest.raises(Refused, match=r"status 40[13].* has the role Storage Blob Data Contributor"):
            act("archive/t/x")


def test_a_certificate_that_nobody_signed_is_refused(
    endpoint: type[IdentityEndpoint], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from resources import lake_stores
    from resources.errors import Unreachable

    monkeypatch.setattr(lake_stores, "MAX_RETRIES", 0)
    monkeypatch.setenv("SSL_CERT_FILE", str(make_certificate(tmp_path)[0]))
    with pytest.raises(Unreachable, match="no connection"):
        Lake().read_bytes("archive/t/x")
