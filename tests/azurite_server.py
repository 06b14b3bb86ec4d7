"""Azurite: Microsoft's own emulator of Blob storage, as a process beside the tests."""

from __future__ import annotations

import base64
import os
import secrets
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

PLACE = "ADFML_TEST_AZURITE"
# Read when the tests are collected: the fixtures remove such variables.
ROOT = Path(os.environ.get(PLACE) or Path(__file__).resolve().parent.parent / ".venv/azurite")
ACCOUNTS = 400

# A server whose standard input ends, ends: so it never outlives the tests, however they die.
_END_WITH_PARENT = "process.stdin.on('end', () => process.exit(0)); process.stdin.resume();"


@dataclass
class Account:
    """A storage account of an Azurite: `url` is its Blob service's address."""

    name: str
    key: str = field(repr=False)
    url: str

    def sign(self, permission: str = "rwdlacup", types: str = "sco", hours: float = 1) -> str:
        """A SAS token with the permissions' letters, for service, container and object as `types` has their letters."""
        from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas

        return generate_account_sas(
            self.name,
            self.key,
            ResourceTypes.from_string(types),
            AccountSasPermissions.from_string(permission),
            datetime.now(UTC) + timedelta(hours=hours),
        )


@dataclass
class Azurite:
    """A running Azurite; each account taken from it is empty."""

    url: str
    process: subprocess.Popen[bytes]
    accounts: list[Account]

    def take_account(self) -> Account:
        """An account that nobody has used."""
        return self.accounts.pop()


@contextmanager
def run_azurite(certificate: tuple[Path, Path] | None = None) -> Iterator[Azurite]:
    """Azurite on a free port of loopback, with a folder of its own; gone when the block ends.

    Args:
        certificate: files of a certificate for 127.0.0.1 and its key: then with TLS, and tokens of Entra ID are taken.

    Raises:
        AssertionError: it is not installed, or does not start.
    """
    main = ROOT / "node_modules/azurite/dist/src/blob/main.js"
    assert main.is_file(), f"Azurite is not in {ROOT}: `make` installs it, or {PLACE} says where it is."
    with tempfile.TemporaryDirectory(prefix="adfml-azurite-") as folder:
        preload = Path(folder) / "end_with_parent.js"
        preload.write_text(_END_WITH_PARENT)
        keys = {f"lake{n}": base64.b64encode(secrets.token_bytes(64)).decode() for n in range(ACCOUNTS)}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = ["node", "-r", str(preload), str(main), "--silent", "--disableTelemetry", "--skipApiVersionCheck"]
        command += ["--location", f"{folder}/data", "--blobHost", "127.0.0.1", "--blobPort", str(port)]
        if certificate:
            command += ["--oauth", "basic", "--cert", str(certificate[0]), "--key", str(certificate[1])]
        with (Path(folder) / "log").open("w+b") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "AZURITE_ACCOUNTS": ";".join(f"{name}:{key}" for name, key in keys.items())},
            )
            try:
                _wait_until_open(process, port, Path(folder) / "log")
                url = f"{'https' if certificate else 'http'}://127.0.0.1:{port}"
                accounts = [Account(name, key, f"{url}/{name}") for name, key in keys.items()]
                yield Azurite(url, process, accounts)
            finally:
                # Asked to end, it waits for connections to be closed; its data is not kept anyway.
                process.kill()
                process.wait()
                if process.stdin:
                    process.stdin.close()


def _wait_until_open(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert process.poll() is None, f"Azurite ended with {process.returncode}: {log.read_text()[-2000:]}"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"Azurite does not answer: {log.read_text()[-2000:]}")
