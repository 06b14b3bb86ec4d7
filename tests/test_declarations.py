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
    t: shop.main.T
  key: Id
  timestamp: t.At
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
                "3: attributes.nam: there is no field 'nam'. Expected one of: adf_pipeline, as_of, feature_dates, "
                "function, key, name, owners, parameters, tables, timestamp. Did you mean 'name'?",
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


def test_a_list_says_which_of_its_items(tmp_path: Path) -> None:
    text = (
        "type: adfml_assets.components.ArchivedDatabase\nattributes:\n  database: shop\n  tables:\n"
        "    - table: main.A\n    - tabel: main.B\n"
    )
    assert describe(tmp_path, text) == [
        "6: attributes.tables.1.table: is missing, and has no default.",
        "6: attributes.tables.1.tabel: there is no field 'tabel'. Expected one of: asset_name, current, hash, "
        "lag_seconds, leave_out, mode, table, watermark, watermark_kind, where. Did you mean 'table'?",
    ]


def test_mistakes_of_all_files_come_at_once(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "defs.yaml").write_text(FEATURES.replace("key: Id", "key: 7"))
    with pytest.raises(InvalidDeclarations) as caught:
        check_declarations(tmp_path)
    assert [(m.file.parent.name, m.line) for m in caught.value.mistakes] == [("a", 7), ("b", 7)]


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
