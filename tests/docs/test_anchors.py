"""An error leads to what to do about it."""

from __future__ import annotations

import pytest

from adfml_assets.errors import DeclarationInvalid, PastSnapshot
from adfml_cli.errors import CommandFailed
from resources.errors import NotFound
from resources.help import name_anchor


@pytest.mark.parametrize(
    ("name", "anchor"),
    [
        ("PastSnapshot", "past-snapshot"),
        ("adfml_assets.errors.NoKey", "no-key"),
        ("NotJson", "not-json"),
        ("SQLInvalid", "sql-invalid"),
        ("Refused", "refused"),
    ],
)
def test_an_anchor_is_the_class_name_in_words(name: str, anchor: str) -> None:
    assert name_anchor(name) == anchor


def test_an_error_has_its_anchor_and_where_it_is_published(monkeypatch: pytest.MonkeyPatch) -> None:
    error = PastSnapshot("shop.main.Sales", "2026-01-01", "2026-01-02")
    monkeypatch.delenv("ADFML_DOCS_URL", raising=False)
    assert (error.anchor, error.help_url) == ("past-snapshot", None)
    monkeypatch.setenv("ADFML_DOCS_URL", "https://example.com/adfml/docs/")
    assert error.help_url == "https://example.com/adfml/docs/operations.md#past-snapshot"


def test_every_family_has_anchors() -> None:
    errors = [CommandFailed("no"), NotFound("table", "Sale", "shop", []), DeclarationInvalid("a", "b", 1, "2")]
    assert [error.anchor for error in errors] == ["command-failed", "not-found", "declaration-invalid"]
