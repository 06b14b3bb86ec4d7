"""A lake of its own for every test: a folder, and an account of Azurite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from resources.lake import Lake
from tests.azurite_server import Account, Azurite, run_azurite


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    with run_azurite() as server:
        yield server


@pytest.fixture
def account(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> Account:
    """An empty account, which the lake is at, signed in to by its key."""
    account = azurite.take_account()
    monkeypatch.setenv("ADFML_LAKE", account.url)
    monkeypatch.setenv("ADFML_LAKE_KEY", account.key)
    return account


@pytest.fixture(params=["folder", "azurite", "azurite by SAS"])
def any_lake(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """A lake over each kind of store and credential."""
    if request.param != "folder":
        account: Account = request.getfixturevalue("account")
        if request.param == "azurite by SAS":
            monkeypatch.delenv("ADFML_LAKE_KEY")
            monkeypatch.setenv("ADFML_LAKE_SAS", account.sign())
    return Lake()


@pytest.fixture(params=["folder", "azurite"])
def lake(request: pytest.FixtureRequest) -> Lake:
    """A lake over each kind of store."""
    if request.param == "azurite":
        request.getfixturevalue("account")
    return Lake()


@pytest.fixture
def folder_lake(tmp_path: Path) -> Lake:
    """A lake in the folder `lake` of the test's own."""
    return Lake()
