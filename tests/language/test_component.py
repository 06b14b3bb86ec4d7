"""A ScoredText with the language engine, as Dagster runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pydantic import TypeAdapter, ValidationError

from adfml_assets.components.language_engine import LanguageEngine
from adfml_assets.components.scored_text import ScoredText
from adfml_assets.text.language_assets import build_language_assets
from resources.control import ControlDatabase
from resources.database import Databases
from resources.lake import Lake
from resources.language import Language
from tests.language.conftest import Service, Shop, today

GOOD = "I love it. Excellent!"


def declare(schema: str, **engine: Any) -> ScoredText:
    attributes = {
        "name": "mood",
        "source": f"shop.{schema}.Feedback",
        "key": ["FeedbackId"],
        "text": "FeedbackText",
        "engine": {"service": "language", **engine},
        "adf_pipeline": "PL_BatchAIScoring",
        "owners": ["team:data-science"],
    }
    return TypeAdapter(ScoredText).validate_python(attributes)


def materialize(
    declaration: ScoredText, instance: dg.DagsterInstance, *, raise_on_error: bool = True
) -> dg.ExecuteInProcessResult:
    assert isinstance(declaration.engine, LanguageEngine)
    return dg.materialize(
        build_language_assets(declaration, declaration.engine),
        partition_key=today(),
        instance=instance,
        raise_on_error=raise_on_error,
        resources={
            "lake": Lake(),
            "control": ControlDatabase(),
            "databases": Databases(),
            "language": Language(retry_seconds=10),
        },
    )


def test_a_day_is_scored_and_says_what_it_cost(shop: Shop, service: Service) -> None:
    shop.feedback([GOOD, None, "x" * 5121])
    with dg.DagsterInstance.ephemeral() as instance:
        result = materialize(declare(shop.schema, page_rows=2), instance)
        lake, table = result.get_asset_materialization_events()
    assert lake.asset_key == dg.AssetKey(["ml", "text_scores", "mood"])
    assert table.asset_key == dg.AssetKey(["database", "shop", shop.schema, "Feedback", "mood"])
    metadata = {name: value.value for name, value in lake.materialization.metadata.items()}
    assert metadata["dagster/row_count"] == 2
    assert (metadata["rejected"], metadata["reject_codes"]) == (1, {"TextMissing": 1})
    assert metadata["sentiments"] == {"neutral": 1, "positive": 1}
    assert (metadata["characters"], metadata["text_records"]) == (len(GOOD) + 5121, 1 + 6 + 1)
    assert metadata["run_requests"] == 2
    assert metadata["run_documents_maybe_billed_twice"] == 0
    assert table.materialization.metadata["still_to_be_scored"].value == 0


def test_secrets_are_in_no_event_of_the_run(
    sqlite_shop: Shop, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqlite_shop.feedback([GOOD])
    home = tmp_path / "dagster"
    home.mkdir()
    monkeypatch.setenv("ADFML_LANGUAGE_KEY", "planted-wrong-secret")
    right = service.cloud.environment()["ADFML_LANGUAGE_KEY"]
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        result = materialize(declare("main"), instance, raise_on_error=False)
        assert not result.success
        monkeypatch.setenv("ADFML_LANGUAGE_KEY", right)
        assert materialize(declare("main"), instance).success
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(b"Access denied due to invalid subscription key" in path.read_bytes() for path in files)
    for path in files:
        assert b"planted-wrong-secret" not in path.read_bytes()
        assert right.encode() not in path.read_bytes()


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        ({"page_rows": 0}, "page_rows is 0: expected a number above 0"),
        ({"concurrency": -1}, "concurrency is -1: expected a number above 0"),
        ({"error_mark": 1}, "0 means to be scored and 1 scored"),
        ({"columns": {"sentiment": "SCORED"}}, "columns names one column twice"),
        ({"long_texts": "cut"}, "'split' or 'report'"),
        ({"colums": {}}, "colums"),
    ],
)
def test_a_wrong_declaration_is_told(engine: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        declare("main", **engine)


def test_it_is_declared_in_yaml() -> None:
    declaration = ScoredText.resolve_from_yaml(
        """
        name: mood
        source: shop.dbo.Feedback
        key: [FeedbackId]
        text: FeedbackText
        where: CreatedDate >= '2026-01-01'
        engine:
          service: language
          language: de
          columns: { scored: Scored }
          error_mark: null
          long_texts: report
          secret: language-key
        """
    )
    engine = declaration.engine
    assert isinstance(engine, LanguageEngine)
    assert (engine.language, engine.error_mark, engine.long_texts, engine.secret) == (
        "de",
        None,
        "report",
        "language-key",
    )
    assert (engine.columns.scored, engine.columns.sentiment, engine.page_rows) == ("Scored", "Sentiment", 1000)
    (assets,) = build_language_assets(declaration, engine)
    assert assets.required_resource_keys >= {"databases", "lake", "control", "language"}


def test_a_write_back_beside_the_engine_is_refused() -> None:
    declaration = declare("main")
    declaration.write_back = object()  # type: ignore[assignment]  # whatever it holds
    assert isinstance(declaration.engine, LanguageEngine)
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="the language engine writes to the table it reads"):
        build_language_assets(declaration, declaration.engine)
