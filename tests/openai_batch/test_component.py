"""`ScoredText` with an OpenAI batch, materialised: asked, collected, written back; what a wrong declaration gets."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from adfml_assets import lake_layout
from adfml_assets.components.language_engine import LanguageEngine
from adfml_assets.components.openai_batch_engine import OpenAIBatchEngine
from adfml_assets.components.scored_text import ScoredText, TextWriteBack
from adfml_assets.errors import DeclarationInvalid
from adfml_assets.text.answer_schema import SchemaInvalid
from adfml_assets.text.batch_assets import build_batch_assets
from adfml_assets.text.prompts import TemplateInvalid
from resources.control import ControlDatabase
from resources.database import Databases
from tests.openai_batch.conftest import DAY, SCHEMA, Bench, archive, declare, make_feedback

WRITE_BACK = TextWriteBack(
    table="shop.main.Feedback",
    columns={"sentiment": "Sentiment", "positive": "Positive"},
    mark={"scored": 1},
    mark_rejected={"scored": -1},
)
DEMO = Path(__file__).parents[2] / "adfml_assets/defs/PL_BatchAIScoring/defs.yaml"
JOB, SCORES, TABLE = "text_scores/feedback_job", "text_scores/feedback", "Feedback/feedback"
TEXTS = ["I love it.", "It broke. [[unanswerable]]", None, "Terrible quality."]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "shop.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "CREATE TABLE Feedback (Id INTEGER PRIMARY KEY, Text TEXT, Country TEXT, scored INTEGER, "
            "Sentiment TEXT, Positive REAL)"
        )
        rows = [(number, text, None, 0) for number, text in enumerate(TEXTS, 1)]
        connection.executemany("INSERT INTO Feedback VALUES (?, ?, ?, ?, NULL, NULL)", rows)
        connection.commit()
    return path


def read(path: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT Id, Sentiment, Positive, scored FROM Feedback ORDER BY Id").fetchall()


class Deployment:
    """A declaration's assets on one Dagster instance."""

    def __init__(self, bench: Bench, declaration: ScoredText) -> None:
        self.assets = build_batch_assets(declaration, declaration.engine, Path())  # type: ignore[arg-type]
        self.resources = {
            "lake": bench.lake,
            "control": ControlDatabase(),
            "databases": Databases(),
            "openai_batch": bench.service,
        }
        self.instance = dg.DagsterInstance.ephemeral()

    def run(self, *selection: str, **config: Any) -> dict[str, dict[str, Any]]:
        """Materialise assets; metadata by the last two parts of their keys."""
        keys = [asset.key for asset in self.assets if "/".join(asset.key.path[-2:]) in selection]
        done = dg.materialize(
            self.assets,
            selection=keys,
            partition_key=DAY,
            resources=self.resources,
            instance=self.instance,
            run_config={"ops": config} if config else None,
        )
        return {
            "/".join(event.asset_key.path[-2:]): {
                key: value.value for key, value in event.materialization.metadata.items()
            }
            for event in done.get_asset_materialization_events()
            if event.asset_key
        }


def rows_in_scores(bench: Bench, name: str) -> list[dict[str, Any]]:
    return bench.lake.read_table(f"{lake_layout.text_scores_folder('feedback', DAY)}/{name}").to_pylist()


