"""Values of settings: what of them is a secret, and what is no number."""

from __future__ import annotations

import secrets

import pytest

from resources.errors import SettingInvalid
from resources.redaction import redact
from resources.settings import ALERTS_REPEAT_HOURS, database_setting


@pytest.mark.parametrize(
    "address",
    [
        "postgresql+psycopg://user:{}@host/db",
        "postgresql+psycopg://user@server:{}@host/db",
        "postgresql+psycopg:///db?host=h&user=u&password={}",
        "mssql+mssqlpython://host/db?UID=u&PWD={}",
    ],
)
def test_the_password_of_a_url_is_taken_out_of_texts_wherever_the_url_has_it(address: str) -> None:
    value = secrets.token_hex(8)
    database_setting("shop").read({"ADFML_SHOP_URL": address.format(value)})
    assert value not in redact(f"cannot connect by {value}")


@pytest.mark.parametrize("given", ["nan", "inf", "-1", "0", "a day"])
def test_what_is_no_number_is_said(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("ADFML_ALERTS_REPEAT_HOURS", given)
    with pytest.raises(SettingInvalid, match="ADFML_ALERTS_REPEAT_HOURS is not valid: expected a number"):
        ALERTS_REPEAT_HOURS.read_number()
