"""A mistake in a defs.yaml is said with file, line, field and what was expected; all of them at once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from adfml_assets.declarations import InvalidDeclarations, check_declarations, find_mistakes

ROOT = Path(__file__).resolve().parent.parent
DEFS = ROOT / "adfml_assets" / "defs"

FEATURES = """\
type: adfml_assets.components.FeatureSet
attributes:
  name: customers
  function: a.b.c
  tables:
    t: { table: shop.main.T, timestamp: At }
  key: Id
  partition_by: Id
  feature_dates:
    step_days: 10
"""


def describe(folder: Path, text: str) -> list[str]:
    file = folder / "defs.yaml"
    file.write_text(text)
    return [mistake.describe().removeprefix(f"{file}:") for mistake in find_mistakes(file)]


def test_what_is_declared_is_right() -> None:
    check_declarations(DEFS)


@pytest.mark.parametrize(
    ("given", "instead", "expected"),
    [
        (
            "name: customers",
            "nam: customers",
            [
                "2: attributes.name: is missing, and has no default.",
                "3: attributes.nam: there is no field 'nam'. Expected one of: adf_pipeline, as_of, engine, "
                "event_time, feature_dates, function, key, name, owners, parameters, partition_by, rows, sql, tables. "
                "Did you mean 'name'?",
            ],
        ),
        (
            "step_days: 10",
            "step_days: ten",
            ["10: attributes.feature_dates.step_days: expected a valid integer, found 'ten'."],
        ),
        (
            "step_days: 10",
            "stepdays: 10",
            [
                "10: attributes.feature_dates.stepdays: there is no field 'stepdays'. Expected one of: count, "
                "step_days. Did you mean 'step_days'?"
            ],
        ),
        (
            "  key: Id\n",
            "  key: Id\n  as_of: yesterday\n",
            ["8: attributes.as_of: expected 'snapshot_date' or 'last_transaction', found 'yesterday'."],
        ),
        (
            "FeatureSet",
            "FeatureSets",
            [
                "1: type: there is no component 'FeatureSets'. Expected one of: ArchivedDatabase, DetectedAnomalies, "
                "EndToEndWorkflow, FeatureSet, ScoredModel, ScoredText, TrainedModel. Did you mean 'FeatureSet'?"
            ],
        ),
        ("  key: Id\n", "  key: Id\n   x: 1\n", ["8: YAML: mapping values are not allowed here"]),
        ("step_days: 10", 'step_days: "{{ env.STEP }}"', []),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, given: str, instead: str, expected: list[str]) -> None:
    assert describe(tmp_path, FEATURES.replace(given, instead)) == expected


TEXT = """\
type: adfml_assets.components.ScoredText
attributes:
  name: feedback
  source: shop.main.Feedback
  key: [FeedbackId]
  text: FeedbackText
  engine:
    service: openai_batch
    deployment: gpt-4o-mini
    template: "{{ row }}"
    answer_schema: {type: object}
"""


@pytest.mark.parametrize(
    ("given", "instead", "expected"),
    [
        (
            "service: openai_batch",
            "service: open_ai",
            [
                "8: attributes.engine.service: there is no service 'open_ai'. Expected one of: language, openai_batch. "
                "Did you mean 'openai_batch'?"
            ],
        ),
        (
            "    deployment: gpt-4o-mini\n",
            "    deployment: 4\n",
            ["9: attributes.engine.deployment: expected a valid string, found 4."],
        ),
        ("    deployment: gpt-4o-mini\n", "", ["7: attributes.engine.deployment: is missing, and has no default."]),
    ],
)
def test_only_the_engine_that_is_meant_is_judged(tmp_path: Path, given: str, instead: str, expected: list[str]) -> None:
    assert describe(tmp_path, TEXT.replace(given, instead)) == expected


SCORED = """\
type: adfml_assets.components.ScoredModel
attributes:
  name: churn
  from_features: account_features
  engine:
    service: azure_ml_batch
    endpoint: churn-batch
    kind: pipeline
  write_back: { table: crm.dbo.Predictions, keys: [RecordId] }
"""
TRAINED = """\
type: adfml_assets.components.TrainedModel
attributes:
  name: churn
  from_features: account_features
  label: { name: orders, function: a.b.c, tables: { o: crm.dbo.Orders }, days: 30, baseline: orders_30d }
  engine:
    service: azure_ml_batch
    endpoint: churn-batch
    kind: pipeline
  registered_model: main.ml.churn
  experiment: churn
"""
DETECTED = """\
type: adfml_assets.components.DetectedAnomalies
attributes:
  name: presses
  source: plant.dbo.Readings
  timestamp: ReadAt
  variables: [Temperature, Pressure]
  align:
    every: 10min
  fit: { window_days: 30 }