def test_feedback_is_asked_about_collected_and_written_back(bench: Bench, table: Path) -> None:
    archive(bench.lake, make_feedback(4, TEXTS))
    deployed = Deployment(bench, declare(write_back=WRITE_BACK))
    asked = deployed.run(JOB)[JOB]
    assert (asked["batches"], asked["rows"], asked["asked"], asked["rejected"]) == (1, 4, 3, 1)
    drain(bench)
    found = deployed.run(SCORES)[SCORES]
    assert (found["dagster/row_count"], found["rejects"]) == (2, 2)
    assert json.loads(json.dumps(found["reject_reasons"])) == {"content_filter": 1, "empty_text": 1}
    assert found["cost"] == pytest.approx(found["cost_at_standard_price"] / 2, abs=1e-6)
    standard = found["input_tokens"] * 2.5e-6 + found["output_tokens"] * 10e-6
    assert found["cost_at_standard_price"] == pytest.approx(standard, abs=1e-6)
    written = deployed.run(TABLE)[TABLE]
    assert (written["dagster/row_count"], written["rows_marked_rejected"]) == (2, 2)
    assert set(written["dagster/column_lineage"].deps_by_column) >= {"Id", "Sentiment"}
    stored = read(table)
    assert [(row[0], row[1], row[3]) for row in stored] == [
        (1, "positive", 1),
        (2, None, -1),
        (3, None, -1),
        (4, "negative", 1),
    ]
    answers = {row["Id"]: row["positive"] for row in rows_in_scores(bench, "predictions.parquet")}
    assert {row[0]: row[2] for row in stored if row[3] == 1} == answers


def drain(bench: Bench) -> None:
    """Tick until the component's jobs have ended."""
    import time

    stop_at = time.monotonic() + 20
    while bench.ledger.list_outstanding("openai_batch"):
        assert time.monotonic() < stop_at
        bench.expire_leases()
        bench.tick()
        time.sleep(0.03)


def test_what_was_answered_is_not_asked_again_unless_that_is_wished(bench: Bench) -> None:
    archive(bench.lake, make_feedback(6))
    deployed = Deployment(bench, declare())
    for config, asked in (
        ({}, 6),
        ({}, 0),
        ({"ml__text_scores__feedback_job": {"config": {"again": True}}}, 6),
        ({}, 0),
    ):
        found = deployed.run(JOB, **config)[JOB]
        assert (found["asked"], found["batches"]) == (asked, 1 if asked else 0)
        drain(bench)
        assert deployed.run(SCORES)[SCORES]["dagster/row_count"] == 6
    assert len(bench.batches()) == 2


def test_only_new_rows_are_asked_about_when_the_snapshot_grows(bench: Bench) -> None:
    archive(bench.lake, make_feedback(6))
    deployed = Deployment(bench, declare())
    deployed.run(JOB)
    drain(bench)
    deployed.run(SCORES)
    archive(bench.lake, make_feedback(9))
    found = deployed.run(JOB)[JOB]
    assert (found["asked"], found["answered_before"]) == (3, 6)
    drain(bench)
    assert deployed.run(SCORES)[SCORES]["dagster/row_count"] == 9


def test_no_rows_are_no_batch_and_an_empty_partition(bench: Bench) -> None:
    archive(bench.lake, make_feedback(3))
    deployed = Deployment(bench, declare(where="scored = 7"))
    assert deployed.run(JOB)[JOB]["batches"] == 0
    found = deployed.run(SCORES)[SCORES]
    assert (found["dagster/row_count"], found["rows"], found["rejects"]) == (0, 0, 0)
    assert rows_in_scores(bench, "predictions.parquet") == []
    assert bench.batches() == []


def test_a_deployment_that_is_not_there_fails_the_collecting_run_with_its_field(bench: Bench) -> None:
    archive(bench.lake, make_feedback(3))
    deployed = Deployment(bench, declare(deployment="gpt-99"))
    deployed.run(JOB)
    drain(bench)
    with pytest.raises(dg.Failure, match=r"(?s)model_not_found.*engine\.deployment"):
        deployed.run(SCORES)


def test_a_column_that_is_not_there_is_said_before_anything_is_sent(bench: Bench) -> None:
    archive(bench.lake, make_feedback(3))
    deployed = Deployment(bench, declare(template="{{ Contry }}: {{ Text }}"))
    with pytest.raises(dg.Failure, match=r"Contry.*Did you mean 'Country'"):
        deployed.run(JOB)
    assert bench.lake.list_files("ml/text-requests") == []
    assert bench.ledger.list_jobs() == []


