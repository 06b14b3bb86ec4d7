"""When the store fails it is said where and what to do, and no part of a file is visible."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from resources import lake_stores
from resources.errors import Refused, StorageFull, Unreachable
from resources.lake import Lake
from resources.lake_addresses import AccountAddress
from resources.lake_errors import explain_errors, explain_status
from tests.azurite_server import Account

SCHEMA = pa.schema([("a", pa.binary())])
ADDRESS = AccountAddress("account", "https://account.blob.core.windows.net", "account.dfs.core.windows.net")


def write_much(lake: Lake) -> None:
    with lake.write_parquet_parts(lambda index: f"archive/t/{index}.parquet", SCHEMA) as sink:
        for _ in range(200):
            sink.write(pa.record_batch([[os.urandom(500_000)]], schema=SCHEMA))


ACTS: list[Callable[[Lake], object]] = [
    lambda lake: lake.write_bytes("archive/t/x", b"1"),
    lambda lake: lake.read_bytes("archive/t/x"),
    lambda lake: lake.list_files("archive/t"),
    lambda lake: lake.delete("archive/t/x"),
    lambda lake: lake.read_table("archive/t/x.parquet"),
    lambda lake: lake.write_table("archive/t/x.parquet", pa.table({"a": [1]})),
    write_much,
]


@pytest.mark.parametrize("act", ACTS)
def test_a_wrong_key(account: Account, monkeypatch: pytest.MonkeyPatch, act: Callable[[Lake], object]) -> None:
    monkeypatch.setenv("ADFML_LAKE_KEY", "d3Jvbmc=")
    with pytest.raises(Refused, match=r"status 403.*Check that the account key of ADFML_LAKE_KEY is of this account"):
        act(Lake())


@pytest.mark.parametrize("act", ACTS)
def test_a_token_that_has_expired(
    account: Account, monkeypatch: pytest.MonkeyPatch, act: Callable[[Lake], object]
) -> None:
    monkeypatch.setenv("ADFML_LAKE_SAS", account.sign(hours=-1))
    with pytest.raises(Refused, match=r"status 403.*Check that the SAS token of ADFML_LAKE_SAS has not expired"):
        act(Lake())


def test_a_token_that_may_only_read(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    Lake().write_bytes("archive/t/x", b"old")
    monkeypatch.setenv("ADFML_LAKE_SAS", account.sign(permission="rl"))
    lake = Lake()
    assert lake.read_bytes("archive/t/x") == b"old"
    for act in (ACTS[0], ACTS[3], *ACTS[5:]):
        with pytest.raises(Refused, match=r"archive/t/.*: status 403 Authorization.* allows read, add, create, write"):
            act(lake)
    assert lake.read_bytes("archive/t/x") == b"old"
    assert lake.list_files("archive/t") == ["archive/t/x"]


@pytest.mark.parametrize("act", [ACTS[0], *ACTS[5:]])
def test_a_container_that_may_not_be_made(
    account: Account, monkeypatch: pytest.MonkeyPatch, act: Callable[[Lake], object]
) -> None:
    monkeypatch.setenv("ADFML_LAKE_SAS", account.sign(permission="rl"))
    with pytest.raises(Refused, match=r"there is no container 'archive', and it could not be made \(status 403\)"):
        act(Lake())


@pytest.mark.parametrize("act", [*ACTS[1:4]])
def test_a_container_that_is_missing_is_empty(account: Account, act: Callable[[Lake], object]) -> None:
    try:
        assert act(Lake()) in ([], None)
    except FileNotFoundError as error:
        assert str(error).startswith("There is no archive/t/x in ")  # noqa: PT017 - one of the two ways to say it


def test_a_container_that_goes_while_it_is_written_to(account: Account) -> None:
    from azure.storage.blob import ContainerClient

    lake = Lake()
    lake.write_bytes("archive/t/x", b"1")
    credential = {"account_name": account.name, "account_key": account.key}
    with ContainerClient(account.url, "archive", credential=credential) as client:  # type: ignore[arg-type]
        client.delete_container()
    for act in (ACTS[0], *ACTS[5:]):
        with pytest.raises(
            Refused, match=r"there is no container 'archive'. Check ADFML_LAKE; .* Storage Blob Data Con"
        ):
            act(lake)


@pytest.mark.parametrize("act", ACTS)
def test_an_account_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, act: Callable[[Lake], object]) -> None:
    monkeypatch.setattr(lake_stores, "MAX_RETRIES", 1)
    monkeypatch.setattr("resources.lake_administration._RETRIES", 1)
    monkeypatch.setenv("ADFML_LAKE", "http://127.0.0.1:9/account")
    monkeypatch.setenv("ADFML_LAKE_KEY", "d3Jvbmc=")
    message = r"The lake at http://127.0.0.1:9/account cannot be reached \(.*\). Check ADFML_LAKE, ADFML_LAKE_ENDPOINT"
    with pytest.raises(Unreachable, match=message):
        act(Lake())


def test_no_identity(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key or token the process signs in; on this machine nothing can."""
    monkeypatch.delenv("ADFML_LAKE_KEY")
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
    with pytest.raises(Refused, match=r"no identity could sign in \(\w+\). Check that this machine has a managed"):
        Lake().read_bytes("ml/x")


FULL = """
import resource, signal, sys
import pyarrow as pa
from resources.errors import StorageFull
from resources.lake import Lake
from tests.lake.test_store_errors import ACTS

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
lake = Lake()
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
for act in (ACTS[-1], lambda lake: lake.write_bytes("archive/t/old", bytes(200_000))):
    try:
        act(lake)
    except StorageFull as error:
        print(error)
    else:
        sys.exit("no error")
"""


def test_a_full_disk(folder_lake: Lake, tmp_path: Path) -> None:
    folder_lake.write_bytes("archive/t/old", b"old")
    done = subprocess.run([sys.executable, "-c", FULL], capture_output=True, text=True, check=True)
    (first, second) = done.stdout.splitlines()
    assert first == (
        f"archive/t/0.parquet could not be written to {tmp_path}/lake: File too large. Nothing of it is visible. Make "
        "room in the lake or raise its limit, then materialise the partition again."
    )
    assert second.startswith("archive/t/old could not be written")
    assert folder_lake.read_bytes("archive/t/old") == b"old"
    assert [path.name for path in (tmp_path / "lake").rglob("*") if path.is_file()] == ["old"]


def test_a_folder_that_is_a_file(folder_lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "lake").write_text("a file")
    with pytest.raises(Refused, match=r"archive: (Not a directory|File exists). Check the folder in ADFML_LAKE"):
        folder_lake.write_bytes("archive/t/x", b"1")


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "AuthorizationPermissionMismatch", Refused),
        (409, "AccountIsDisabled", Refused),
        (503, "ServerBusy", Unreachable),
        (500, None, Unreachable),
        (429, None, Unreachable),
        (507, None, StorageFull),
        (413, "BlobQuotaExceeded", StorageFull),
    ],
)
def test_answers_are_told_apart(status: int, code: str | None, kind: type[Exception]) -> None:
    error = explain_status(status, code, ADDRESS, "archive/t/x", "this")
    assert type(error) is kind
    assert f"archive/t/x: status {status}{' ' + code if code else ''}" in str(error)


def test_errors_that_are_not_the_stores_pass() -> None:
    with pytest.raises(OSError, match="the caller's"), explain_errors(ADDRESS, "archive/t/x", ""):
        raise OSError("the caller's")
