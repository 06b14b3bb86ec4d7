"""Scoring script of an Azure ML model deployment under a batch endpoint: `init()` once a worker, `run()` a mini-batch.

The deployment's model is a folder with `model.*` and `metadata.json`, as the training job leaves it; the version in it
is what scores. Each file of a mini-batch gives one `<name>.predictions.parquet` in the job's output, with the
columns of `score_model.py`. The deployment therefore has `output_action: summary_only`: rows returned by `run()` would
be appended to a CSV file without types (Microsoft, "Customize outputs in batch deployments").

Environment: `AZUREML_MODEL_DIR` and `AZUREML_BI_OUTPUT_PATH` are set by Azure ML. The deployment may set
`ADFML_MODEL_SHA256`, the hash of the model's file as recorded when it was registered, and what is noted on every score:
`ADFML_MODEL_ALIAS` and `ADFML_FEATURE_SNAPSHOT` (YYYY-MM-DD; without it feature_snapshot is NULL, to be filled in by
whoever collects the scores, because a deployment outlives a snapshot).
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if not __package__:
    # Azure ML imports it from the folder the code was copied to: that folder is the package `workloads`.
    from importlib.util import module_from_spec, spec_from_file_location

    _folder = Path(globals().get("__file__") or sys._getframe().f_code.co_filename).resolve().parent
    _spec = spec_from_file_location("workloads", _folder / "__init__.py", submodule_search_locations=[str(_folder)])
    if _spec is None or _spec.loader is None:
        raise ImportError(f"no package in {_folder}")
    sys.modules.setdefault("workloads", module_from_spec(_spec))
    _spec.loader.exec_module(sys.modules["workloads"])

from workloads.columns import open_parquet
from workloads.errors import ScoringError, raise_as
from workloads.model_files import METADATA_FILE, ModelRecord, load_model, read_record
from workloads.paths import FileArea
from workloads.score_model import Stamp, check_input, parse_snapshot, write_predictions

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Scorer:
    """A loaded model and where its scores go."""

    estimator: Any
    record: ModelRecord
    output: str
    stamp: Stamp


_scorer: _Scorer | None = None


def init() -> None:
    """Load the deployment's model.

    Raises:
        ScoringError: Azure ML's environment variables are missing, one of the deployment's is not what it should be, or
            the model is not finished or not sound.
    """
    global _scorer
    with raise_as(ScoringError), FileArea() as area:
        model_path = find_model(_read_variable("AZUREML_MODEL_DIR", "the deployment's model"))
        output = _read_variable("AZUREML_BI_OUTPUT_PATH", "the job's output folder")
        record = read_record(area, model_path)
        snapshot = parse_snapshot(os.environ.get("ADFML_FEATURE_SNAPSHOT", "").strip(), "ADFML_FEATURE_SNAPSHOT")
        estimator = load_model(area, model_path, record, os.environ.get("ADFML_MODEL_SHA256", "").strip())
    _scorer = _Scorer(estimator, record, output, Stamp(os.environ.get("ADFML_MODEL_ALIAS", ""), snapshot))
    _log.info("%s version %s is loaded", record.model, record.version)


def run(mini_batch: Sequence[str]) -> list[str]:
    """Score files.

    Args:
        mini_batch: Paths of Parquet files, each with RecordId and the model's features.

    Returns:
        A line for each file: Azure ML counts them and takes a file without one for failed.

    Raises:
        ScoringError: Anything about a file; its predictions are then not written.
    """
    if _scorer is None:
        raise ScoringError("run() was called before init()")
    return [_score_file(_scorer, str(path)) for path in mini_batch]


def find_model(folder: str) -> str:
    """The folder of the model: the given one, or the one folder below it, as Azure ML keeps the name of what it copies.

    Raises:
        ScoringError: There is none, or more than one.
    """
    root = Path(folder)
    found = sorted({path.parent for path in (root / METADATA_FILE, *root.glob(f"*/{METADATA_FILE}")) if path.is_file()})
    if len(found) != 1:
        names = ", ".join(sorted(path.name for path in root.iterdir())) if root.is_dir() else "no folder"
        raise ScoringError(f"{folder} holds {len(found)} models with a {METADATA_FILE}, expected one; it has: {names}")
    return str(found[0])


def _score_file(scorer: _Scorer, path: str) -> str:
    name = f"{Path(path).stem}.predictions.parquet"
    with raise_as(ScoringError), FileArea() as area, open_parquet(path, path) as file:
        check_input(file, scorer.record, path)
        with area.write(scorer.output, name) as target:
            rows = write_predictions(file, target, scorer.estimator, scorer.record, scorer.stamp, path)
    return f"{Path(path).name}: {rows} rows, {scorer.record.model} version {scorer.record.version}"


def _read_variable(name: str, purpose: str) -> str:
    value = os.environ.get(name, "").strip()
    if not value:
        raise ScoringError(f"{name} is not set ({purpose}): this script is run by an Azure ML batch deployment")
    return value
