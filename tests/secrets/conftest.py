"""A local cloud with a key vault, the official client that puts secrets into it, and a database with a password."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.identity import DefaultAzureCredential
from azure.keyvault.secrets import SecretClient
from psycopg import sql
from sqlalchemy.engine import URL

from local_cloud.process import LocalCloud
from resources.key_vault import forget_secrets
from tests.postgresql_server import RunningPostgresql, connect, run_postgresql


def open_vault(cloud: LocalCloud, **options: Any) -> SecretClient:
    """The official client of a cloud's vault. On loopback its challenge has no domain to be checked against."""
    environment = cloud.environment()
    wanted = {"verify_challenge_resource": False, "connection_verify": environment["ADFML_CA_BUNDLE"], **options}
    return SecretClient(environment["ADFML_KEY_VAULT_URL"], DefaultAzureCredential(), **wanted)


class Vault:
    """What a test does with the vault over and over."""

    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud = cloud
        self.url = cloud.environment()["ADFML_KEY_VAULT_URL"]
        self.client = open_vault(cloud)

    def put(self, name: str, value: str, **properties: Any) -> None:
        """Give a secret a new version."""
        self.client.set_secret(name, value, **properties)
        httpx.delete(f"{self.cloud.url}/_local/requests").raise_for_status()

    def order(self, **fault: Any) -> None:
        """Put a fault in force."""
        httpx.post(f"{self.cloud.url}/_local/faults", json=fault).raise_for_status()

    def count_reads(self, name: str | None = None) -> int:
        """How often secrets were asked for since the last `put`, challenges included."""
        counts = httpx.get(f"{self.cloud.url}/_local/requests").raise_for_status().json()
        wanted = "GET /secrets/" if name is None else f"GET /secrets/{name}/"
        return sum(number for request, number in counts.items() if request.startswith(wanted))


@pytest.fixture(scope="package")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    with LocalCloud(tmp_path_factory.mktemp("cloud")) as started:
        yield started


@pytest.fixture
def vault(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[Vault]:
    """The vault, and the settings of a process that uses it."""
    for name, value in cloud.environment().items():
        if name.startswith("IDENTITY_") or name in ("ADFML_KEY_VAULT_URL", "ADFML_CA_BUNDLE"):
            monkeypatch.setenv(name, value)
    # Other ways to sign in only take time to fail.
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential")
    forget_secrets()
    yield Vault(cloud)
    forget_secrets()
    httpx.delete(f"{cloud.url}/_local/faults").raise_for_status()
    httpx.delete(f"{cloud.url}/_local/requests").raise_for_status()


@dataclass(frozen=True)
class PasswordServer:
    """A PostgreSQL whose role `planted` signs in with a password."""

    running: RunningPostgresql

    @property
    def url(self) -> URL:
        """Its address for that role, without the password."""
        return self.running.url.set(username="planted")

    def set_password(self, password: str) -> None:
        """Change the password."""
        literal = sql.Literal(password).as_string(None)
        self.running.execute(f"ALTER ROLE planted PASSWORD {literal}")


@pytest.fixture(scope="package")
def server() -> Iterator[PasswordServer]:
    with run_postgresql() as running:
        with connect(running.url) as connection:
            row = connection.execute("SHOW hba_file").fetchone()
        assert row is not None
        rules = Path(row[0])
        rules.write_text(f"local all planted scram-sha-256\n{rules.read_text()}")
        running.execute(
            "CREATE ROLE planted LOGIN",
            "CREATE TABLE customers (id integer PRIMARY KEY, name text NOT NULL, email text NOT NULL)",
            "INSERT INTO customers SELECT n, 'name ' || n, 'm' || n || '@example.com' FROM generate_series(1, 50) n",
            "GRANT SELECT ON customers TO planted",
            "SELECT pg_reload_conf()",
        )
        yield PasswordServer(running)