"""


@pytest.mark.parametrize(
    ("declared", "given", "instead", "expected"),
    [
        (
            SCORED,
            "endpoint: churn-batch",
            "endpoint: https://x/jobs",
            [
                "7: attributes.engine.endpoint: expected 3 to 32 letters, digits and dashes, starting with a letter "
                "(the endpoint's name, not its address), found 'https://x/jobs'."
            ],
        ),
        (SCORED, "endpoint: churn-batch", 'endpoint: "{{ env.ENDPOINT }}"', []),
        (
            SCORED,
            "service: azure_ml_batch\n    endpoint: churn-batch\n    kind: pipeline",
            "service: azure_ml_online\n    endpoint: churn-online\n    concurrency: 0",
            ["8: attributes.engine.concurrency: expected a number above 0, found 0."],
        ),
        (
            TRAINED,
            "kind: pipeline",
            "kind: model",
            ["9: attributes.engine.kind: expected pipeline: a model deployment cannot train, found 'model'."],
        ),
        (
            DETECTED,
            "every: 10min",
            "every: soon",
            ["8: attributes.align.every: expected a whole number and ms, s, min, h or d, such as 10min, found 'soon'."],
        ),
        (DETECTED, "every: 10min", 'every: "{{ env.EVERY }}"', []),
        (
            DETECTED,
            "window_days: 30",
            "window_days: 0",
            ["9: attributes.fit.window_days: expected 1 or more, found 0."],
        ),
        (
            TEXT,
            'openai_batch\n    deployment: gpt-4o-mini\n    template: "{{ row }}"\n    answer_schema: {type: object}',
            "language\n    page_rows: 0",
            ["7: attributes.engine: page_rows is 0: expected a number above 0."],
        ),
    ],
)
def test_a_value_that_cannot_be_is_named(
    tmp_path: Path, declared: str, given: str, instead: str, expected: list[str]
) -> None:
    assert given in declared
    assert describe(tmp_path, declared.replace(given, instead)) == expected


def test_a_list_says_which_of_its_items(tmp_path: Path) -> None:
    text = (
        "type: adfml_assets.components.ArchivedDatabase\nattributes:\n  database: shop\n  tables:\n"
        "    - table: main.A\n    - tabel: main.B\n"
    )
    assert describe(tmp_path, text) == [
        "6: attributes.tables.1.table: is missing, and has no default.",
        "6: attributes.tables.1.tabel: there is no field 'tabel'. Expected one of: asset_name, current, hash, "
        "lag_seconds, leave_out, mode, personal, table, watermark, watermark_kind, where. Did you mean 'table'?",
    ]


def test_mistakes_of_all_files_come_at_once(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "defs.yaml").write_text(FEATURES.replace("key: Id", "key: 7"))
    with pytest.raises(InvalidDeclarations) as caught:
        check_declarations(tmp_path)
    assert [(m.file.parent.name, m.line) for m in caught.value.mistakes] == [("a", 7), ("b", 7)]


ARCHIVE = """\
type: adfml_assets.components.ArchivedDatabase
attributes:
  database: crm
  mode: incremental
  tables:
    - { table: main.Orders, watermark: ModifiedAt }
"""


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (
            ARCHIVE + "  schedule: { hour: 3 }\n",
            ARCHIVE.replace("incremental", "full") + "  schedule: { hour: 4 }\n",
            [
                "7: attributes.schedule: database 'crm' has a `schedule` in FIRST already, and only one declaration "
                "can say when its tables are archived. Remove it from one of them, or declare the tables of both in "
                "one."
            ],
        ),
        (
            ARCHIVE + "  check_schedule: { hour: 3 }\n",
            ARCHIVE.replace("database: crm", "databases: [erp, crm]").replace("incremental", "full")
            + "  check_schedule: { hour: 4 }\n",
            [
                "7: attributes.check_schedule: database 'crm' has a `check_schedule` in FIRST already, and only one "
                "declaration can say when its archive is checked. Remove it from one of them, or declare the tables of "
                "both in one."
            ],
        ),
        (
            ARCHIVE.replace("incremental", "full").replace("tables", "include: ['main.*']\n  tables"),
            ARCHIVE.replace("watermark", "mode: both, watermark"),
            [
                "4: attributes.mode: tables of database 'crm' are archived whole by FIRST already. Declare these "
                "tables there: one declaration has all tables of a database and mode."
            ],
        ),
        (ARCHIVE + "  schedule: { hour: 3 }\n", ARCHIVE.replace("incremental", "full"), []),
        (ARCHIVE, ARCHIVE.replace("crm", "erp"), []),
    ],
)
def test_declarations_of_one_database_that_clash_say_with_which(
    tmp_path: Path, first: str, second: str, expected: list[str]
) -> None:
    for name, text in (("a", first), ("b", second)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "defs.yaml").write_text(text)
    try:
        check_declarations(tmp_path)
        said = []
    except InvalidDeclarations as error:
        said = [mistake.describe() for mistake in error.mistakes]
    at = f"{tmp_path / 'a' / 'defs.yaml'}:1"
    assert said == [f"{tmp_path / 'b' / 'defs.yaml'}:{one.replace('FIRST', at)}" for one in expected]


def test_validating_the_code_location_fails_with_the_mistake(tmp_path: Path) -> None:
    for package in ("adfml_assets", "resources", "sensors"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "workspace.yaml", tmp_path)
    yaml = tmp_path / "adfml_assets/defs/PL_SqlArchive_ForAnalysis/defs.yaml"
    yaml.write_text(yaml.read_text().replace("  mode: full", "  mode: whole"))
    command = [str(Path(sys.executable).parent / "dagster"), "definitions", "validate", "-w", "workspace.yaml"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert (
        f"{yaml}:5: attributes.mode: expected 'full', 'incremental' or 'both', found 'whole'."
        in done.stdout + done.stderr
    )