@pytest.mark.parametrize(
    ("fields", "error", "said"),
    [
        ({"template": "{{ Text"}, TemplateInvalid, "line 1"),
        ({"template": "What is this?"}, TemplateInvalid, "names no column"),
        ({"answer_schema": {"type": "array"}}, SchemaInvalid, "type: object"),
        ({"answer_schema": "nowhere.json"}, SchemaInvalid, "nowhere.json"),
        ({"answer_schema": {"type": "object", "properties": {"x": {"type": "strnig"}}}}, SchemaInvalid, "strnig"),
        ({"answer_schema": {"type": "object", "properties": {"Model": {"type": "string"}}}}, SchemaInvalid, "Model"),
        ({"key": []}, DeclarationInvalid, "at least one column"),
        ({"key": ["Sentiment"]}, DeclarationInvalid, "columns that are none of"),
        ({"rows_per_shard": 100_001}, DeclarationInvalid, "rows_per_shard"),
        ({"megabytes_per_shard": 201.0}, DeclarationInvalid, "megabytes_per_shard"),
        ({"expiry_days": 3}, DeclarationInvalid, "expiry_days"),
        (
            {"write_back": TextWriteBack("shop.main.Feedback", {"mood": "Sentiment"})},
            DeclarationInvalid,
            r"write_back\.columns is 'mood'.*sentiment",
        ),
    ],
)
def test_a_wrong_declaration_is_told_when_it_is_loaded(
    fields: dict[str, Any], error: type[Exception], said: str
) -> None:
    def load() -> None:
        declaration = declare(**fields)
        build_batch_assets(declaration, declaration.engine, Path())  # type: ignore[arg-type]

    with pytest.raises(error, match=rf"(Scored text feedback|OpenAI batch engine).*{said}"):
        load()


def test_a_schema_may_lie_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "answer.json").write_text(json.dumps(SCHEMA))
    declaration = declare(answer_schema="answer.json")
    assert len(build_batch_assets(declaration, declaration.engine, tmp_path)) == 2  # type: ignore[arg-type]


def test_what_is_meant_for_the_model_is_left_as_it_is_written(bench: Bench) -> None:
    """Dagster has templates of its own, and reads texts that look like numbers as such."""
    engine = {
        "service": "openai_batch",
        "deployment": "gpt-4o-mini",
        "template": "{{ Country }}: {{ Text }}",
        "answer_schema": {"type": "object", "properties": {"stars": {"type": "string", "enum": ["1", "2"]}}},
        "system": "{{ in double braces }}",
    }
    fields = {"name": "feedback", "source": "shop.main.Feedback", "key": ["Id"], "text": "Text", "engine": engine}
    assert ScoredText.resolve_from_dict(fields).engine == OpenAIBatchEngine(**engine)
    other = ScoredText.resolve_from_dict({**fields, "engine": {"service": "language"}})
    assert isinstance(other.engine, LanguageEngine)


def test_the_demos_declaration_gets_its_verdicts(bench: Bench) -> None:
    declared = yaml.safe_load(DEMO.read_text())["attributes"]
    bench.declaration = replace(
        ScoredText.resolve_from_dict(declared), name="feedback", key=["Id"], text="Text", write_back=None
    )
    template = bench.declaration.engine.template.replace("FeedbackText", "Text")  # type: ignore[union-attr]
    bench.declaration = replace(bench.declaration, engine=replace(bench.declaration.engine, template=template))
    bench.ask(make_feedback(30))
    bench.finish()
    result = bench.collect()
    bench.require_whole(result, 30)
    assert result.rejects == 0
    for row in bench.predictions().to_pylist():
        parts = [row[f"confidence_{name}"] for name in ("positive", "neutral", "negative")]
        assert all(0 <= part <= 1 for part in parts)
