"""The lake may be a folder or an account of any cloud; a wrong address is one sentence without the address."""

from __future__ import annotations

from pathlib import Path

import pytest

from resources.errors import SettingInvalid, SettingMissing
from resources.lake import Lake
from resources.lake_addresses import AccountAddress, read_address

AZURE = "abfss://account.dfs.core.windows.net"


def test_a_folder(folder_lake: Lake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ADFML_LAKE", str(tmp_path / "lake"))
    assert Lake().uri("ml/x/y") == str(tmp_path / "lake/ml/x/y")
    monkeypatch.setenv("ADFML_LAKE", f"file://{tmp_path}/other/")
    assert folder_lake.uri("ml/x/y") == str(tmp_path / "other/ml/x/y")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADFML_LAKE", "./here")
    assert folder_lake.root == str(tmp_path / "here")


@pytest.mark.parametrize(
    ("value", "endpoint", "host"),
    [
        (AZURE, "https://account.blob.core.windows.net", "account.dfs.core.windows.net"),
        (f"{AZURE}/", "https://account.blob.core.windows.net", "account.dfs.core.windows.net"),
        (
            "https://account.blob.core.windows.net/",
            "https://account.blob.core.windows.net",
            "account.dfs.core.windows.net",
        ),
        (
            "https://account.dfs.core.windows.net",
            "https://account.blob.core.windows.net",
            "account.dfs.core.windows.net",
        ),
        (
            "abfss://account.dfs.core.chinacloudapi.cn",
            "https://account.blob.core.chinacloudapi.cn",
            "account.dfs.core.chinacloudapi.cn",
        ),
        (
            "https://account.z12.blob.storage.azure.net",
            "https://account.z12.blob.storage.azure.net",
            "account.z12.dfs.storage.azure.net",
        ),
    ],
)
def test_an_account(monkeypatch: pytest.MonkeyPatch, value: str, endpoint: str, host: str) -> None:
    monkeypatch.setenv("ADFML_LAKE", value)
    assert read_address() == AccountAddress("account", endpoint, host)
    assert Lake().uri("archive/x/y") == f"abfss://archive@{host}/x/y"
    assert Lake().root == f"abfss://{host}"


def test_a_container_name_is_one_that_azure_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADFML_LAKE", AZURE)
    assert Lake().uri("ml/x") == "abfss://ml-data@account.dfs.core.windows.net/x"


def test_another_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADFML_LAKE", "https://storage.example.com/account")
    assert read_address() == AccountAddress("account", "https://storage.example.com/account", None)
    assert Lake().uri("archive/x/y") == "https://storage.example.com/account/archive/x/y"
    monkeypatch.setenv("ADFML_LAKE", AZURE)
    monkeypatch.setenv("ADFML_LAKE_ENDPOINT", "http://127.0.0.1:10000/account/")
    assert read_address() == AccountAddress("account", "http://127.0.0.1:10000/account", "account.dfs.core.windows.net")
    assert Lake().uri("archive/x/y") == "abfss://archive@account.dfs.core.windows.net/x/y"


@pytest.mark.parametrize(
    "value",
    [
        "abfss://ml@account.dfs.core.windows.net",
        "abfss://account.dfs.core.windows.net/folder",
        "abfss://storage.example.com/account",
        "https://account.blob.core.windows.net?sv=1&sig=geheim",
        "https://user:geheim@storage.example.com/account",
        "http://account.blob.core.windows.net",
        "https://storage.example.com",
        "https://storage.example.com/account/container",
        "https://storage.example.com:port/account",
        "s3://bucket",
        "abfss://",
    ],
)
def test_a_wrong_address_is_one_sentence(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("ADFML_LAKE", value)
    with pytest.raises(
        SettingInvalid, match="ADFML_LAKE is not valid: expected a folder, or abfss://<account>"
    ) as caught:
        Lake().uri("ml/x")
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    ("lake", "endpoint"),
    [
        ("http://storage.example.com/account", ""),
        ("http://10.0.0.1/account", ""),
        (AZURE, "http://storage.example.com/account"),
    ],
)
def test_no_credential_leaves_the_machine_without_tls(
    monkeypatch: pytest.MonkeyPatch, lake: str, endpoint: str
) -> None:
    monkeypatch.setenv("ADFML_LAKE", lake)
    monkeypatch.setenv("ADFML_LAKE_ENDPOINT", endpoint)
    with pytest.raises(SettingInvalid, match="an https address; plain http is only for"):
        read_address()


def test_an_endpoint_of_a_folder_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADFML_LAKE_ENDPOINT", "https://storage.example.com/account")
    with pytest.raises(SettingInvalid, match="ADFML_LAKE_ENDPOINT is not valid: expected nothing, since ADFML_LAKE is"):
        read_address()


def test_a_missing_address_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ADFML_LAKE")
    with pytest.raises(SettingMissing, match="ADFML_LAKE is not set: the lake's root"):
        Lake().uri("ml/x")
