"""Whatever happens on the way to the vault, a value is the right one, or there is an error."""

from __future__ import annotations

from typing import Any

import pytest

import tests.faults
from resources import key_vault_client
from resources.errors import Unreachable
from resources.key_vault import read_secret

from .conftest import Vault

FAULTS: dict[str, dict[str, Any]] = tests.faults.FAULTS | {"slow": {"kind": "delay", "seconds": 0.7}}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_that_passes_costs_a_repeated_request(vault: Vault, fault: dict[str, Any]) -> None:
    vault.put("faulty", "the value")
    vault.order(path="/secrets/*", **fault)
    assert read_secret("faulty", "X") == "the value"


@pytest.mark.parametrize("name", [name for name in FAULTS if name != "slow"])
def test_a_fault_that_stays_is_an_error_within_bounds(vault: Vault, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(key_vault_client, "RETRIES", 1)
    vault.put("faulty", "the value")
    vault.order(path="/secrets/*", **{**FAULTS[name], "times": None})
    with pytest.raises(Unreachable, match=f"Key Vault at {vault.url} cannot be reached") as caught:
        read_secret("faulty", "X")
    assert "the value" not in str(caught.value)
    assert 1 <= vault.count_reads("faulty") <= 4


def test_a_vault_that_is_too_slow_is_not_waited_for(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_vault_client, "RETRIES", 1)
    monkeypatch.setattr(key_vault_client, "READ_SECONDS", 0.3)
    vault.put("faulty", "the value")
    vault.order(path="/secrets/*", kind="delay", seconds=2, times=None)
    with pytest.raises(Unreachable, match="no answer in time"):
        read_secret("faulty", "X")


def test_a_vault_that_wants_to_be_left_alone_for_an_hour_is_left_alone(vault: Vault) -> None:
    vault.put("faulty", "the value")
    vault.order(path="/secrets/*", kind="status", code=429, retry_after=3600)
    with pytest.raises(Unreachable, match="status 429"):
        read_secret("faulty", "X")
    assert vault.count_reads("faulty") == 1
