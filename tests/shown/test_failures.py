"""A known error ends a run in a sentence and with where to read on; any other keeps its stack."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from adfml_assets.archive.progress import TableProgress
from adfml_assets.archive.throughput import plot_throughput
from adfml_assets.errors import PastSnapshot
from adfml_assets.failures import describe_help, tell_failures
from resources.errors import Unreachable

ERROR = PastSnapshot("shop.main.Lines", "2026-01-01", "2026-01-02")


def fail(asset: dg.AssetsDefinition) -> tuple[str | None, dict[str, dg.MetadataValue], str]:
    """Description and metadata of the failure, and the class of what it was raised from."""
    (event,) = dg.materialize([asset], raise_on_error=False).get_step_failure_events()
    data = event.step_failure_data
    assert data.error is not None
    said = data.user_failure_data
    cause = data.error.cause or data.error
    return (said.description, dict(said.metadata), str(cause.cls_name)) if said else (None, {}, str(cause.cls_name))


@dg.asset
@tell_failures
def returns() -> None:
    raise ERROR


@dg.asset
@tell_failures
def yields() -> Iterator[dg.MaterializeResult[None]]:
    raise ERROR
    yield dg.MaterializeResult()


@dg.asset
@tell_failures
def unknown() -> None:
    raise ZeroDivisionError("a mistake of this project")


@pytest.mark.parametrize("asset", [returns, yields])
def test_a_known_error_is_told_in_its_own_words(asset: dg.AssetsDefinition) -> None:
    description, metadata, cause = fail(asset)
    assert description == str(ERROR)
    assert metadata["error"].value == "PastSnapshot"
    assert metadata["what_to_do"].value == "docs/operations.md#past-snapshot"
    assert cause == "PastSnapshot"


def test_it_leads_to_the_published_docs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADFML_DOCS_URL", "https://example.com/docs")
    _, metadata, _ = fail(returns)
    assert metadata["what_to_do"].value == "https://example.com/docs/operations.md#past-snapshot"


def test_another_error_passes_as_it_is() -> None:
    assert fail(unknown) == (None, {}, "ZeroDivisionError")


def test_several_errors_are_told_once_a_class() -> None:
    errors = [ERROR, ERROR, Unreachable("SQL", "server", "no route", "the network"), ValueError("?")]
    assert {name: said.value for name, said in describe_help(errors).items()} == {
        "what_to_do (PastSnapshot)": "docs/operations.md#past-snapshot",
        "what_to_do (Unreachable)": "docs/operations.md#unreachable",
    }
    assert describe_help([ValueError("?")]) == {}


def test_a_long_copy_shows_its_throughput_and_a_short_one_does_not() -> None:
    def copy(seconds: float) -> TableProgress:
        marks = [(seconds * at / 50, at * 1000) for at in range(1, 51)]
        return TableProgress("t", rows=50_000, seconds=seconds, marks=marks)

    assert plot_throughput(copy(0.2)) is None
    plot = plot_throughput(copy(9.0))
    assert plot is not None
    assert plot.startswith("![50,000 rows in 9.0 s](data:image/png;base64,")
    assert len(plot) < 12_000
